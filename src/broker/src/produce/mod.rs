//! Produce: check, hand over to the owners, wait for what `acks` promises.

mod append;
mod check;
mod submit;
mod times;

use crate::BrokerError;
use crate::metadata::TopicTarget;
use bytes::Bytes;
use std::time::Duration;

/// A Produce request.
#[derive(Debug)]
pub struct ProduceRequest {
    /// As on the wire: -1 (all), 0 or 1; anything else is refused for each partition.
    pub acks: i16,
    /// zstd may be used: Produce from version 7 on.
    pub zstd_allowed: bool,
    /// Topics of the broker's own may be written to: to Kafka's own administrative client alone.
    pub internal_allowed: bool,
    /// How long the acknowledgement may take.
    pub timeout: Duration,
    /// The partitions, in the request's order.
    pub parts: Vec<ProducePart>,
}

/// What a Produce request has for one partition.
#[derive(Debug)]
pub struct ProducePart {
    /// The topic, already looked up.
    pub topic: TopicTarget,
    /// The partition's index.
    pub partition: i32,
    /// The records field as it stood in the frame: exactly one batch, or it is refused.
    pub records: Option<Bytes>,
}

/// The answer to a Produce request: one entry for each part, in the request's order.
#[derive(Debug, Default)]
pub struct ProduceOutcome {
    /// One for each part.
    pub parts: Vec<Result<Produced, ProduceRefusal>>,
    /// Where the time went.
    pub times: ProduceTimes,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The offset of its first record. A duplicate has that of the first append.
    pub base_offset: i64,
    /// The broker's time when the topic says `LogAppendTime`, else -1.
    pub log_append_time_ms: i64,
    /// The partition's first offset.
    pub log_start_offset: i64,
}

/// Why a batch was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRefusal {
    /// The error of the whole batch.
    pub error: BrokerError,
    /// The `error_message` of the answer; `None` is null.
    pub message: Option<String>,
    /// Records to blame: index in the batch and sentence.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// The partition's first offset, -1 when not known.
    pub log_start_offset: i64,
}

impl From<BrokerError> for ProduceRefusal {
    /// As Kafka answers it: without a sentence, which it sends for single records only.
    fn from(error: BrokerError) -> Self {
        Self {
            error,
            message: None,
            record_errors: Vec::new(),
            log_start_offset: -1,
        }
    }
}

/// The outcome for one part.
pub(crate) type PartOutcome = Result<Produced, ProduceRefusal>;

pub(crate) use append::{AppendReply, AppendRequest, append};
pub use submit::ProduceReply;
pub(crate) use submit::submit;
pub use times::ProduceTimes;

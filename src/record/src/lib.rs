//! The v2 record batch: what producers send, what segments hold and what fetches return, byte for byte.
//!
//! Owns the batch's header, its CRC-32C, the five codecs, the walk over records, the checks a produced
//! batch must pass and the rewriting that a topic's configuration asks for. It knows neither topics nor
//! requests nor files, and it does no I/O.
//!
//! What holds everywhere here:
//! - bytes are never trusted: every length is checked against what remains before it is used;
//! - memory is bounded by [`Limits`] and by a small multiple of the batch, never by a length the batch
//!   claims;
//! - `base_offset` and `partition_leader_epoch` lie outside the CRC, everything from the attributes on
//!   lies inside it.
//!
//! The format is that of KIP-98 (`DefaultRecordBatch` in Kafka).
#![deny(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

mod batches;
mod builder;
mod codec;
mod crc;
mod error;
#[cfg(test)]
mod goldens;
mod header;
mod headers;
#[cfg(test)]
mod properties;
mod record;
mod retain;
mod rewrite;
mod stream;
mod time;
mod validate;
mod varint;
mod workspace;

pub use batches::{BatchRange, Batches, batches};
pub use builder::{BatchBuilder, NewRecord};
pub use codec::{Codec, Compression, Decompressor, LevelOutOfRange, Limits, compress};
pub use crc::{computed_crc, crc_is_valid};
pub use error::{
    ErrorKind, ProblemKind, RECORD_PROBLEMS_MAX, RecordError, RecordProblem, RecordProblems,
};
pub use header::{
    Attributes, BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC, NO_LEADER_EPOCH,
    NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, NO_TIMESTAMP, TimestampType, set_base_offset,
    set_leader_epoch, set_max_timestamp_and_attributes,
};
pub use headers::{Header, Headers};
pub use record::{Record, RecordIter};
pub use retain::{Retain, Retained, emptied};
pub use rewrite::{Rewritten, rewrite};
pub use stream::RecordStream;
pub use time::{TimestampedOffset, first_at_or_after, max_timestamp};
pub use validate::{Rewrite, Validated, ValidationRules, Walk, validate};
pub use workspace::Workspace;

//! What the clients, the checker and the machine tell the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use tailwater_broker::metadata::Topic;
use uuid::Uuid;

use crate::groups::Protocol;
use crate::history::End;
use crate::rot::Rotten;

/// A partition of one incarnation of a topic.
pub(crate) type Tp = (Uuid, i32);

/// A batch's place in `Facts::batches`.
pub(crate) type BatchId = usize;

/// A batch as it was read, identified by its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) batch: BatchId,
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) epoch: i32,
    /// The time that the broker gave it, if its topic says `LogAppendTime`.
    pub(crate) append_time: Option<i64>,
    pub(crate) bytes: bytes::Bytes,
}

/// One partition's part of a fetch's answer.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) fetch: u64,
    pub(crate) client: u8,
    pub(crate) tp: Tp,
    pub(crate) from: i64,
    pub(crate) last_epoch: i32,
    pub(crate) error: Option<i16>,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
    pub(crate) log_start: i64,
    pub(crate) diverging: Option<(i32, i64)>,
    pub(crate) batches: Vec<Found>,
}

/// All of a partition, read while no client was at work.
#[derive(Clone, Debug)]
pub(crate) struct FullRead {
    pub(crate) tp: Tp,
    pub(crate) error: Option<i16>,
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) batches: Vec<Found>,
    /// Timestamps asked for, and (offset, timestamp, epoch) found.
    pub(crate) times: Vec<(i64, (i64, i64, i32))>,
    /// Leader epochs asked for, and (epoch, end) told.
    pub(crate) epochs: Vec<(i32, (i32, i64))>,
    /// Offsets fetched from, and the base offset of the first batch.
    pub(crate) probes: Vec<(i64, Option<i64>)>,
}

/// A record of the compacted topic; its number is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyedRecord {
    pub(crate) id: u64,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// One that was read.
#[derive(Clone, Debug)]
pub(crate) struct KeyedFound {
    pub(crate) offset: i64,
    pub(crate) record: KeyedRecord,
}

/// A partition of the compacted topic, read from an offset on.
#[derive(Clone, Debug)]
pub(crate) struct KeyedRead {
    pub(crate) tp: Tp,
    pub(crate) from: i64,
    /// While no client was at work, from the log's start.
    pub(crate) is_full: bool,
    pub(crate) error: Option<i16>,
    pub(crate) high_watermark: i64,
    /// What is below has been read.
    pub(crate) upto: i64,
    /// The wall clock when it was read.
    pub(crate) wall_ms: i64,
    pub(crate) found: Vec<KeyedFound>,
}

/// A group's committed offsets by partition, as they were told, and as they had to be at least.
#[derive(Clone, Debug)]
pub(crate) struct OffsetsRead {
    pub(crate) protocol: Protocol,
    pub(crate) floor: BTreeMap<i32, i64>,
    pub(crate) found: BTreeMap<i32, i64>,
    /// Among those found is one that nobody has sent.
    pub(crate) never_sent: bool,
}

/// What a start found.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) generation: u64,
    pub(crate) topics: Vec<Arc<Topic>>,
    pub(crate) damage: Vec<String>,
    pub(crate) out_of_service: Vec<Tp>,
    pub(crate) unknown_losses: bool,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A part of a shard's memory holds more than ever before in this life of the process.
    Memory {
        shard: u16,
        part: &'static str,
        bytes: usize,
        bytes_max: usize,
    },
    /// A fetch was answered: what its records keep alive, and the reply memory held for it.
    Replied {
        client: u8,
        bytes: usize,
        held: u64,
    },
    /// A client found a topic in its shard's image.
    Met(Arc<Topic>),
    /// A batch is about to be submitted, perhaps not for the first time.
    Sent {
        batch: BatchId,
    },
    /// A produce was answered, with an offset or Kafka's error.
    Answered {
        batch: BatchId,
        result: Result<i64, i16>,
    },
    /// A batch that was acknowledged at `base`, and that the broker has to remember, was sent
    /// again and answered.
    Repeated {
        batch: BatchId,
        base: i64,
        result: Result<i64, i16>,
    },
    FetchBegan {
        fetch: u64,
        wants: Vec<(Tp, i64)>,
        wait_ms: u32,
    },
    Fetched(Box<Fetched>),
    FetchEnded {
        fetch: u64,
        /// As a whole, so that it says nothing of the partitions.
        refused: bool,
    },
    /// The broker does not know a fetch session that it has made since its start.
    SessionLost {
        code: i16,
    },
    Created {
        id: Uuid,
        name: String,
        partitions: i32,
        configs: Vec<(String, String)>,
    },
    DeleteBegan {
        id: Uuid,
    },
    Deleted {
        id: Uuid,
    },
    Grown {
        id: Uuid,
        partitions: i32,
    },
    ConfigureBegan {
        id: Uuid,
        name: &'static str,
        value: &'static str,
    },
    Configured {
        id: Uuid,
        name: &'static str,
        value: &'static str,
    },
    LogStartAsked {
        tp: Tp,
        offset: i64,
    },
    LogStartMoved {
        tp: Tp,
        low_watermark: i64,
    },
    /// ListOffsets by time: what was asked and what was found.
    TimeFound {
        tp: Tp,
        asked: i64,
        offset: i64,
        timestamp: i64,
    },
    ProducerId {
        id: i64,
    },
    /// Records are about to be sent to the compacted topic.
    KeyedSent {
        tp: Tp,
        records: Vec<KeyedRecord>,
    },
    /// They were acknowledged.
    KeyedAnswered {
        tp: Tp,
        ids: Vec<u64>,
        acks: i16,
        base: i64,
    },
    KeyedRead(Box<KeyedRead>),
    Started(Started),
    StartRefused {
        reason: String,
    },
    FullRead(Box<FullRead>),
    /// What was read is not what anybody has sent there.
    Garbled {
        message: String,
    },
    /// Nothing disturbs the machine any more, and still some client waits for an answer.
    Unanswered {
        waits: String,
    },
    /// The files were checked with the machine off.
    Verified {
        problems: Vec<String>,
    },
    Ended {
        how: Ended,
    },
    /// A member was given all of these, in an answer that tells of `epoch`; when it asked, the
    /// epoch was `floor` at least.
    GroupAssigned {
        protocol: Protocol,
        client: u8,
        floor: i32,
        epoch: i32,
        partitions: Vec<i32>,
    },
    /// A member has nothing any more.
    GroupReleased {
        protocol: Protocol,
        client: u8,
    },
    /// A commit was acknowledged; `late` if its generation was over.
    GroupCommitted {
        protocol: Protocol,
        epoch: i32,
        late: bool,
    },
    OffsetsRead(Box<OffsetsRead>),
    /// Something rotted while the machine was off.
    Rotted(Rotten),
    /// It is as it was.
    Healed,
    /// The wall clock stands there now.
    Clock {
        wall_ms: i64,
    },
    Disturbed(Disturbance),
}

/// What was done to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    Slow {
        until_ns: u64,
    },
    /// Operations are to fail from now on.
    Failing,
    /// All that were to fail have failed, and the process that met them has ended.
    FailsNoMore,
    Full(bool),
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Stopped,
    Killed,
    PowerCut,
    Fatal(String),
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        match end {
            End::Stop => Self::Stopped,
            End::Kill => Self::Killed,
            End::PowerCut => Self::PowerCut,
        }
    }
}

//! A fetch request, versions 4-18.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use crate::error::WireError;
use crate::primitives::{Lengths, Reader, TopicRef, sliced, topic};
use crate::skim::decoded_bytes_max;

/// A fetch request. Its strings are slices of the frame: what is to outlive the request is copied.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchRequest {
    /// The cluster that the caller believes to speak to (from version 12 on).
    pub cluster_id: Option<StrBytes>,
    /// -1 for a consumer. From version 15 on it comes in the replica state.
    pub replica_id: i32,
    /// The replica's broker epoch, -1 for a consumer.
    pub replica_epoch: i64,
    /// How long the answer may wait for `min_bytes`.
    pub max_wait_ms: i32,
    /// What the answer waits for.
    pub min_bytes: i32,
    /// What the answer may hold.
    pub max_bytes: i32,
    /// 0 for read_uncommitted, 1 for read_committed; nothing has checked it.
    pub isolation_level: i8,
    /// The fetch session, 0 for none (KIP-227).
    pub session_id: i32,
    /// The session's epoch: 0 asks for a new session, -1 for none.
    pub session_epoch: i32,
    /// What to fetch, or what of it changed in the session.
    pub topics: Vec<FetchTopic>,
    /// What to take out of the session.
    pub forgotten: Vec<ForgottenTopic>,
    /// The consumer's rack, empty if it has none.
    pub rack_id: StrBytes,
}

/// The partitions of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchTopic {
    /// By name up to version 12, by id from 13 on.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<FetchPartition>,
}

/// What to fetch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// The partition's number; nothing has checked it.
    pub partition: i32,
    /// The leader epoch that the caller knows, -1 if none.
    pub current_leader_epoch: i32,
    /// From which offset on.
    pub fetch_offset: i64,
    /// The epoch of the caller's last record, -1 if none.
    pub last_fetched_epoch: i32,
    /// The caller's log start offset, -1 for a consumer.
    pub log_start_offset: i64,
    /// What the answer may hold of this partition.
    pub partition_max_bytes: i32,
}

/// Partitions to take out of the session.
#[derive(Debug, Clone, PartialEq)]
pub struct ForgottenTopic {
    /// By name up to version 12, by id from 13 on.
    pub topic: TopicRef,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// The first version that names topics by their ids.
pub(super) const TOPIC_IDS_FROM: i16 = 13;

/// The parts of the layout that depend on the version.
#[derive(Debug, Clone, Copy)]
struct Layout {
    version: i16,
    lengths: Lengths,
    by_id: bool,
    tag_bytes: usize,
}

impl Layout {
    fn of(version: i16) -> Layout {
        let flexible = version >= 12;
        Layout {
            version,
            lengths: Lengths::of(flexible),
            by_id: version >= TOPIC_IDS_FROM,
            tag_bytes: usize::from(flexible),
        }
    }

    /// The least that a topic with an array of partitions takes.
    fn topic_bytes_min(self) -> usize {
        let name = if self.by_id {
            16
        } else {
            self.lengths.string_bytes_min()
        };
        name + self.lengths.array_bytes_min() + self.tag_bytes
    }

    /// The least that a partition takes.
    fn partition_bytes_min(self) -> usize {
        let epochs = match self.version {
            ..9 => 0,
            9..12 => 4,
            _ => 8,
        };
        let log_start = if self.version >= 5 { 8 } else { 0 };
        16 + epochs + log_start + self.tag_bytes
    }
}

impl FetchRequest {
    /// Decodes a body of a version that is served.
    pub fn decode(version: i16, body: &Bytes) -> Result<FetchRequest, WireError> {
        let layout = Layout::of(version);
        let mut reader = Reader::new(body, decoded_bytes_max(body.len()));
        let replica_id = if version < 15 { reader.i32()? } else { -1 };
        let max_wait_ms = reader.i32()?;
        let min_bytes = reader.i32()?;
        let max_bytes = reader.i32()?;
        let isolation_level = reader.i8()?;
        let (session_id, session_epoch) = if version >= 7 {
            (reader.i32()?, reader.i32()?)
        } else {
            (0, -1)
        };
        let topics = fetch_topics(&mut reader, layout, body)?;
        let forgotten = if version >= 7 {
            forgotten_topics(&mut reader, layout, body)?
        } else {
            Vec::new()
        };
        let rack_id = if version >= 11 {
            sliced(body, reader.str(layout.lengths)?)
        } else {
            StrBytes::new()
        };
        let mut request = FetchRequest {
            cluster_id: None,
            replica_id,
            replica_epoch: -1,
            max_wait_ms,
            min_bytes,
            max_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics,
            forgotten,
            rack_id,
        };
        if version >= 12 {
            request.read_tagged(&mut reader, version, body)?;
        }
        Ok(request)
    }

    fn read_tagged(
        &mut self,
        reader: &mut Reader<'_>,
        version: i16,
        body: &Bytes,
    ) -> Result<(), WireError> {
        reader.tagged(|reader, tag| {
            match tag {
                0 => {
                    let id = reader.nullable_str(Lengths::Compact)?;
                    self.cluster_id = id.map(|id| sliced(body, id));
                }
                1 if version >= 15 => {
                    self.replica_id = reader.i32()?;
                    self.replica_epoch = reader.i64()?;
                    reader.skip_tagged(Lengths::Compact)?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}

fn fetch_topics(
    reader: &mut Reader<'_>,
    layout: Layout,
    body: &Bytes,
) -> Result<Vec<FetchTopic>, WireError> {
    let Layout { lengths, by_id, .. } = layout;
    let count = reader.count(lengths, layout.topic_bytes_min(), size_of::<FetchTopic>())?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = topic(reader, lengths, by_id, |name| sliced(body, name))?;
        let count = reader.count(
            lengths,
            layout.partition_bytes_min(),
            size_of::<FetchPartition>(),
        )?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(fetch_partition(reader, layout)?);
        }
        reader.skip_tagged(lengths)?;
        topics.push(FetchTopic { topic, partitions });
    }
    Ok(topics)
}

fn fetch_partition(reader: &mut Reader<'_>, layout: Layout) -> Result<FetchPartition, WireError> {
    let version = layout.version;
    let partition = FetchPartition {
        partition: reader.i32()?,
        current_leader_epoch: if version >= 9 { reader.i32()? } else { -1 },
        fetch_offset: reader.i64()?,
        last_fetched_epoch: if version >= 12 { reader.i32()? } else { -1 },
        log_start_offset: if version >= 5 { reader.i64()? } else { -1 },
        partition_max_bytes: reader.i32()?,
    };
    if version >= 12 {
        // What only replicas send: the directory of the replica, and its high watermark.
        reader.tagged(|reader, tag| match tag {
            0 if version >= 17 => reader.uuid().map(|_| true),
            1 if version >= 18 => reader.i64().map(|_| true),
            _ => Ok(false),
        })?;
    }
    Ok(partition)
}

fn forgotten_topics(
    reader: &mut Reader<'_>,
    layout: Layout,
    body: &Bytes,
) -> Result<Vec<ForgottenTopic>, WireError> {
    let Layout { lengths, by_id, .. } = layout;
    let count = reader.count(
        lengths,
        layout.topic_bytes_min(),
        size_of::<ForgottenTopic>(),
    )?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = topic(reader, lengths, by_id, |name| sliced(body, name))?;
        let count = reader.count(lengths, 4, size_of::<i32>())?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(reader.i32()?);
        }
        reader.skip_tagged(lengths)?;
        topics.push(ForgottenTopic { topic, partitions });
    }
    Ok(topics)
}

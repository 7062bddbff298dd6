//! What a record is about.

use std::sync::Arc;

use bytes::Bytes;

use super::RecordError;
use super::wire::{Reader, Writer};
use crate::outcome::Record;

/// A record's key. The version it begins with says of what kind the record is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// 0 and 1: a committed offset. Both mean the same; 1 is written.
    Offset {
        group: Arc<str>,
        topic: Arc<str>,
        partition: i32,
    },
    /// 2: a classic group.
    Group { group: Arc<str> },
    /// 3: a group of the new protocol.
    ConsumerGroup { group: Arc<str> },
    /// 4: the partitions of its topics. Kafka 4.3 writes tombstones of it only.
    ConsumerPartitions { group: Arc<str> },
    /// 5: a member of the new protocol.
    ConsumerMember { group: Arc<str>, member: Arc<str> },
    /// 6: the epoch of the target assignment.
    TargetEpoch { group: Arc<str> },
    /// 7: what a member is to have.
    TargetMember { group: Arc<str>, member: Arc<str> },
    /// 8: what a member has.
    CurrentMember { group: Arc<str>, member: Arc<str> },
    /// 16: the topics that a regular expression stands for.
    Regex { group: Arc<str>, regex: Arc<str> },
}

impl Key {
    /// Reads a key; none is of a kind not known here.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Key>, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = reader.i16()?;
        let pair = |reader: &mut Reader<'_>| -> Result<(Arc<str>, Arc<str>), RecordError> {
            Ok((reader.string()?, reader.string()?))
        };
        Ok(Some(match version {
            0 | 1 => Key::Offset {
                group: reader.string()?,
                topic: reader.string()?,
                partition: reader.i32()?,
            },
            2 => Key::Group {
                group: reader.string()?,
            },
            3 => Key::ConsumerGroup {
                group: reader.string()?,
            },
            4 => Key::ConsumerPartitions {
                group: reader.string()?,
            },
            5 => {
                let (group, member) = pair(&mut reader)?;
                Key::ConsumerMember { group, member }
            }
            6 => Key::TargetEpoch {
                group: reader.string()?,
            },
            7 => {
                let (group, member) = pair(&mut reader)?;
                Key::TargetMember { group, member }
            }
            8 => {
                let (group, member) = pair(&mut reader)?;
                Key::CurrentMember { group, member }
            }
            16 => {
                let (group, regex) = pair(&mut reader)?;
                Key::Regex { group, regex }
            }
            _ => return Ok(None),
        }))
    }

    /// The key's bytes.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(self.version());
        match self {
            Key::Offset {
                group,
                topic,
                partition,
            } => {
                writer.string(group);
                writer.string(topic);
                writer.i32(*partition);
            }
            Key::Group { group }
            | Key::ConsumerGroup { group }
            | Key::ConsumerPartitions { group }
            | Key::TargetEpoch { group } => writer.string(group),
            Key::ConsumerMember { group, member }
            | Key::TargetMember { group, member }
            | Key::CurrentMember { group, member } => {
                writer.string(group);
                writer.string(member);
            }
            Key::Regex { group, regex } => {
                writer.string(group);
                writer.string(regex);
            }
        }
        writer.finish()
    }

    /// The group that the record belongs to.
    pub(crate) fn group(&self) -> &Arc<str> {
        match self {
            Key::Offset { group, .. }
            | Key::Group { group }
            | Key::ConsumerGroup { group }
            | Key::ConsumerPartitions { group }
            | Key::ConsumerMember { group, .. }
            | Key::TargetEpoch { group }
            | Key::TargetMember { group, .. }
            | Key::CurrentMember { group, .. }
            | Key::Regex { group, .. } => group,
        }
    }

    fn version(&self) -> i16 {
        match self {
            Key::Offset { .. } => 1,
            Key::Group { .. } => 2,
            Key::ConsumerGroup { .. } => 3,
            Key::ConsumerPartitions { .. } => 4,
            Key::ConsumerMember { .. } => 5,
            Key::TargetEpoch { .. } => 6,
            Key::TargetMember { .. } => 7,
            Key::CurrentMember { .. } => 8,
            Key::Regex { .. } => 16,
        }
    }

    /// A record with this key.
    pub(crate) fn record(&self, value: Bytes) -> Record {
        Record {
            key: self.encode(),
            value: Some(value),
        }
    }

    /// A record that takes away what the key is about.
    pub(crate) fn tombstone(&self) -> Record {
        Record {
            key: self.encode(),
            value: None,
        }
    }
}

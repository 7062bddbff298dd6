//! Values of groups of the new protocol. All have version 0 alone, and are flexible.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::wire::{Reader, Writer};
use super::{RecordError, version};

fn no_tags(reader: &mut Reader<'_>) -> Result<(), RecordError> {
    reader.tags(|_, _| Ok(()))
}

fn strings(reader: &mut Reader<'_>) -> Result<Vec<Arc<str>>, RecordError> {
    let count = reader.compact_count()?;
    reader.elements(count, Reader::compact_string)
}

fn write_strings(writer: &mut Writer, texts: &[Arc<str>]) {
    writer.compact_count(texts.len());
    for text in texts {
        writer.compact_string(text);
    }
}

/// A group (key 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerGroupValue {
    pub(crate) epoch: i32,
    /// Of the topics that the group is subscribed to; 0 if there are none.
    pub(crate) metadata_hash: i64,
}

impl ConsumerGroupValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<ConsumerGroupValue, RecordError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader, 3, 0)?;
        let epoch = reader.i32()?;
        let mut metadata_hash = 0;
        reader.tags(|tag, field| {
            if tag == 0 {
                metadata_hash = field.i64()?;
            }
            Ok(())
        })?;
        Ok(ConsumerGroupValue {
            epoch,
            metadata_hash,
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(0);
        writer.i32(self.epoch);
        write_i64_tag(&mut writer, self.metadata_hash);
        writer.finish()
    }
}

/// Tag 0, unless it has its default, 0.
fn write_i64_tag(writer: &mut Writer, value: i64) {
    if value == 0 {
        writer.tags(&[]);
    } else {
        writer.tags(&[(0, &value.to_be_bytes())]);
    }
}

/// A member (key 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerMemberValue {
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) rack: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) topic_names: Vec<Arc<str>>,
    pub(crate) topic_regex: Option<Arc<str>>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) assignor: Option<Arc<str>>,
    /// Of a member that speaks the classic protocol.
    pub(crate) classic: Option<ClassicMetadata>,
}

/// What a member that speaks the classic protocol told when it joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicMetadata {
    pub(crate) session_timeout_ms: i32,
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
}

impl ConsumerMemberValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<ConsumerMemberValue, RecordError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader, 5, 0)?;
        let mut value = ConsumerMemberValue {
            instance: reader.compact_nullable_string()?,
            rack: reader.compact_nullable_string()?,
            client_id: reader.compact_string()?,
            client_host: reader.compact_string()?,
            topic_names: strings(&mut reader)?,
            topic_regex: reader.compact_nullable_string()?,
            rebalance_timeout_ms: reader.i32()?,
            assignor: reader.compact_nullable_string()?,
            classic: None,
        };
        reader.tags(|tag, field| {
            if tag == 0 {
                value.classic = ClassicMetadata::decode(field)?;
            }
            Ok(())
        })?;
        Ok(value)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(0);
        writer.compact_nullable_string(self.instance.as_deref());
        writer.compact_nullable_string(self.rack.as_deref());
        writer.compact_string(&self.client_id);
        writer.compact_string(&self.client_host);
        write_strings(&mut writer, &self.topic_names);
        writer.compact_nullable_string(self.topic_regex.as_deref());
        writer.i32(self.rebalance_timeout_ms);
        writer.compact_nullable_string(self.assignor.as_deref());
        match &self.classic {
            // Kafka says that there is none, rather than nothing.
            None => writer.tags(&[(0, &[0])]),
            Some(classic) => writer.tags(&[(0, &classic.encode())]),
        }
        writer.finish()
    }
}

impl ClassicMetadata {
    /// A nullable struct: a number says whether it is there.
    fn decode(reader: &mut Reader<'_>) -> Result<Option<ClassicMetadata>, RecordError> {
        if reader.uvarint()? == 0 {
            return Ok(None);
        }
        let session_timeout_ms = reader.i32()?;
        let count = reader.compact_count()?;
        let protocols = reader.elements(count, |reader| {
            let protocol = (reader.compact_string()?, reader.compact_bytes()?);
            no_tags(reader)?;
            Ok(protocol)
        })?;
        no_tags(reader)?;
        Ok(Some(ClassicMetadata {
            session_timeout_ms,
            protocols,
        }))
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::bare();
        writer.uvarint(1);
        writer.i32(self.session_timeout_ms);
        writer.compact_count(self.protocols.len());
        for (name, metadata) in &self.protocols {
            writer.compact_string(name);
            writer.compact_bytes(metadata);
            writer.tags(&[]);
        }
        writer.tags(&[]);
        writer.into_inner()
    }
}

/// The epoch of the target assignment (key 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetEpochValue {
    pub(crate) epoch: i32,
    /// When it was computed; 0 if not known.
    pub(crate) timestamp_ms: i64,
}

impl TargetEpochValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<TargetEpochValue, RecordError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader, 6, 0)?;
        let epoch = reader.i32()?;
        let mut timestamp_ms = 0;
        reader.tags(|tag, field| {
            if tag == 0 {
                timestamp_ms = field.i64()?;
            }
            Ok(())
        })?;
        Ok(TargetEpochValue {
            epoch,
            timestamp_ms,
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(0);
        writer.i32(self.epoch);
        write_i64_tag(&mut writer, self.timestamp_ms);
        writer.finish()
    }
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssignedTopic {
    pub(crate) topic: Uuid,
    pub(crate) partitions: Vec<i32>,
    /// The epoch at which each was assigned, where known (key 8 alone).
    pub(crate) epochs: Option<Vec<i32>>,
}

fn assigned(reader: &mut Reader<'_>) -> Result<Vec<AssignedTopic>, RecordError> {
    let count = reader.compact_count()?;
    reader.elements(count, |reader| {
        let topic = reader.uuid()?;
        let partitions = reader.compact_i32s()?;
        let mut epochs = None;
        reader.tags(|tag, field| {
            if tag == 0 {
                epochs = Some(field.compact_i32s()?);
            }
            Ok(())
        })?;
        Ok(AssignedTopic {
            topic,
            partitions,
            epochs,
        })
    })
}

fn write_assigned(writer: &mut Writer, topics: &[AssignedTopic]) {
    writer.compact_count(topics.len());
    for topic in topics {
        writer.uuid(topic.topic);
        writer.compact_i32s(&topic.partitions);
        match &topic.epochs {
            None => writer.tags(&[]),
            Some(epochs) => {
                let mut field = Writer::bare();
                field.compact_i32s(epochs);
                writer.tags(&[(0, &field.into_inner())]);
            }
        }
    }
}

/// What a member is to have (key 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetMemberValue {
    pub(crate) topics: Vec<AssignedTopic>,
}

impl TargetMemberValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<TargetMemberValue, RecordError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader, 7, 0)?;
        let topics = assigned(&mut reader)?;
        no_tags(&mut reader)?;
        Ok(TargetMemberValue { topics })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(0);
        write_assigned(&mut writer, &self.topics);
        writer.tags(&[]);
        writer.finish()
    }
}

/// What a member has (key 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CurrentValue {
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    /// 0 stable, 1 to revoke, 2 waiting for others to release, 127 not known.
    pub(crate) state: i8,
    pub(crate) assigned: Vec<AssignedTopic>,
    pub(crate) to_revoke: Vec<AssignedTopic>,
}

impl CurrentValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<CurrentValue, RecordError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader, 8, 0)?;
        let value = CurrentValue {
            epoch: reader.i32()?,
            previous_epoch: reader.i32()?,
            state: reader.i8()?,
            assigned: assigned(&mut reader)?,
            to_revoke: assigned(&mut reader)?,
        };
        no_tags(&mut reader)?;
        Ok(value)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(0);
        writer.i32(self.epoch);
        writer.i32(self.previous_epoch);
        writer.i8(self.state);
        write_assigned(&mut writer, &self.assigned);
        write_assigned(&mut writer, &self.to_revoke);
        writer.tags(&[]);
        writer.finish()
    }
}

/// The topics that a regular expression stands for (key 16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RegexValue {
    pub(crate) topics: Vec<Arc<str>>,
    /// Of the topics it was resolved with.
    pub(crate) version: i64,
    pub(crate) timestamp_ms: i64,
}

impl RegexValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<RegexValue, RecordError> {
        let mut reader = Reader::new(bytes);
        version(&mut reader, 16, 0)?;
        let value = RegexValue {
            topics: strings(&mut reader)?,
            version: reader.i64()?,
            timestamp_ms: reader.i64()?,
        };
        no_tags(&mut reader)?;
        Ok(value)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(0);
        write_strings(&mut writer, &self.topics);
        writer.i64(self.version);
        writer.i64(self.timestamp_ms);
        writer.tags(&[]);
        writer.finish()
    }
}

//! Values of committed offsets and of classic groups.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::wire::{Reader, Writer};
use super::{RecordError, version};

/// A committed offset (keys 0 and 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OffsetValue {
    pub(crate) offset: i64,
    /// -1 if none.
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Arc<str>,
    pub(crate) commit_ms: i64,
    /// From commits that said how long to keep the offset.
    pub(crate) expire_ms: Option<i64>,
    /// The nil id if not known.
    pub(crate) topic: Uuid,
}

const TOPIC_ID_TAG: u32 = 0;

impl OffsetValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<OffsetValue, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = version(&mut reader, 1, 4)?;
        let offset = reader.i64()?;
        let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
        let metadata = if version >= 4 {
            reader.compact_string()?
        } else {
            reader.string()?
        };
        let commit_ms = reader.i64()?;
        let expire_ms = match version {
            1 => Some(reader.i64()?).filter(|at| *at != -1),
            _ => None,
        };
        let mut topic = Uuid::nil();
        if version >= 4 {
            reader.tags(|tag, field| {
                if tag == TOPIC_ID_TAG {
                    topic = field.uuid()?;
                }
                Ok(())
            })?;
        }
        Ok(OffsetValue {
            offset,
            leader_epoch,
            metadata,
            commit_ms,
            expire_ms,
            topic,
        })
    }

    /// Version 4, or 1 if the offset has a time of its own to expire at: that version alone can
    /// say so.
    pub(crate) fn encode(&self) -> Bytes {
        let Some(expire_ms) = self.expire_ms else {
            return self.encode_flexible();
        };
        let mut writer = Writer::new(1);
        writer.i64(self.offset);
        writer.string(&self.metadata);
        writer.i64(self.commit_ms);
        writer.i64(expire_ms);
        writer.finish()
    }

    /// What is read again when this was written: with a time of its own to expire at, an offset
    /// loses its leader epoch and its topic's id, in Kafka too.
    pub(crate) fn into_recorded(self) -> OffsetValue {
        match self.expire_ms {
            None => self,
            Some(_) => OffsetValue {
                leader_epoch: -1,
                topic: Uuid::nil(),
                ..self
            },
        }
    }

    fn encode_flexible(&self) -> Bytes {
        let mut writer = Writer::new(4);
        writer.i64(self.offset);
        writer.i32(self.leader_epoch);
        writer.compact_string(&self.metadata);
        writer.i64(self.commit_ms);
        if self.topic.is_nil() {
            writer.tags(&[]);
        } else {
            writer.tags(&[(TOPIC_ID_TAG, self.topic.as_bytes())]);
        }
        writer.finish()
    }
}

/// A classic group (key 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupValue {
    /// Empty if it has none.
    pub(crate) protocol_type: Arc<str>,
    pub(crate) generation: i32,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) leader: Option<Arc<str>>,
    /// Since when the group is in its state; -1 if not known.
    pub(crate) state_since_ms: i64,
    pub(crate) members: Vec<MemberValue>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemberValue {
    pub(crate) member: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    /// -1 if not known.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    pub(crate) subscription: Bytes,
    pub(crate) assignment: Bytes,
}

impl GroupValue {
    pub(crate) fn decode(bytes: &[u8]) -> Result<GroupValue, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = version(&mut reader, 2, 4)?;
        let flexible = version >= 4;
        let protocol_type = text(&mut reader, flexible)?;
        let generation = reader.i32()?;
        let protocol = nullable_text(&mut reader, flexible)?;
        let leader = nullable_text(&mut reader, flexible)?;
        let state_since_ms = if version >= 2 { reader.i64()? } else { -1 };
        let count = if flexible {
            reader.compact_count()?
        } else {
            reader.count()?
        };
        let members = reader.elements(count, |reader| MemberValue::decode(reader, version))?;
        Ok(GroupValue {
            protocol_type,
            generation,
            protocol,
            leader,
            state_since_ms,
            members,
        })
    }

    /// Version 3.
    pub(crate) fn encode(&self) -> Bytes {
        let mut writer = Writer::new(3);
        writer.string(&self.protocol_type);
        writer.i32(self.generation);
        writer.nullable_string(self.protocol.as_deref());
        writer.nullable_string(self.leader.as_deref());
        writer.i64(self.state_since_ms);
        writer.count(self.members.len());
        for member in &self.members {
            member.encode(&mut writer);
        }
        writer.finish()
    }
}

impl MemberValue {
    fn decode(reader: &mut Reader<'_>, version: i16) -> Result<MemberValue, RecordError> {
        let flexible = version >= 4;
        let member = text(reader, flexible)?;
        let instance = if version >= 3 {
            nullable_text(reader, flexible)?
        } else {
            None
        };
        let client_id = text(reader, flexible)?;
        let client_host = text(reader, flexible)?;
        let rebalance_timeout_ms = if version >= 1 { reader.i32()? } else { -1 };
        let session_timeout_ms = reader.i32()?;
        let subscription = blob(reader, flexible)?;
        let assignment = blob(reader, flexible)?;
        if flexible {
            reader.tags(|_, _| Ok(()))?;
        }
        Ok(MemberValue {
            member,
            instance,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        })
    }

    fn encode(&self, writer: &mut Writer) {
        writer.string(&self.member);
        writer.nullable_string(self.instance.as_deref());
        writer.string(&self.client_id);
        writer.string(&self.client_host);
        writer.i32(self.rebalance_timeout_ms);
        writer.i32(self.session_timeout_ms);
        writer.bytes(&self.subscription);
        writer.bytes(&self.assignment);
    }
}

fn text(reader: &mut Reader<'_>, flexible: bool) -> Result<Arc<str>, RecordError> {
    if flexible {
        reader.compact_string()
    } else {
        reader.string()
    }
}

fn nullable_text(reader: &mut Reader<'_>, flexible: bool) -> Result<Option<Arc<str>>, RecordError> {
    if flexible {
        reader.compact_nullable_string()
    } else {
        reader.nullable_string()
    }
}

fn blob(reader: &mut Reader<'_>, flexible: bool) -> Result<Bytes, RecordError> {
    if flexible {
        reader.compact_bytes()
    } else {
        reader.bytes()
    }
}

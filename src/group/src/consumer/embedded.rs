//! What consumers of the classic protocol tell each other through the coordinator: Java's
//! `ConsumerProtocol`, versions 0 to 3.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::records::{Reader, RecordError};

/// The newest version; later ones begin like it.
const VERSION_MAX: i16 = 3;

/// Partitions under their topics' names.
pub(super) type NamedPartitions = Vec<(Arc<str>, Vec<i32>)>;

/// What a consumer wants, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) version: i16,
    pub(super) topics: Vec<Arc<str>>,
    pub(super) owned: NamedPartitions,
    pub(super) rack: Option<Arc<str>>,
}

fn named_partitions(reader: &mut Reader<'_>) -> Result<NamedPartitions, RecordError> {
    let count = reader.count()?;
    reader.elements(count, |reader| {
        let topic = reader.string()?;
        let count = reader.count()?;
        Ok((topic, reader.elements(count, Reader::i32)?))
    })
}

fn version(reader: &mut Reader<'_>) -> Result<i16, RecordError> {
    match reader.i16()? {
        negative if negative < 0 => Err(RecordError::Malformed {
            what: "an embedded version",
        }),
        version => Ok(version.min(VERSION_MAX)),
    }
}

/// The length of bytes that may be absent, and passes over them.
fn nullable_bytes(reader: &mut Reader<'_>) -> Result<usize, RecordError> {
    match usize::try_from(reader.i32()?) {
        Err(_) => Ok(0),
        Ok(len) => reader.take(len).map(<[u8]>::len),
    }
}

impl Subscription {
    pub(super) fn decode(bytes: &[u8]) -> Result<Subscription, RecordError> {
        let mut reader = Reader::new(bytes);
        let version = version(&mut reader)?;
        let count = reader.count()?;
        let topics = reader.elements(count, Reader::string)?;
        nullable_bytes(&mut reader)?;
        let mut owned = Vec::new();
        let mut rack = None;
        if version >= 1 {
            owned = named_partitions(&mut reader)?;
        }
        if version >= 2 {
            reader.i32()?;
        }
        if version >= 3 {
            rack = reader.nullable_string()?;
        }
        Ok(Subscription {
            version,
            topics,
            owned,
            rack,
        })
    }
}

/// An assignment as a consumer reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EmbeddedAssignment {
    pub(super) partitions: NamedPartitions,
    /// Whether the assignor added something of its own.
    pub(super) has_user_data: bool,
}

impl EmbeddedAssignment {
    /// Reads an assignment; no bytes at all are an empty one.
    pub(super) fn decode(bytes: &[u8]) -> Result<EmbeddedAssignment, RecordError> {
        if bytes.is_empty() {
            return Ok(EmbeddedAssignment {
                partitions: Vec::new(),
                has_user_data: false,
            });
        }
        let mut reader = Reader::new(bytes);
        version(&mut reader)?;
        let partitions = named_partitions(&mut reader)?;
        let has_user_data = nullable_bytes(&mut reader)? > 0;
        Ok(EmbeddedAssignment {
            partitions,
            has_user_data,
        })
    }

    /// Writes an assignment in the version that its reader subscribed with.
    pub(super) fn encode(version: i16, partitions: &NamedPartitions) -> Bytes {
        let mut bytes = BytesMut::with_capacity(64);
        bytes.put_i16(version.clamp(0, VERSION_MAX));
        bytes.put_i32(partitions.len() as i32);
        for (topic, list) in partitions {
            bytes.put_i16(topic.len() as i16);
            bytes.put_slice(topic.as_bytes());
            bytes.put_i32(list.len() as i32);
            for partition in list {
                bytes.put_i32(*partition);
            }
        }
        bytes.put_i32(-1);
        bytes.freeze()
    }
}

#[cfg(test)]
impl Subscription {
    /// Writes a subscription of version 1.
    pub(super) fn encode(topics: &[Arc<str>], owned: &NamedPartitions) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_i16(1);
        bytes.put_i32(topics.len() as i32);
        for topic in topics {
            bytes.put_i16(topic.len() as i16);
            bytes.put_slice(topic.as_bytes());
        }
        bytes.put_i32(-1);
        let rest = EmbeddedAssignment::encode(1, owned);
        bytes.put_slice(&rest[2..rest.len() - 4]);
        bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_read_as_it_was_written() {
        let partitions: NamedPartitions =
            vec![(Arc::from("a"), vec![0, 7]), (Arc::from("b"), vec![])];
        for version in 0..=3 {
            let bytes = EmbeddedAssignment::encode(version, &partitions);
            let read = EmbeddedAssignment::decode(&bytes).unwrap();
            assert_eq!(read.partitions, partitions);
            assert!(!read.has_user_data);
            for end in 1..bytes.len() {
                assert!(EmbeddedAssignment::decode(&bytes[..end]).is_err());
            }
        }
        let with_data = b"\0\0\0\0\0\0\0\0\0\x01x";
        assert!(EmbeddedAssignment::decode(with_data).unwrap().has_user_data);
    }

    #[test]
    fn a_subscription_is_read_in_every_version() {
        let topics: Vec<Arc<str>> = vec![Arc::from("a")];
        let owned: NamedPartitions = vec![(Arc::from("a"), vec![3])];
        let one = Subscription::encode(&topics, &owned);
        let read = Subscription::decode(&one).unwrap();
        assert_eq!(
            (read.version, &read.topics, &read.owned),
            (1, &topics, &owned)
        );
        let mut three = one.to_vec();
        three[1] = 9;
        three.extend_from_slice(&[0, 0, 0, 4, 0, 1, b'r']);
        let read = Subscription::decode(&three).unwrap();
        assert_eq!((read.version, read.rack.as_deref()), (3, Some("r")));
        let mut zero = one.to_vec();
        zero[1] = 0;
        assert!(Subscription::decode(&zero).unwrap().owned.is_empty());
        assert!(Subscription::decode(&[0x80, 0, 0]).is_err());
        assert!(Subscription::decode(&[0, 0, 0x7f, 0xff, 0xff, 0xff]).is_err());
    }
}

//! A change of the metadata, as it is decided, logged and applied.

use crate::BrokerError;
use crate::codec::{Decoder, Encoder};
use crate::config::BrokerScope;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// The format of logged changes. A change of the format gets the next number; older ones stay
/// readable.
const VERSION: u8 = 1;

/// One change. Each is one entry of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A topic is there from now on.
    CreateTopic {
        id: Uuid,
        name: Arc<str>,
        partitions: i32,
        created_generation: u64,
        overrides: BTreeMap<String, String>,
    },
    /// A topic is gone.
    DeleteTopic { id: Uuid },
    /// A topic has that many partitions.
    SetPartitions { id: Uuid, partitions: i32 },
    /// A topic has exactly these overrides.
    SetTopicOverrides {
        id: Uuid,
        overrides: BTreeMap<String, String>,
    },
    /// The broker has exactly these values set while running.
    SetBrokerValues {
        scope: BrokerScope,
        values: BTreeMap<String, String>,
    },
    /// Producer ids below this one were granted.
    GrantProducerIds { end: i64 },
}

impl Change {
    /// Its bytes in the metadata log.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Encoder::default();
        out.u8(VERSION);
        match self {
            Self::CreateTopic {
                id,
                name,
                partitions,
                created_generation,
                overrides,
            } => {
                out.u8(1);
                out.uuid(*id);
                out.text(name);
                out.i32(*partitions);
                out.u64(*created_generation);
                out.map(overrides);
            }
            Self::DeleteTopic { id } => {
                out.u8(2);
                out.uuid(*id);
            }
            Self::SetPartitions { id, partitions } => {
                out.u8(3);
                out.uuid(*id);
                out.i32(*partitions);
            }
            Self::SetTopicOverrides { id, overrides } => {
                out.u8(4);
                out.uuid(*id);
                out.map(overrides);
            }
            Self::SetBrokerValues { scope, values } => {
                out.u8(5);
                out.u8(scope_number(*scope));
                out.map(values);
            }
            Self::GrantProducerIds { end } => {
                out.u8(6);
                out.i64(*end);
            }
        }
        out.finish()
    }

    /// Reads an entry of the metadata log.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BrokerError> {
        let mut from = Decoder::new(bytes);
        let version = from.u8()?;
        if version != VERSION {
            return Err(BrokerError::StoredMetadata(format!(
                "format {version} of a change is not known"
            )));
        }
        let change = match from.u8()? {
            1 => Self::CreateTopic {
                id: from.uuid()?,
                name: from.text()?.into(),
                partitions: from.i32()?,
                created_generation: from.u64()?,
                overrides: from.map()?,
            },
            2 => Self::DeleteTopic { id: from.uuid()? },
            3 => Self::SetPartitions {
                id: from.uuid()?,
                partitions: from.i32()?,
            },
            4 => Self::SetTopicOverrides {
                id: from.uuid()?,
                overrides: from.map()?,
            },
            5 => Self::SetBrokerValues {
                scope: scope_of(from.u8()?)?,
                values: from.map()?,
            },
            6 => Self::GrantProducerIds { end: from.i64()? },
            other => {
                return Err(BrokerError::StoredMetadata(format!(
                    "kind {other} of change is not known"
                )));
            }
        };
        from.finish()?;
        Ok(change)
    }
}

fn scope_number(scope: BrokerScope) -> u8 {
    match scope {
        BrokerScope::AllBrokers => 0,
        BrokerScope::ThisBroker => 1,
    }
}

fn scope_of(number: u8) -> Result<BrokerScope, BrokerError> {
    match number {
        0 => Ok(BrokerScope::AllBrokers),
        1 => Ok(BrokerScope::ThisBroker),
        other => Err(BrokerError::StoredMetadata(format!(
            "broker scope {other} is not known"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Change> {
        let id = Uuid::from_u128(7);
        let map: BTreeMap<_, _> = [("retention.ms".to_owned(), "5".to_owned())].into();
        vec![
            Change::CreateTopic {
                id,
                name: "t".into(),
                partitions: 3,
                created_generation: 9,
                overrides: map.clone(),
            },
            Change::DeleteTopic { id },
            Change::SetPartitions { id, partitions: 4 },
            Change::SetTopicOverrides {
                id,
                overrides: map.clone(),
            },
            Change::SetBrokerValues {
                scope: BrokerScope::AllBrokers,
                values: map.clone(),
            },
            Change::SetBrokerValues {
                scope: BrokerScope::ThisBroker,
                values: map,
            },
            Change::GrantProducerIds { end: 1000 },
        ]
    }

    #[test]
    fn every_change_reads_back_as_it_was_written() {
        for change in samples() {
            assert_eq!(Change::decode(&change.encode()).unwrap(), change);
        }
    }

    #[test]
    fn the_bytes_on_the_disk_stay_as_they_are() {
        let bytes = Change::SetPartitions {
            id: Uuid::from_u128(7),
            partitions: 4,
        }
        .encode();
        assert_eq!(
            bytes[..],
            [
                1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 4, 0, 0, 0
            ]
        );
    }

    #[test]
    fn cut_or_lengthened_bytes_are_refused_and_never_panic() {
        for change in samples() {
            let bytes = change.encode();
            for end in 0..bytes.len() {
                Change::decode(&bytes[..end]).unwrap_err();
            }
            let mut longer = bytes.to_vec();
            longer.push(0);
            Change::decode(&longer).unwrap_err();
        }
        Change::decode(&[2, 1]).unwrap_err();
        Change::decode(&[1, 99]).unwrap_err();
    }
}

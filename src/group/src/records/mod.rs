//! The records of `__consumer_offsets`, in Kafka's own formats.
//!
//! Keys are of the old, non-flexible form, values of classic groups too; those of the new protocol
//! are flexible. Written are the versions that Kafka 4.3 writes; read are all that it reads.
//! Bytes are always checked, and nothing that is read shares memory with the record.
//!
//! Source: the message definitions of Kafka's group coordinator.

mod classic;
mod consumer;
mod key;
mod wire;

use thiserror::Error;

pub(crate) use classic::{GroupValue, MemberValue, OffsetValue};
pub(crate) use consumer::{
    AssignedTopic, ClassicMetadata, ConsumerGroupValue, ConsumerMemberValue, CurrentValue,
    RegexValue, TargetEpochValue, TargetMemberValue,
};
pub(crate) use key::Key;
pub(crate) use wire::Reader;

/// A record that cannot be read, though its kind is known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It ends within a field.
    #[error("a record ends {missing} bytes before its last field does")]
    Truncated {
        /// How many bytes the field lacks.
        missing: usize,
    },
    /// A field says what it cannot say.
    #[error("a record has {what} that makes no sense")]
    Malformed {
        /// What kind of field.
        what: &'static str,
    },
    /// The value is of a version that came later.
    #[error("a value of version {version} under a key of version {key}")]
    Version {
        /// The key's version, which says of what kind the record is.
        key: i16,
        /// The value's.
        version: i16,
    },
}

/// Reads a value's version and refuses one above `newest`.
fn version(reader: &mut Reader<'_>, key: i16, newest: i16) -> Result<i16, RecordError> {
    let version = reader.i16()?;
    if (0..=newest).contains(&version) {
        Ok(version)
    } else {
        Err(RecordError::Version { key, version })
    }
}

#[cfg(test)]
mod tests;

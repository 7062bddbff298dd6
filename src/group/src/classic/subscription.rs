//! What consumers tell each other through the classic protocol, as far as Kafka's coordinator
//! reads it: the topics of a subscription. All its versions begin with version 0's fields.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::records::{Reader, RecordError};

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// The topics that a member's metadata subscribes to.
pub(crate) fn topics(metadata: &[u8], into: &mut BTreeSet<Arc<str>>) -> Result<(), RecordError> {
    let mut reader = Reader::new(metadata);
    let _version = reader.i16()?;
    let count = reader.count()?;
    for _ in 0..count {
        into.insert(reader.string()?);
    }
    let user_data = reader.i32()?;
    if let Ok(len) = usize::try_from(user_data) {
        reader.take(len)?;
    }
    Ok(())
}

/// What a name takes besides itself, where it is noted.
pub(super) const NAME_BYTES: u64 = 64;

/// What noting the topics of one of these assignors' metadata takes at most. A name takes two bytes
/// of the metadata at least; what is no consumer's metadata may be taken for more than it is.
pub(super) fn bytes_max(protocols: &[(Arc<str>, Bytes)]) -> u64 {
    let names = protocols.iter().map(|(_, metadata)| {
        let mut reader = Reader::new(metadata);
        let count = reader.i16().and_then(|_| reader.count()).unwrap_or(0);
        let count = count.min(metadata.len() / 2) as u64;
        if count == 0 {
            return 0;
        }
        count * NAME_BYTES + metadata.len() as u64
    });
    names.max().unwrap_or(0)
}

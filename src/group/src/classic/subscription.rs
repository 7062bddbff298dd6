//! What consumers tell each other through the classic protocol, as far as Kafka's coordinator
//! reads it: the topics of a subscription. All its versions begin with version 0's fields.

use std::collections::BTreeSet;
use std::sync::Arc;

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

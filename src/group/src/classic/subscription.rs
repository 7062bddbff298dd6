//! What consumers tell each other through the classic protocol, as far as Kafka's coordinator
//! reads it: the topics of a subscription. All its versions begin with version 0's fields.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::records::{Reader, RecordError};

/// The protocol type of consumers.
pub(crate) const CONSUMER: &str = "consumer";

/// So many names of topics are noted of a group, those that several lists of its members have
/// counted with each list: some tens of milliseconds. Members that have the same list, as most have,
/// count once.
const NAMES_MAX: usize = 100_000;

/// The topics that metadata of a group's members subscribe to; none if they cannot be read, or are
/// more than may be noted. It then counts as reading all.
pub(super) fn topics(metadata: impl Iterator<Item = Bytes>) -> Option<BTreeSet<Arc<str>>> {
    let mut lists: BTreeMap<Bytes, usize> = BTreeMap::new();
    for metadata in metadata {
        let (names, count) = names(&metadata).ok()?;
        lists.insert(names, count);
    }
    if lists.values().sum::<usize>() > NAMES_MAX {
        return None;
    }
    let mut topics = BTreeSet::new();
    for (names, count) in lists {
        let mut reader = Reader::new(&names);
        for _ in 0..count {
            topics.insert(reader.string().ok()?);
        }
    }
    Some(topics)
}

/// The names in a member's metadata, as they stand there, and how many.
fn names(metadata: &Bytes) -> Result<(Bytes, usize), RecordError> {
    let mut reader = Reader::new(metadata);
    let _version = reader.i16()?;
    let count = reader.count()?;
    let from = metadata.len() - reader.rest();
    for _ in 0..count {
        let len = usize::try_from(reader.i16()?).map_err(|_| RecordError::Malformed {
            what: "a string that is null",
        })?;
        reader.take(len)?;
    }
    let upto = metadata.len() - reader.rest();
    let user_data = reader.i32()?;
    if let Ok(len) = usize::try_from(user_data) {
        reader.take(len)?;
    }
    Ok((metadata.slice(from..upto), count))
}

/// What a name takes besides itself, where it is noted.
pub(super) const NAME_BYTES: u64 = 64;

/// What noting the topics of one of these assignors' metadata takes at most. A name takes two bytes
/// of the metadata at least; what is no consumer's metadata may be taken for more than it is.
pub(super) fn bytes_max(protocols: &[(Arc<str>, Bytes)]) -> u64 {
    let names = protocols.iter().map(|(_, metadata)| {
        let mut reader = Reader::new(metadata);
        let count = reader.i16().and_then(|_| reader.count()).unwrap_or(0);
        let count = count.min(metadata.len() / 2).min(NAMES_MAX) as u64;
        if count == 0 {
            return 0;
        }
        count * NAME_BYTES + metadata.len() as u64
    });
    names.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(names: std::ops::Range<usize>, owned: u8) -> Bytes {
        let mut bytes = vec![0, 1];
        bytes.extend((names.len() as u32).to_be_bytes());
        for name in names {
            let name = name.to_string();
            bytes.extend((name.len() as u16).to_be_bytes());
            bytes.extend(name.as_bytes());
        }
        bytes.extend([0, 0, 0, 1, owned]);
        bytes.into()
    }

    #[test]
    fn lists_that_are_the_same_count_once_and_too_many_names_are_not_noted() {
        let half = NAMES_MAX / 2;
        let members = (0..100).map(|member| metadata(0..half, member));
        assert_eq!(topics(members).unwrap().len(), half);
        let two = [metadata(0..half, 0), metadata(half..NAMES_MAX, 0)];
        assert_eq!(topics(two.clone().into_iter()).unwrap().len(), NAMES_MAX);
        let three = two.into_iter().chain([metadata(0..1, 0)]);
        assert_eq!(topics(three), None);
    }

    #[test]
    fn what_is_cut_off_or_claims_too_much_is_not_read() {
        let whole = metadata(0..3, 1);
        for upto in 0..whole.len() {
            assert_eq!(topics([whole.slice(..upto)].into_iter()), None);
        }
        let claims = Bytes::from(vec![0, 1, 0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(topics([claims].into_iter()), None);
    }
}

//! What the clients were told: which record is at which offset. The log is held against it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::record::Id;

/// How many broken promises are kept; the rest is counted.
const BROKEN_MAX: usize = 20;

/// Where a record is. A topic is named by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) topic: u32,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

/// Shared by all that hear from the broker.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Told>);

/// All that was heard.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// What was acknowledged to a producer or shown to a consumer.
    pub(crate) claims: BTreeMap<Place, Id>,
    /// Records acknowledged, of each writer.
    pub(crate) acknowledged: BTreeMap<u32, u64>,
    /// Records that the reader on the tail was shown.
    pub(crate) shown: u64,
    /// Errors that no client should have had.
    pub(crate) broken: Vec<String>,
    pub(crate) broken_count: usize,
}

impl Ledger {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("no holder panics")
    }

    pub(crate) fn acknowledged(&self, place: Place, id: Id) {
        let mut told = self.lock();
        *told.acknowledged.entry(id.writer).or_default() += 1;
        told.claim(place, id, "acknowledged");
    }

    pub(crate) fn shown(&self, place: Place, id: Id) {
        let mut told = self.lock();
        told.shown += 1;
        told.claim(place, id, "shown");
    }

    pub(crate) fn broken(&self, what: String) {
        self.lock().broken(what);
    }
}

impl Told {
    fn claim(&mut self, place: Place, id: Id, how: &str) {
        let before = self.claims.insert(place, id);
        if let Some(before) = before.filter(|before| *before != id) {
            self.broken(format!(
                "{place:?} was {before:?} and is now {how} as {id:?}"
            ));
        }
    }

    fn broken(&mut self, what: String) {
        self.broken_count += 1;
        if self.broken.len() < BROKEN_MAX {
            self.broken.push(what);
        }
    }

    /// What was claimed of a partition from an offset on.
    pub(crate) fn claims_from(&self, topic: u32, partition: i32, offset: i64) -> BTreeMap<i64, Id> {
        let from = Place {
            topic,
            partition,
            offset,
        };
        let to = Place {
            offset: i64::MAX,
            ..from
        };
        self.claims
            .range(from..=to)
            .map(|(place, id)| (place.offset, *id))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_shows_two_records_is_a_broken_promise() {
        let ledger = Ledger::default();
        let place = Place {
            topic: 1,
            partition: 2,
            offset: 3,
        };
        let id = |number| Id { writer: 4, number };
        ledger.acknowledged(place, id(1));
        ledger.shown(place, id(1));
        assert_eq!(ledger.lock().broken_count, 0);
        ledger.shown(place, id(2));
        assert_eq!(ledger.lock().broken_count, 1);
    }
}

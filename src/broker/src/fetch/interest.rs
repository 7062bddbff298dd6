//! The partitions that a fetch is about: those of one request, or a session's standing ones.
//!
//! Owns which partitions there are, which of them are ready to be looked at, and the set through
//! which owners say so. Invariant: a partition that is not ready has a watch at its owner which was
//! registered before the owner was last asked, so whatever came since has marked it.

use super::FetchPartition;
use crate::metadata::TopicKey;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use tailwater_shards::{Marker, ReadySet};
use tailwater_storage::TopicPartition;

/// A partition of a fetch.
#[derive(Debug)]
pub(super) struct Slot {
    /// As last asked for.
    pub(super) wanted: FetchPartition,
    /// What the last answer told, -1 for nothing: an incremental answer repeats only changes.
    pub(super) told_high_watermark: i64,
    pub(super) told_log_start: i64,
    /// The partition that a watch is registered for.
    pub(super) watched: Option<TopicPartition>,
    ready: bool,
}

/// The partitions of a fetch, and who is ready.
pub(super) struct Interest {
    /// Distinguishes its watches from others' at the owners.
    pub(super) id: u64,
    set: Rc<ReadySet>,
    set_slots: usize,
    /// At most as many as the set has slots, when anything is watched.
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    places: BTreeMap<(TopicKey, i32), usize>,
    /// Those to look at, in the order to serve them. May name slots that are not ready any more.
    ready: VecDeque<usize>,
}

impl Interest {
    /// The partitions of a request, all ready. Of one named twice, the last counts, as in Kafka.
    pub(super) fn new(id: u64, partitions: Vec<FetchPartition>) -> Self {
        let mut interest = Self {
            id,
            set: Rc::new(ReadySet::new(partitions.len().max(1))),
            set_slots: partitions.len().max(1),
            slots: Vec::with_capacity(partitions.len()),
            free: Vec::new(),
            places: BTreeMap::new(),
            ready: VecDeque::with_capacity(partitions.len()),
        };
        for partition in partitions {
            interest.put(partition);
        }
        interest
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn set(&self) -> Rc<ReadySet> {
        self.set.clone()
    }

    pub(super) fn slot(&self, place: usize) -> Option<&Slot> {
        self.slots.get(place).and_then(Option::as_ref)
    }

    pub(super) fn slot_mut(&mut self, place: usize) -> Option<&mut Slot> {
        self.slots.get_mut(place).and_then(Option::as_mut)
    }

    /// All partitions, in the order they came.
    pub(super) fn slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(place, slot)| slot.as_ref().map(|slot| (place, slot)))
    }

    /// Adds a partition or takes over what it is asked for now. Either way it is ready.
    pub(super) fn put(&mut self, wanted: FetchPartition) {
        let key = (wanted.topic.clone(), wanted.partition);
        let place = match self.places.get(&key) {
            Some(place) => {
                let slot = self.slots[*place]
                    .as_mut()
                    .expect("a place in the index is taken");
                slot.wanted = wanted;
                *place
            }
            None => {
                let place = self.free.pop().unwrap_or_else(|| {
                    self.slots.push(None);
                    self.slots.len() - 1
                });
                self.slots[place] = Some(Slot {
                    wanted,
                    told_high_watermark: -1,
                    told_log_start: -1,
                    watched: None,
                    ready: false,
                });
                self.places.insert(key, place);
                place
            }
        };
        self.make_ready(place);
    }

    /// Takes a partition out. What watches it has to be told, if anything does.
    pub(super) fn forget(&mut self, topic: &TopicKey, partition: i32) -> Option<TopicPartition> {
        let place = self.places.remove(&(topic.clone(), partition))?;
        let slot = self.slots[place]
            .take()
            .expect("a place in the index is taken");
        self.free.push(place);
        slot.watched
    }

    pub(super) fn make_ready(&mut self, place: usize) {
        let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        if !slot.ready {
            slot.ready = true;
            self.ready.push_back(place);
        }
    }

    /// It has nothing to say until its owner marks it.
    pub(super) fn make_idle(&mut self, place: usize) {
        if let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut) {
            slot.ready = false;
        }
    }

    /// These were served: the others come first next time, as in Kafka's sessions.
    pub(super) fn serve_last(&mut self, served: &[usize]) {
        let mut is_served = vec![false; self.slots.len()];
        for place in served {
            is_served[*place] = true;
        }
        self.ready.retain(|place| !is_served[*place]);
        for place in served {
            if let Some(slot) = self.slots[*place].as_mut() {
                slot.ready = true;
                self.ready.push_back(*place);
            }
        }
    }

    /// Takes what owners marked, and gives all that are ready, in the order to serve them.
    pub(super) fn take_ready(&mut self) -> Vec<usize> {
        self.fit_set();
        let mut marked = Vec::new();
        self.set.take(|place| marked.push(place));
        self.set.reset_total();
        for place in marked {
            self.make_ready(place);
        }
        let slots = &self.slots;
        self.ready
            .retain(|place| slots[*place].as_ref().is_some_and(|slot| slot.ready));
        // A slot that was freed and taken again may stand in it twice.
        let mut seen = vec![false; self.slots.len()];
        self.ready
            .retain(|place| !std::mem::replace(&mut seen[*place], true));
        self.ready.iter().copied().collect()
    }

    /// The marker for a slot that is not watched as that partition yet.
    pub(super) fn watch(&mut self, place: usize, tp: TopicPartition) -> Option<Marker> {
        let slot = self.slots.get_mut(place).and_then(Option::as_mut)?;
        if slot.watched == Some(tp) {
            return None;
        }
        slot.watched = Some(tp);
        Some(self.set.marker(place))
    }

    /// A set has a fixed number of slots: when there are more, a larger one takes its place, and
    /// everything has to be watched anew. Markers of the old one are dead.
    fn fit_set(&mut self) {
        if self.slots.len() <= self.set_slots {
            return;
        }
        self.set_slots = self.slots.len() * 2;
        self.set = Rc::new(ReadySet::new(self.set_slots));
        for place in 0..self.slots.len() {
            if let Some(slot) = self.slots[place].as_mut() {
                slot.watched = None;
            }
            self.make_ready(place);
        }
    }
}

#[cfg(test)]
mod tests;

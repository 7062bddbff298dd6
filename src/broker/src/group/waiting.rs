//! Who waits for a reply: on the coordinator's side, and on the side of a connection whose group
//! has its coordinator on another shard.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tailwater_group::{GroupError, Reply};
use tailwater_shards::sync::Notify;
use tailwater_storage::Ticket;

/// What a coordinator answers.
pub(crate) type Answer = Result<Reply, GroupError>;

/// An answer, and what has to be durable before it may leave.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) answer: Answer,
    pub(crate) durable: Option<Ticket>,
}

/// Where one answer arrives.
#[derive(Default)]
pub(crate) struct Slot {
    settled: RefCell<Option<Settled>>,
    bell: Notify,
}

impl Slot {
    /// Puts the answer in. The first one counts.
    pub(crate) fn settle(&self, settled: Settled) {
        self.settled.borrow_mut().get_or_insert(settled);
        self.bell.notify_all();
    }

    /// The answer, if it is there.
    pub(crate) fn take(&self) -> Option<Settled> {
        self.settled.borrow_mut().take()
    }

    /// Waits for the answer.
    pub(crate) async fn settled(&self) -> Settled {
        loop {
            let rung = self.bell.notified();
            if let Some(settled) = self.take() {
                return settled;
            }
            rung.await;
        }
    }
}

/// Those who wait, by a number that is used once. Bounded: one more than may wait is refused.
pub(crate) struct Waiting {
    slots: RefCell<BTreeMap<u64, Rc<Slot>>>,
    last: RefCell<u64>,
    max: usize,
}

impl Waiting {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            slots: RefCell::default(),
            last: RefCell::new(0),
            max,
        }
    }

    /// Has somebody wait; `None` if as many wait as may.
    pub(crate) fn begin(&self) -> Option<(u64, Rc<Slot>)> {
        let mut slots = self.slots.borrow_mut();
        if slots.len() >= self.max {
            return None;
        }
        let mut last = self.last.borrow_mut();
        *last += 1;
        let slot = Rc::new(Slot::default());
        slots.insert(*last, slot.clone());
        Some((*last, slot))
    }

    /// Answers one that waits; nobody if it has gone.
    pub(crate) fn settle(&self, number: u64, settled: Settled) {
        let slot = self.slots.borrow_mut().remove(&number);
        if let Some(slot) = slot {
            slot.settle(settled);
        }
    }

    /// Forgets one that has gone; whether it was still waiting.
    pub(crate) fn forget(&self, number: u64) -> bool {
        self.slots.borrow_mut().remove(&number).is_some()
    }

    /// Answers all who wait with the same refusal.
    pub(crate) fn refuse_all(&self, error: &GroupError) {
        for slot in self.slots.take().into_values() {
            slot.settle(Settled {
                answer: Err(error.clone()),
                durable: None,
            });
        }
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal() -> Settled {
        Settled {
            answer: Err(GroupError::NotCoordinator),
            durable: None,
        }
    }

    #[test]
    fn no_more_wait_than_may() {
        let waiting = Waiting::new(2);
        let (first, _) = waiting.begin().unwrap();
        let (second, slot) = waiting.begin().unwrap();
        assert!(waiting.begin().is_none());
        assert!(waiting.forget(first) && !waiting.forget(first));
        assert!(waiting.begin().is_some(), "who leaves makes room");
        waiting.settle(second, refusal());
        assert!(slot.take().is_some());
        assert_eq!(waiting.len(), 1);
    }

    #[test]
    fn an_answer_to_one_that_has_gone_is_dropped() {
        let waiting = Waiting::new(1);
        let (number, slot) = waiting.begin().unwrap();
        waiting.forget(number);
        waiting.settle(number, refusal());
        assert!(slot.take().is_none());
    }

    #[test]
    fn a_refusal_of_all_reaches_all() {
        let waiting = Waiting::new(2);
        let slots = [waiting.begin().unwrap().1, waiting.begin().unwrap().1];
        waiting.refuse_all(&GroupError::CoordinatorNotAvailable);
        for slot in slots {
            let settled = slot.take().unwrap();
            assert_eq!(settled.answer, Err(GroupError::CoordinatorNotAvailable));
        }
        assert_eq!(waiting.len(), 0);
    }
}

//! Readers that do not take their replies, and what is done while others wait for the memory.
//!
//! Owns who of a shard's connections has a reply that the socket does not take. It must not know
//! what the replies are. As long as nobody waits for reply memory nothing is done: what is held is
//! within the budget. Once somebody waits, every stalled connection is told to copy what it still
//! holds, which frees the commits and chunks around it; and connections whose peers have taken
//! less than [`SLOW_PROGRESS_BYTES`] within the patience of the moment are closed, those that
//! have stood still longest first, until as much is free as is waited for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tailwater_broker::fetch::ReplyMemory;
use tailwater_shards::{Counter, Instant, Stream, count, now, sleep};

use crate::connection::{Control, Order};
use crate::limits::{
    SLOW_LOOK_INTERVAL, SLOW_PATIENCE_MAX, SLOW_PATIENCE_MIN, SLOW_PROGRESS_BYTES,
    SLOW_WAITERS_PATIENTLY,
};

/// A connection whose socket does not take its reply.
#[derive(Debug)]
pub(crate) struct Stalled {
    control: Rc<Control>,
    stream: Rc<Stream>,
    /// Reply memory that it holds.
    held: Cell<u64>,
    /// Bytes given to the socket since it is here.
    given: Cell<usize>,
    /// What the socket held when it came here.
    unsent_before: usize,
    /// When it last got on, and how much its peer had taken by then.
    mark: Cell<(Instant, usize)>,
    copies: Cell<bool>,
}

impl Stalled {
    /// Bytes were given to the socket; this much memory is still held.
    pub(crate) fn given(&self, bytes: usize, held: u64) {
        self.given.set(self.given.get() + bytes);
        self.held.set(held);
    }

    /// Whether what is held is to be copied, now.
    pub(crate) fn is_to_copy(&self) -> bool {
        self.copies.get()
    }

    /// How long its peer has not taken enough.
    fn stands_still(&self, at: Instant) -> Duration {
        let unsent = self.stream.unsent_bytes().ok();
        let taken = (self.unsent_before + self.given.get()).saturating_sub(unsent.unwrap_or(0));
        let (since, before) = self.mark.get();
        // A peer that has taken all there was waits for us: its connection stands in line for a turn.
        if taken >= before + SLOW_PROGRESS_BYTES || unsent == Some(0) {
            self.mark.set((at, taken));
            return Duration::ZERO;
        }
        at - since
    }
}

/// The stalled connections of a shard.
#[derive(Default)]
pub(crate) struct SlowReaders {
    next_id: Cell<u64>,
    stalled: RefCell<BTreeMap<u64, Rc<Stalled>>>,
}

/// A stalled connection's entry, taken out when this is dropped.
pub(crate) struct Entered {
    readers: Rc<SlowReaders>,
    id: u64,
    pub(crate) stalled: Rc<Stalled>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.readers.stalled.borrow_mut().remove(&self.id);
    }
}

impl SlowReaders {
    /// Enters a connection whose socket is full while it holds that much reply memory.
    pub(crate) fn enter(
        self: &Rc<Self>,
        control: &Rc<Control>,
        stream: &Rc<Stream>,
        held: u64,
    ) -> Entered {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let stalled = Rc::new(Stalled {
            control: Rc::clone(control),
            stream: Rc::clone(stream),
            held: Cell::new(held),
            given: Cell::new(0),
            unsent_before: stream.unsent_bytes().unwrap_or(0),
            mark: Cell::new((now(), 0)),
            copies: Cell::new(false),
        });
        self.stalled.borrow_mut().insert(id, Rc::clone(&stalled));
        Entered {
            readers: Rc::clone(self),
            id,
            stalled,
        }
    }

    /// Watches for those who wait, for ever.
    pub(crate) async fn watch(self: Rc<Self>, memory: ReplyMemory) {
        loop {
            memory.is_waited_for().await;
            while memory.waiters() > 0 {
                self.press(memory.waiters(), memory.wanted());
                sleep(SLOW_LOOK_INTERVAL).await;
            }
        }
    }

    /// So many wait for so many bytes.
    fn press(&self, waiters: usize, wanted: u64) {
        let at = now();
        let patience = patience(waiters);
        let mut still: Vec<(Duration, Rc<Stalled>)> = Vec::new();
        for stalled in self.stalled.borrow().values() {
            if !stalled.copies.replace(true) {
                stalled.control.wake();
            }
            let stands_still = stalled.stands_still(at);
            if stands_still >= patience && stalled.control.order() != Order::Close {
                still.push((stands_still, Rc::clone(stalled)));
            }
        }
        still.sort_by_key(|(stands_still, _)| std::cmp::Reverse(*stands_still));
        let mut freed = 0;
        for (stands_still, stalled) in still {
            if freed >= wanted {
                break;
            }
            freed += stalled.held.get();
            count(Counter::ClosedReplyMemory);
            tracing::debug!(
                peer = stalled.stream.peer_addr().ok().map(tracing::field::display),
                held = stalled.held.get(),
                "connection closed: its peer took less than {SLOW_PROGRESS_BYTES} bytes in \
                 {stands_still:?} while {waiters} others wait for reply memory"
            );
            stalled.control.tell(Order::Close);
        }
    }
}

/// How long a peer may stand still while so many wait.
pub(crate) fn patience(waiters: usize) -> Duration {
    let share = SLOW_PATIENCE_MAX * SLOW_WAITERS_PATIENTLY
        / u32::try_from(waiters.max(1)).unwrap_or(u32::MAX);
    share.clamp(SLOW_PATIENCE_MIN, SLOW_PATIENCE_MAX)
}

#[cfg(test)]
#[path = "slow_readers_tests.rs"]
mod tests;

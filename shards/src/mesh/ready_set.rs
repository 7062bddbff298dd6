//! Wake flags that cross shards: which of my sources have something new, and is it enough?
//!
//! A parked fetch makes a [`ReadySet`] with a slot for each partition and hands each partition's
//! owner a [`Marker`]. Marks coalesce: any number of them before the next [`ReadySet::take`] is
//! one bit and one sum. The waiter is woken only when the sum reaches what it needs.
//!
//! No mark is lost: a marker sets the bit first and adds the bytes second, and `take` notes the sum
//! first and clears the bits second. So the bytes that `reset_total` forgets belong to bits that
//! `take` has visited, and the others stay in the sum.
//!
//! Bounded: a set is `slots / 8` bytes and a few words, however often it is marked.

use std::cell::Cell;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::sync::{Arc, AtomicBool, AtomicU64, Ordering, fence};
use super::wake_cell::WakeCell;

struct Shared {
    /// Bytes marked and not yet forgotten.
    total: AtomicU64,
    /// The waiter is woken when `total` reaches this.
    needed: AtomicU64,
    /// The waiter is woken whatever `total` is.
    urgent: AtomicBool,
    /// The set was dropped: marking it is in vain.
    dead: AtomicBool,
    waiter: WakeCell,
    /// One bit a slot.
    words: Box<[AtomicU64]>,
}

/// The waiter's side. Stays on the shard that made it.
pub struct ReadySet {
    shared: Arc<Shared>,
    slots: usize,
    /// Of `total`: what the last `take` has accounted for.
    taken: Cell<u64>,
    waiting: Cell<bool>,
    /// Not `Send`: the waker in the cell is dropped where it was made.
    _shard: PhantomData<*const ()>,
}

/// The marking side of one slot, for any shard. Outlives the set harmlessly.
#[derive(Clone)]
pub struct Marker {
    shared: Arc<Shared>,
    slot: usize,
}

impl ReadySet {
    /// A set of `slots` slots, none marked, that wakes at the first byte.
    pub fn new(slots: usize) -> ReadySet {
        let words = (0..slots.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared {
            total: AtomicU64::new(0),
            needed: AtomicU64::new(1),
            urgent: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            waiter: WakeCell::new(),
            words,
        });
        ReadySet {
            shared,
            slots,
            taken: Cell::new(0),
            waiting: Cell::new(false),
            _shard: PhantomData,
        }
    }

    /// What the owner of the slot's source marks with. Panics if there is no such slot.
    pub fn marker(&self, slot: usize) -> Marker {
        assert!(slot < self.slots, "slot {slot} of {}", self.slots);
        Marker {
            shared: Arc::clone(&self.shared),
            slot,
        }
    }

    /// Clears the marks and visits the slots that had one, in rising order.
    /// A slot marked meanwhile is visited now or next time.
    pub fn take(&self, mut visit: impl FnMut(usize)) {
        // Exchanged and not stored, to acquire the bit that was set before the flag was.
        self.shared.urgent.swap(false, Ordering::AcqRel);
        self.taken.set(self.shared.total.load(Ordering::Acquire));
        for (index, word) in self.shared.words.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                visit(index * 64 + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }

    /// Forgets the bytes of the marks taken so far; those of later marks stay in the sum.
    pub fn reset_total(&self) {
        self.shared
            .total
            .fetch_sub(self.taken.take(), Ordering::AcqRel);
    }

    /// The bytes marked and not yet forgotten.
    pub fn total(&self) -> u64 {
        self.shared.total.load(Ordering::Acquire)
    }

    /// How many bytes must be marked to end [`wait`](Self::wait). Zero ends it at once.
    pub fn set_needed(&self, bytes: u64) {
        // `announce` has a fence between this and the look at the sum.
        self.shared.needed.store(bytes, Ordering::Relaxed);
    }

    /// Ends when the sum reaches what is needed, or a mark was urgent. Takes nothing: until
    /// [`take`](Self::take) and [`reset_total`](Self::reset_total), it ends at once again.
    /// Panics if two wait at once.
    pub fn wait(&self) -> impl Future<Output = ()> {
        assert!(!self.waiting.replace(true), "a ready set has one waiter");
        Wait { set: self }
    }

    fn is_ready(&self) -> bool {
        let shared = &self.shared;
        shared.urgent.load(Ordering::Acquire)
            || shared.total.load(Ordering::Acquire) >= shared.needed.load(Ordering::Relaxed)
    }
}

impl Drop for ReadySet {
    fn drop(&mut self) {
        self.shared.dead.store(true, Ordering::Relaxed);
        // SAFETY: the set is the sleeper, is not `Send`, and there is one for a cell.
        drop(unsafe { self.shared.waiter.retire() });
    }
}

struct Wait<'a> {
    set: &'a ReadySet,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waiter = &self.set.shared.waiter;
        // SAFETY: the set is the sleeper, is not `Send`, and there is one for a cell.
        unsafe { waiter.rise() };
        if self.set.is_ready() {
            return Poll::Ready(());
        }
        // SAFETY: as above.
        unsafe { waiter.announce(cx.waker()) };
        if self.set.is_ready() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.set.waiting.set(false);
        // SAFETY: the set is the sleeper, is not `Send`, and there is one for a cell.
        unsafe { self.set.shared.waiter.rise() };
    }
}

impl Marker {
    /// Marks the slot and adds `bytes`; wakes the waiter if it sleeps and now has enough.
    /// True if this call woke it. Call it after what the waiter will look at is in place.
    pub fn mark(&self, bytes: u64) -> bool {
        self.set_bit();
        let total = self
            .shared
            .total
            .fetch_add(bytes, Ordering::AcqRel)
            .wrapping_add(bytes);
        fence(Ordering::SeqCst);
        total >= self.shared.needed.load(Ordering::Relaxed) && self.shared.waiter.ring_after_fence()
    }

    /// Marks the slot and wakes the waiter whatever it needs: for an error, or a source gone.
    pub fn mark_urgent(&self) -> bool {
        self.set_bit();
        // Exchanged as in `take`: one of the two is first, and the other one knows it.
        self.shared.urgent.swap(true, Ordering::AcqRel);
        self.shared.waiter.ring()
    }

    /// The set was dropped; forget this marker.
    pub fn is_dead(&self) -> bool {
        self.shared.dead.load(Ordering::Relaxed)
    }

    fn set_bit(&self) {
        // Always an exchange, also if the bit is set already: it publishes what was written before.
        self.shared.words[self.slot / 64].fetch_or(1 << (self.slot % 64), Ordering::AcqRel);
    }
}

//! A bounded ring from one shard to one other.
//!
//! Invariants:
//! - One thread pushes and one pops. The two halves are neither `Clone` nor `Sync`.
//! - `head <= tail <= head + capacity`, counted in items since the start (both wrap).
//! - Slots in `head..tail` hold an item and belong to the consumer; the others hold nothing and
//!   belong to the producer. A half gives a slot away by storing its own counter, with `Release`.
//!
//! When the ring is full, `push` gives the item back. The mesh never lets it come to that: every
//! message in a ring is covered by a credit, and there are as many credits as slots.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::cache_line::CacheLine;
use super::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// In `Ring::tail` beside the count of items: nothing will be pushed any more.
const CLOSED: usize = 1;

struct Ring<T> {
    /// Items pushed since the start times two, plus `CLOSED`. Written by the producer.
    tail: CacheLine<AtomicUsize>,
    /// Items popped since the start. Written by the consumer.
    head: CacheLine<AtomicUsize>,
    /// A power of two of them.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: an item is moved in by one thread and out by one other, so that `T: Send` is enough;
// which thread may touch a slot is settled by `head` and `tail` as said above.
unsafe impl<T: Send> Sync for Ring<T> {}

/// The half that pushes.
pub(super) struct Producer<T> {
    ring: Arc<Ring<T>>,
    /// Items pushed since the start: what `Ring::tail` says, without reading it.
    tail: Cell<usize>,
    /// `Ring::head` when it was last looked at: it has only risen since.
    head_seen: Cell<usize>,
    closed: Cell<bool>,
}

/// The half that pops.
pub(super) struct Consumer<T> {
    ring: Arc<Ring<T>>,
    /// Items popped since the start: what `Ring::head` says, without reading it.
    head: Cell<usize>,
    /// `Ring::tail` when it was last looked at, without the mark: it has only risen since.
    tail_seen: Cell<usize>,
    closed_seen: Cell<bool>,
}

/// A ring that holds at least `capacity` items: the next power of two.
///
/// Memory is touched only as it is used: an idle ring costs address space alone.
pub(super) fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring of no slots carries nothing");
    let slots = (0..capacity.next_power_of_two())
        .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
        .collect();
    let ring = Arc::new(Ring {
        tail: CacheLine(AtomicUsize::new(0)),
        head: CacheLine(AtomicUsize::new(0)),
        slots,
    });
    let producer = Producer {
        ring: Arc::clone(&ring),
        tail: Cell::new(0),
        head_seen: Cell::new(0),
        closed: Cell::new(false),
    };
    let consumer = Consumer {
        ring,
        head: Cell::new(0),
        tail_seen: Cell::new(0),
        closed_seen: Cell::new(false),
    };
    (producer, consumer)
}

/// The largest count of items that fits beside the mark in `Ring::tail`; counts wrap there.
const COUNT_MASK: usize = usize::MAX >> 1;

impl<T> Ring<T> {
    fn slot(&self, count: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[count & (self.slots.len() - 1)]
    }
}

impl<T> Producer<T> {
    /// Gives `item` back when the ring is full or closed. Does not wake the consumer.
    pub(super) fn push(&self, item: T) -> Result<(), T> {
        let tail = self.tail.get();
        if self.closed.get() || self.is_full(tail) {
            return Err(item);
        }
        // SAFETY: `tail` is outside of `head..tail`, so the slot is ours and empty.
        self.ring
            .slot(tail)
            .with_mut(|slot| unsafe { slot.write(MaybeUninit::new(item)) });
        let tail = tail.wrapping_add(1) & COUNT_MASK;
        self.tail.set(tail);
        self.ring.tail.store(tail << 1, Ordering::Release);
        Ok(())
    }

    fn is_full(&self, tail: usize) -> bool {
        let holds = |head: usize| tail.wrapping_sub(head) & COUNT_MASK == self.ring.slots.len();
        if !holds(self.head_seen.get()) {
            return false;
        }
        // `Acquire`: the consumer is done with the slots below before we write them again.
        self.head_seen.set(self.ring.head.load(Ordering::Acquire));
        holds(self.head_seen.get())
    }

    /// Tells the consumer that nothing follows what is already in the ring. Does not wake it.
    pub(super) fn close(&self) {
        if !self.closed.replace(true) {
            self.ring
                .tail
                .store((self.tail.get() << 1) | CLOSED, Ordering::Release);
        }
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> Consumer<T> {
    /// The oldest item, or `None` if the ring is empty.
    pub(super) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let head = self.head.get();
        // SAFETY: `head` is inside of `head..tail`, so the slot is ours and holds an item, which
        // is moved out once: `head` rises before anybody looks again.
        let item = self.ring.slot(head).with(|slot| unsafe { slot.read() });
        let head = head.wrapping_add(1) & COUNT_MASK;
        self.head.set(head);
        self.ring.head.store(head, Ordering::Release);
        // SAFETY: see above: the slot held an item.
        Some(unsafe { item.assume_init() })
    }

    /// Looks at the producer's counter only when all that was seen of it has been popped.
    pub(super) fn is_empty(&self) -> bool {
        if self.head.get() == self.tail_seen.get() {
            // `Acquire`: what was written to the slots below is visible.
            let tail = self.ring.tail.load(Ordering::Acquire);
            self.tail_seen.set(tail >> 1);
            self.closed_seen.set(tail & CLOSED != 0);
        }
        self.head.get() == self.tail_seen.get()
    }

    /// Everything has been popped and nothing will follow.
    pub(super) fn is_finished(&self) -> bool {
        self.is_empty() && self.closed_seen.get()
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // `Acquire` for form's sake: both halves are gone, and the last `Arc` has seen it all.
        let tail = self.tail.load(Ordering::Acquire) >> 1;
        let mut head = self.head.load(Ordering::Acquire);
        while head != tail {
            // SAFETY: nobody else has the ring, and each slot is read once.
            let item = self.slot(head).with(|slot| unsafe { slot.read() });
            // SAFETY: slots in `head..tail` hold an item.
            drop(unsafe { item.assume_init() });
            head = head.wrapping_add(1) & COUNT_MASK;
        }
    }
}

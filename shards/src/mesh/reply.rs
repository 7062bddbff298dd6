//! Replies that are awaited on this shard: one table for all peers, single-threaded.
//!
//! An entry lives from the send until both have happened: the reply arrived (or never will), and
//! whoever awaited it took it or went away. Entries are reused, so a request allocates nothing
//! here in the long run. The table is as large as the most that was ever awaited at once: the
//! credits bound what is under way, the callers what has arrived and lies unread.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::ShardId;

/// The peer's end of the mesh is gone, or its handler panicked: this request gets no reply.
/// Whether it was handled is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the shard asked is gone from the mesh")]
pub struct MeshClosed;

/// The index of an entry: what a request carries and its reply brings back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplySlot(u32);

enum Entry<A> {
    /// The next free one.
    Free(Option<ReplySlot>),
    Awaited {
        from: ShardId,
        waker: Option<Waker>,
    },
    /// Nobody awaits it any more, but it is still to arrive.
    Forgotten {
        from: ShardId,
    },
    Arrived(Result<A, MeshClosed>),
}

/// See the module.
pub(super) struct Replies<A> {
    table: RefCell<Table<A>>,
}

struct Table<A> {
    entries: Vec<Entry<A>>,
    free: Option<ReplySlot>,
}

impl<A> Table<A> {
    fn at(&mut self, slot: ReplySlot) -> &mut Entry<A> {
        &mut self.entries[slot.0 as usize]
    }

    fn insert(&mut self, entry: Entry<A>) -> ReplySlot {
        if let Some(slot) = self.free {
            let before = std::mem::replace(self.at(slot), entry);
            let Entry::Free(next) = before else {
                unreachable!("a free entry is free")
            };
            self.free = next;
            return slot;
        }
        let slot =
            ReplySlot(u32::try_from(self.entries.len()).expect("memory ends before indices do"));
        self.entries.push(entry);
        slot
    }

    fn remove(&mut self, slot: ReplySlot) -> Entry<A> {
        let next = self.free.replace(slot);
        std::mem::replace(self.at(slot), Entry::Free(next))
    }
}

impl<A> Replies<A> {
    pub(super) fn new() -> Rc<Replies<A>> {
        Rc::new(Replies {
            table: RefCell::new(Table {
                entries: Vec::new(),
                free: None,
            }),
        })
    }

    /// An entry for a reply that `from` owes, and its awaiting half.
    pub(super) fn expect(self: &Rc<Self>, from: ShardId) -> (ReplySlot, PendingReply<A>) {
        let slot = self
            .table
            .borrow_mut()
            .insert(Entry::Awaited { from, waker: None });
        (
            slot,
            PendingReply {
                replies: Rc::clone(self),
                slot: Some(slot),
            },
        )
    }

    /// A reply that is known already not to come.
    pub(super) fn closed(self: &Rc<Self>) -> PendingReply<A> {
        let slot = self
            .table
            .borrow_mut()
            .insert(Entry::Arrived(Err(MeshClosed)));
        PendingReply {
            replies: Rc::clone(self),
            slot: Some(slot),
        }
    }

    /// The reply from `from` arrived, or will not. Panics if it owes none there: replies come from
    /// our own code, once for each request.
    pub(super) fn arrive(&self, from: ShardId, slot: ReplySlot, reply: Result<A, MeshClosed>) {
        let mut table = self.table.borrow_mut();
        let owes = match table.at(slot) {
            Entry::Awaited { from, .. } | Entry::Forgotten { from } => Some(*from),
            Entry::Free(_) | Entry::Arrived(_) => None,
        };
        assert_eq!(owes, Some(from), "a reply to no request");
        if matches!(table.at(slot), Entry::Forgotten { .. }) {
            table.remove(slot);
            // The reply's destructor runs last, with nothing borrowed: it may send, too.
            drop(table);
            drop(reply);
            return;
        }
        let before = std::mem::replace(table.at(slot), Entry::Arrived(reply));
        drop(table);
        if let Entry::Awaited {
            waker: Some(waker), ..
        } = before
        {
            waker.wake();
        }
    }

    /// Everything that `from` owes will not come.
    pub(super) fn fail_all(&self, from: ShardId) {
        let mut index = 0;
        loop {
            let slot = ReplySlot(index);
            let owed = match self.table.borrow().entries.get(index as usize) {
                None => return,
                Some(Entry::Awaited { from: by, .. } | Entry::Forgotten { from: by }) => {
                    *by == from
                }
                Some(Entry::Free(_) | Entry::Arrived(_)) => false,
            };
            if owed {
                self.arrive(from, slot, Err(MeshClosed));
            }
            index += 1;
        }
    }

    #[cfg(test)]
    pub(super) fn entries_in_use(&self) -> usize {
        let table = self.table.borrow();
        table
            .entries
            .iter()
            .filter(|entry| !matches!(entry, Entry::Free(_)))
            .count()
    }
}

/// A reply under way. Dropping it forgets the reply, not the request: that is handled all the same.
#[must_use = "await it for the reply; drop it on purpose to go without"]
pub struct PendingReply<A> {
    replies: Rc<Replies<A>>,
    /// None once it was taken.
    slot: Option<ReplySlot>,
}

impl<A> Unpin for PendingReply<A> {}

impl<A> Future for PendingReply<A> {
    type Output = Result<A, MeshClosed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot.expect("not polled after its end");
        let mut table = self.replies.table.borrow_mut();
        if let Entry::Awaited { waker, .. } = table.at(slot) {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
            return Poll::Pending;
        }
        let Entry::Arrived(reply) = table.remove(slot) else {
            unreachable!("an awaited entry is awaited until its reply arrives")
        };
        drop(table);
        self.slot = None;
        Poll::Ready(reply)
    }
}

impl<A> Drop for PendingReply<A> {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let mut table = self.replies.table.borrow_mut();
        let before = if let Entry::Awaited { from, .. } = *table.at(slot) {
            std::mem::replace(table.at(slot), Entry::Forgotten { from })
        } else {
            table.remove(slot)
        };
        // A reply's or a waker's destructor runs last, with nothing borrowed.
        drop(table);
        drop(before);
    }
}

impl<A> fmt::Debug for PendingReply<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingReply")
            .field("slot", &self.slot)
            .finish_non_exhaustive()
    }
}

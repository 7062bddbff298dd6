//! How many requests a shard may have under way to one other shard.
//!
//! A credit reserves three things at once: a slot in the ring there, the peer's attention, and a
//! slot in the ring back for the reply. It comes back with the reply. So neither a request nor a
//! reply ever finds its ring full, and no reply waits for anything.
//!
//! When there is none left, senders queue here, first come first served; their queue is as long as
//! there are tasks that send, which the callers bound. Single-threaded: it lives on the sender's shard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// See the module.
pub(super) struct Credits {
    limit: usize,
    free: Cell<usize>,
    closed: Cell<bool>,
    /// Tickets rise from front to back.
    queue: RefCell<VecDeque<Waiter>>,
    next_ticket: Cell<u64>,
    waits: Cell<u64>,
}

struct Waiter {
    ticket: u64,
    waker: Waker,
}

/// No credit will be had any more: the peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CreditsClosed;

impl Credits {
    pub(super) fn new(limit: usize) -> Credits {
        Credits {
            limit,
            free: Cell::new(limit),
            closed: Cell::new(false),
            queue: RefCell::new(VecDeque::new()),
            next_ticket: Cell::new(0),
            waits: Cell::new(0),
        }
    }

    /// A credit, if there is one and nobody waits for it: no sender overtakes another.
    pub(super) fn try_take(&self) -> bool {
        if self.free.get() == 0 || !self.queue.borrow().is_empty() {
            return false;
        }
        self.free.set(self.free.get() - 1);
        true
    }

    /// Waits for a credit, in the order of the first polls.
    pub(super) fn take(&self) -> Take<'_> {
        Take {
            credits: self,
            ticket: None,
        }
    }

    /// A reply came: its credit is free for the next request.
    pub(super) fn give_back(&self) {
        self.free.set(self.free.get() + 1);
        assert!(self.free.get() <= self.limit, "more replies than requests");
        self.wake_first();
    }

    /// Ends all waiting, now and later.
    pub(super) fn close(&self) {
        self.closed.set(true);
        let wakers: Vec<Waker> = self
            .queue
            .borrow()
            .iter()
            .map(|w| w.waker.clone())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// How often a sender had to wait.
    pub(super) fn waits(&self) -> u64 {
        self.waits.get()
    }

    fn wake_first(&self) {
        let first = self.queue.borrow().front().map(|w| w.waker.clone());
        if let Some(waker) = first {
            waker.wake();
        }
    }

    fn is_first(&self, ticket: u64) -> bool {
        self.queue
            .borrow()
            .front()
            .is_some_and(|w| w.ticket == ticket)
    }

    fn leave(&self, ticket: u64) {
        let mut queue = self.queue.borrow_mut();
        if let Ok(index) = queue.binary_search_by_key(&ticket, |w| w.ticket) {
            queue.remove(index);
        }
        drop(queue);
        // Whoever is first now may not have been told of the credits that are free.
        if self.free.get() > 0 {
            self.wake_first();
        }
    }

    fn enqueue(&self, waker: &Waker) -> u64 {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        self.waits.set(self.waits.get() + 1);
        self.queue.borrow_mut().push_back(Waiter {
            ticket,
            waker: waker.clone(),
        });
        ticket
    }

    fn renew(&self, ticket: u64, waker: &Waker) {
        let mut queue = self.queue.borrow_mut();
        let index = queue.binary_search_by_key(&ticket, |w| w.ticket);
        let index = index.expect("who waits is in the queue until it leaves");
        queue[index].waker.clone_from(waker);
    }
}

/// See [`Credits::take`]. Dropped, it leaves the queue.
pub(super) struct Take<'a> {
    credits: &'a Credits,
    ticket: Option<u64>,
}

impl Future for Take<'_> {
    type Output = Result<(), CreditsClosed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let credits = self.credits;
        if credits.is_closed() {
            return Poll::Ready(Err(CreditsClosed));
        }
        match self.ticket {
            None if credits.try_take() => return Poll::Ready(Ok(())),
            None => self.ticket = Some(credits.enqueue(cx.waker())),
            Some(ticket) if credits.free.get() > 0 && credits.is_first(ticket) => {
                credits.free.set(credits.free.get() - 1);
                self.ticket = None;
                credits.leave(ticket);
                return Poll::Ready(Ok(()));
            }
            Some(ticket) => credits.renew(ticket, cx.waker()),
        }
        Poll::Pending
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.credits.leave(ticket);
        }
    }
}

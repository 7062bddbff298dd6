//! What the rest of the shard knows of a connection, and what it can tell it.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};
use std::time::Duration;

use tailwater_shards::{Instant, now};

/// What a connection has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Go on.
    Serve,
    /// Begin nothing more, answer what is in flight, end.
    Drain,
    /// End now.
    Close,
}

/// Shared by a connection's task and its shard's registry.
#[derive(Debug)]
pub(crate) struct Control {
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
    last_active: Cell<Instant>,
    busy: Cell<bool>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            order: Cell::new(Order::Serve),
            waker: RefCell::new(None),
            last_active: Cell::new(now()),
            busy: Cell::new(false),
        }
    }

    /// What was said last.
    pub(crate) fn order(&self) -> Order {
        self.order.get()
    }

    /// Tells the connection; an order is never taken back.
    pub(crate) fn tell(&self, order: Order) {
        if order <= self.order.get() {
            return;
        }
        self.order.set(order);
        self.wake();
    }

    /// Has the connection look at all it waits for.
    pub(crate) fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes this task at the next order.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(held) => held.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Bytes came or went.
    pub(crate) fn touch(&self) {
        self.last_active.set(now());
    }

    /// Says whether anything is in flight; a parked fetch is.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    /// How long nothing has happened, if nothing is in flight.
    pub(crate) fn idle_for(&self, at: Instant) -> Option<Duration> {
        (!self.busy.get()).then(|| at - self.last_active.get())
    }
}

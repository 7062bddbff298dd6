//! What the rest of the shard knows of a connection, and what it can tell it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tailwater_shards::{Instant, now};

use super::Holding;
use crate::turns::Turn;

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
    parked: Cell<bool>,
    /// What it holds of the request memory.
    pub(crate) holding: Rc<Holding>,
}

impl Control {
    pub(crate) fn new() -> Self {
        Self {
            order: Cell::new(Order::Serve),
            waker: RefCell::new(None),
            last_active: Cell::new(now()),
            busy: Cell::new(false),
            parked: Cell::new(false),
            holding: Rc::default(),
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
        self.touch_at(now());
    }

    /// Bytes came or went at `at`.
    pub(crate) fn touch_at(&self, at: Instant) {
        self.last_active.set(at);
    }

    /// Its peer is not waited for where it has no turn: nobody knows yet what has come.
    pub(crate) fn stands_in_line(&self, turn: Option<&Turn>) {
        if turn.is_none_or(|turn| !turn.begins) {
            self.holding.reading.stand_in_line();
        }
        if turn.is_none() {
            self.holding.writing.stand_in_line();
        }
    }

    /// Says whether anything is in flight; a parked fetch is.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.set(busy);
    }

    /// See [`Control::set_busy`].
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    /// Says whether what is in flight waits for something to happen, for as long as its client
    /// likes: a fetch.
    pub(crate) fn set_parked(&self, parked: bool) {
        self.parked.set(parked);
    }

    /// See [`Control::set_parked`].
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.get()
    }

    /// How long nothing has happened, if nothing is in flight.
    pub(crate) fn idle_for(&self, at: Instant) -> Option<Duration> {
        (!self.busy.get()).then(|| at - self.last_active.get())
    }
}

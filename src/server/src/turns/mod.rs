//! Fair turns: when each connection of a shard may work, so that no crowd keeps others waiting.
//!
//! Owns the order in which connections begin requests, and how long they work between two looks of
//! the shard at its sockets and files. It must not know what a request is.
//!
//! A connection that something has happened to asks for a turn before it reads a byte. While the
//! *window* (what all may use before the shard looks at its I/O again) has room and nobody waits,
//! it goes at once. Otherwise it waits in one of three lines:
//! - *fresh*: it had nothing left to do when its last turn ended. Who has used least of late goes
//!   first; and at once while the window has room for that.
//! - *backlog*: it has sent more than a turn's worth. Address by address, round robin by cost, and
//!   within an address one connection after the other. The fresh go before it, but not for ever.
//! - *begun*: it carries on what it has begun, and begins nothing: it holds memory and places that
//!   others wait for.
//!
//! What a turn costs is what its shard's thread worked in it: while others have the processor time
//! passes too, and no client can help that.
//!
//! Waiting costs nothing: who waits is woken when its turn has come, one at a time.
//!
//! Invariants: one that waits has been told to go, or the window is full and the next pass over
//! the I/O opens a new one; one at a time has been told to go. A window holds at most
//! [`WINDOW_FRESH_MAX`] and one turn.
//! Why, and what it does: docs/decisions/fair-turns.md.

mod meter;
mod state;
mod usage;

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use tailwater_shards::sync::Notify;
use tailwater_shards::{Counter, count, now, processor_time, spawn, yield_now};

use crate::connection::Control;
use crate::limits::ROUND_COST_MIN;
use meter::Meter;
use state::{Cost, Grant, State, nanos};
use usage::Nanos;

/// One shard's turns.
pub(crate) struct Turns {
    state: RefCell<State>,
    meter: Cell<Meter>,
    /// Rings when a window is full.
    full: Notify,
}

/// A turn that has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Whether new requests may be read and begun, or only those carried on that have.
    pub(crate) begins: bool,
    /// It was waited for, and what for.
    granted: Option<Grant>,
    began: Nanos,
    /// What others are known to have taken of the processor since.
    lost: Nanos,
    /// How long it may begin requests, and how long it may last.
    begins_for: Nanos,
    lasts: Nanos,
}

/// What is left when a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Left {
    /// Requests that have come.
    pub(crate) to_begin: bool,
    /// Something to do for those that have begun, now.
    pub(crate) to_carry_on: bool,
}

/// A connection's place among those that take turns, given up by being dropped.
pub(crate) struct Seat {
    turns: Rc<Turns>,
    id: u32,
}

/// Whose share an address uses: its own; of IPv6 that of its network, as one user has all of it.
fn user(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

impl Turns {
    /// Turns for the current shard, with a task of their own that opens windows.
    pub(crate) fn start() -> Rc<Self> {
        let turns = Rc::new(Self {
            state: RefCell::default(),
            meter: Cell::default(),
            full: Notify::default(),
        });
        let opens = Rc::clone(&turns);
        spawn("turns", async move { opens.open_windows().await }).detach();
        turns
    }

    /// A place for a connection from `address`.
    pub(crate) fn join(self: &Rc<Self>, address: IpAddr, control: Rc<Control>) -> Seat {
        let id = self.state.borrow_mut().join(user(address), control);
        Seat {
            turns: Rc::clone(self),
            id,
        }
    }

    async fn open_windows(&self) {
        loop {
            self.full.notified().await;
            // Sockets and files are looked at in between.
            yield_now().await;
            self.change(|state| state.open(now().as_nanos()));
        }
    }

    /// A turn begins, in a window whose first one looks at the processor time.
    fn metered(&self, turn: Turn) -> Turn {
        let window = self.state.borrow().opened();
        let mut meter = self.meter.get();
        meter.begin(window, worked);
        self.meter.set(meter);
        turn
    }

    /// Changes the state, then wakes who has been told to go.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (changed, next, full) = {
            let mut state = self.state.borrow_mut();
            let was_closing = state.is_closing();
            let changed = change(&mut state);
            let next = state.grant();
            (changed, next, state.is_closing() && !was_closing)
        };
        if full {
            self.full.notify_one();
        }
        if let Some(next) = next {
            next.wake();
        }
        changed
    }
}

/// What the shard's thread has worked since it began.
fn worked() -> Nanos {
    nanos(processor_time())
}

impl Seat {
    /// The connection's turn, if it has come; otherwise the connection is woken when it does.
    /// `begun` says whether it has something to carry on.
    pub(crate) fn ask(&self, begun: bool) -> Option<Turn> {
        self.has_come(begun).map(|turn| self.turns.metered(turn))
    }

    fn has_come(&self, begun: bool) -> Option<Turn> {
        let at = now().as_nanos();
        let at_once = self.turns.state.borrow_mut().at_once(self.id, at);
        if at_once.is_some_and(|turn| turn.begins) {
            return at_once;
        }
        // Nobody knows what it was woken for: that may be bytes to read, and it is woken for them
        // once. So whoever may only carry on stands in line to begin.
        self.turns.change(|state| {
            if state.wait(self.id, at) {
                count(Counter::WaitsForTurn);
            }
            match at_once {
                None if begun => state.carry_on(self.id, at),
                turn => turn,
            }
        })
    }

    /// Whether nothing more may be begun, and whether others are to go on in any case.
    pub(crate) fn is_over(&self, turn: &mut Turn) -> (bool, bool) {
        let worked = self.worked(turn, now().as_nanos());
        (worked >= turn.begins_for, worked >= turn.lasts)
    }

    /// What has been worked in the turn.
    fn worked(&self, turn: &mut Turn, at: Nanos) -> Nanos {
        let passed = at - turn.began - turn.lost;
        let worked = self.turns.meter.get().worked(passed, worked);
        turn.lost += passed - worked;
        worked
    }

    /// The turn is over after so many rounds of work.
    pub(crate) fn end(&self, mut turn: Turn, rounds: u32, left: Left) {
        let at = now().as_nanos();
        let floor = nanos(ROUND_COST_MIN.saturating_mul(rounds));
        let worked = self.worked(&mut turn, at).max(floor);
        let mut meter = self.turns.meter.get();
        meter.end(worked);
        self.turns.meter.set(meter);
        let took = (at - turn.began).max(floor);
        let cost = Cost { took, worked };
        let end = |state: &mut State| state.end(self.id, turn, cost, left, at);
        if self.turns.change(end) {
            count(Counter::WaitsForTurn);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.turns.change(|state| state.leave(self.id));
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

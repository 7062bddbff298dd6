//! How far the WAL has come: the commits that are not durable yet, the contiguous prefixes of
//! those written and those durable, and who waits for them.
//!
//! Plain state, no I/O. Invariant: the durable prefix never passes the written one, and neither
//! passes a commit that has not got there itself, whatever came back from the disk first.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::Waker;

use tailwater_shards::planted::{self, Planted};

use super::cache::Memory;
use super::file::WalFile;
use super::gather::CarryItem;
use crate::log::Log;

/// A log whose end moves when its commit does.
pub(crate) struct Touched {
    pub(crate) log: Log,
    /// Set for runs; a log start moves no end.
    pub(crate) end: Option<i64>,
    /// Set for log starts.
    pub(crate) log_start: Option<i64>,
    /// The run's bytes.
    pub(crate) bytes: u64,
}

/// Where a carried run is once its commit is durable.
pub(crate) struct CarriedTo {
    pub(crate) item: CarryItem,
    pub(crate) position: u64,
    pub(crate) mem: bytes::Bytes,
    /// What that is a part of.
    pub(crate) memory: Memory,
}

/// A commit between its building and its durability.
pub(crate) struct Flight {
    pub(crate) id: u64,
    /// The ticket that is served when the prefix includes this commit.
    pub(crate) completes: u64,
    pub(crate) lsn: u64,
    pub(crate) end_lsn: u64,
    pub(crate) file: Rc<WalFile>,
    pub(crate) touched: Vec<Touched>,
    pub(crate) carried: Vec<CarriedTo>,
    /// The metadata entries in it end below this number; 0: there are none.
    pub(crate) metadata_end: u64,
    pub(crate) written: bool,
    /// A sync that was submitted after the write has ended is on its way or done.
    pub(crate) covered: bool,
    pub(crate) durable: bool,
}

/// What an advance of a prefix has to tell, once no state is borrowed any more.
#[derive(Default)]
pub(crate) struct Advance {
    pub(crate) written: Vec<Touched>,
    pub(crate) durable: Vec<Flight>,
    pub(crate) wakers: Vec<Waker>,
    pub(crate) durable_ticket: u64,
}

/// Tasks that wait for a ticket.
#[derive(Default)]
pub(crate) struct Waiters {
    next_id: u64,
    waiting: BTreeMap<(u64, u64), Waker>,
}

impl Waiters {
    /// Registers a waker, or renews it under the id it got.
    pub(crate) fn register(&mut self, ticket: u64, id: Option<u64>, waker: &Waker) -> u64 {
        let id = id.unwrap_or_else(|| {
            self.next_id += 1;
            self.next_id
        });
        self.waiting.insert((ticket, id), waker.clone());
        id
    }

    pub(crate) fn forget(&mut self, ticket: u64, id: u64) {
        self.waiting.remove(&(ticket, id));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn take_upto(&mut self, ticket: u64, into: &mut Vec<Waker>) {
        while let Some(first) = self.waiting.first_entry() {
            if first.key().0 > ticket {
                break;
            }
            into.push(first.remove());
        }
    }

    /// Everybody, when the shard goes down.
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

#[derive(Default)]
pub(crate) struct Progress {
    /// In the order of their LSNs; those at the front leave when they are durable.
    flights: VecDeque<Flight>,
    /// How many at the front are in the written prefix.
    written_prefix: usize,
    pub(crate) written_ticket: u64,
    pub(crate) durable_ticket: u64,
    pub(crate) durable_lsn: u64,
    /// Commits up to this id are to be synced as soon as they are written.
    pub(crate) sync_wanted: u64,
    next_id: u64,
    pub(crate) written_waiters: Waiters,
    pub(crate) durable_waiters: Waiters,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flight = |f: &Flight| (f.id, f.completes, f.written, f.covered, f.durable);
        let flights: Vec<_> = self.flights.iter().map(flight).collect();
        f.debug_struct("Progress")
            .field("flights", &flights)
            .field("written", &self.written_ticket)
            .field("durable", &self.durable_ticket)
            .field("durable_lsn", &self.durable_lsn)
            .field("sync_wanted", &self.sync_wanted)
            .finish()
    }
}

impl Progress {
    /// Nothing is on its way, and everything below the LSN is durable.
    pub(crate) fn from_lsn(durable_lsn: u64) -> Self {
        Self {
            durable_lsn,
            ..Self::default()
        }
    }

    pub(crate) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn last_id(&self) -> u64 {
        self.next_id
    }

    pub(crate) fn push(&mut self, flight: Flight) {
        if let Some(last) = self.flights.back() {
            assert!(
                flight.id > last.id && flight.lsn >= last.end_lsn,
                "commits are built in order"
            );
        }
        self.flights.push_back(flight);
    }

    /// Whether everything committed is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.flights.is_empty()
    }

    /// From the first commit whose write has not ended to the last one: what nobody may read yet,
    /// and memory has.
    pub(crate) fn unwritten_bytes(&self) -> u64 {
        let first = self.flights.get(self.written_prefix);
        let last = self.flights.back();
        let (first, last) = (first.map(|f| f.lsn), last.map(|f| f.end_lsn));
        last.zip(first).map_or(0, |(last, first)| last - first)
    }

    /// Whether nothing that lies in the file is on its way.
    pub(crate) fn is_settled_in(&self, file: &Rc<WalFile>) -> bool {
        !self
            .flights
            .iter()
            .any(|flight| Rc::ptr_eq(&flight.file, file))
    }

    /// Whether a commit waits for a sync that nothing has asked for yet.
    pub(crate) fn has_unsynced_behind(&self) -> bool {
        self.flights
            .iter()
            .any(|flight| flight.id > self.sync_wanted)
    }

    /// The commit's write has ended, and with `durable` its sync too.
    pub(crate) fn written(&mut self, id: u64, durable: bool) -> Advance {
        let flight = self.flights.iter_mut().find(|flight| flight.id == id);
        let flight = flight.expect("a commit stays until it is durable");
        flight.written = true;
        flight.covered |= durable;
        flight.durable |= durable;
        self.advance()
    }

    /// A sync submitted now covers what has been written: those commits, and their files.
    pub(crate) fn begin_sync(&mut self, for_id: u64) -> Option<(Vec<u64>, Vec<Rc<WalFile>>)> {
        let mut files: Vec<Rc<WalFile>> = Vec::new();
        let wanted = |flight: &&Flight| flight.id <= for_id && flight.written && !flight.covered;
        for flight in self.flights.iter().filter(wanted) {
            if !files.iter().any(|file| Rc::ptr_eq(file, &flight.file)) {
                files.push(Rc::clone(&flight.file));
            }
        }
        if files.is_empty() {
            return None;
        }
        let mut ids = Vec::new();
        for flight in self
            .flights
            .iter_mut()
            .filter(|flight| flight.written && !flight.covered)
        {
            if files.iter().any(|file| Rc::ptr_eq(file, &flight.file)) {
                flight.covered = true;
                ids.push(flight.id);
            }
        }
        Some((ids, files))
    }

    /// That sync has ended.
    pub(crate) fn end_sync(&mut self, ids: &[u64]) -> Advance {
        let later = planted::is(Planted::SyncCoversLaterWrites);
        for flight in self
            .flights
            .iter_mut()
            .filter(|flight| ids.contains(&flight.id) || (later && flight.written))
        {
            assert!(flight.written && (flight.covered || later));
            flight.durable = true;
        }
        self.advance()
    }

    fn advance(&mut self) -> Advance {
        let mut advance = Advance::default();
        while let Some(flight) = self.flights.get_mut(self.written_prefix) {
            if !flight.written {
                break;
            }
            self.written_prefix += 1;
            self.written_ticket = flight.completes;
            let moved = flight.touched.iter().map(|t| Touched {
                log: t.log.clone(),
                end: t.end,
                log_start: t.log_start,
                bytes: t.bytes,
            });
            advance.written.extend(moved);
        }
        while self.flights.front().is_some_and(|flight| flight.durable) {
            let flight = self.flights.pop_front().expect("looked at just now");
            assert!(self.written_prefix > 0, "what is durable was written");
            self.written_prefix -= 1;
            self.durable_ticket = flight.completes;
            self.durable_lsn = flight.end_lsn;
            advance.durable.push(flight);
        }
        self.written_waiters
            .take_upto(self.written_ticket, &mut advance.wakers);
        self.durable_waiters
            .take_upto(self.durable_ticket, &mut advance.wakers);
        advance.durable_ticket = self.durable_ticket;
        advance
    }

    /// Asks for a sync of the commit that serves `ticket`, if it has been built. Returns its id.
    pub(crate) fn want_sync_of(&mut self, ticket: u64) -> Option<u64> {
        let flight = self
            .flights
            .iter()
            .find(|flight| flight.completes >= ticket)?;
        let id = flight.id;
        self.sync_wanted = self.sync_wanted.max(id);
        Some(id)
    }

    /// Forgets the commits of a shard that has gone down.
    pub(crate) fn clear(&mut self) -> Vec<Waker> {
        self.flights.clear();
        self.written_prefix = 0;
        let mut wakers = self.written_waiters.take_all();
        wakers.extend(self.durable_waiters.take_all());
        wakers
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.durable_ticket <= self.written_ticket);
        assert!(self.written_prefix <= self.flights.len());
        for (index, flight) in self.flights.iter().enumerate() {
            assert!(flight.written || !flight.durable);
            assert!(index >= self.written_prefix || flight.written);
        }
        assert!(self.flights.front().is_none_or(|flight| !flight.durable));
    }
}

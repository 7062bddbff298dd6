//! The lines of [`super::Turns`], as a state machine: told the time, it says who goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::usage::{Nanos, Usage};
use super::{Left, Turn};
use crate::connection::Control;
use crate::limits::{
    FRESH_RUN_MAX, FRESH_TURN_MAX, FRESH_USAGE_MAX, TURN_MAX, TURN_QUANTUM, USAGE_WAIT_FACTOR,
    WINDOW_FRESH_MAX, WINDOW_MAX, WINDOW_STALE,
};

pub(super) const fn nanos(duration: Duration) -> Nanos {
    duration.as_nanos() as Nanos
}

/// What one that waits has been told it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grant {
    Begin { fresh: bool },
    CarryOn,
}

/// Where a connection stands that wants to begin something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Standing {
    /// Nowhere; it has been told to go, or wants nothing.
    #[default]
    Out,
    /// Among the fresh, with this place.
    Fresh(Nanos),
    /// In the backlog of its address.
    Backlog,
}

/// What a turn cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// The time that it took: for so long nobody has looked at sockets and files.
    pub(super) took: Nanos,
    /// What its shard's thread worked of that, which its client is charged.
    pub(super) worked: Nanos,
}

/// One shard's lines.
#[derive(Default)]
pub(super) struct State {
    fresh: BTreeSet<(Nanos, u32)>,
    /// Addresses with connections in their backlog.
    backlog: VecDeque<u32>,
    /// By their places, then by when they came.
    begun: BTreeMap<(Nanos, u64), u32>,
    next_begun: u64,
    /// The last that was told to go was one of the begun.
    begun_last: bool,
    /// What fresh turns have cost since the backlog last had one.
    fresh_run: Nanos,
    pub(super) granted: Option<(u32, Grant)>,
    /// What has been used of the window, and since when.
    used: Nanos,
    opened: Nanos,
    /// The window is full; the next pass over the I/O will open a new one.
    closing: bool,
    flows: Vec<Flow>,
    free_flows: Vec<u32>,
    of_address: BTreeMap<IpAddr, u32>,
    seats: Vec<Seated>,
    free_seats: Vec<u32>,
}

/// The connections of one address.
struct Flow {
    address: IpAddr,
    seats: usize,
    usage: Usage,
    /// Those that have sent more than a turn's worth, in the order of their turns.
    backlog: VecDeque<u32>,
    /// What it may use before the next address goes on; it owes what is below zero.
    credit: i64,
    /// It stands in line; it does not while one of its backlog has its turn.
    in_line: bool,
}

struct Seated {
    flow: u32,
    usage: Usage,
    standing: Standing,
    /// Its place among the begun.
    waits_begun: Option<(Nanos, u64)>,
    control: Option<Rc<Control>>,
}

/// Puts `value` where there is room, and says where.
fn place<T>(all: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(id) = free.pop()
        && let Some(at) = all.get_mut(id as usize)
    {
        *at = value;
        return id;
    }
    all.push(value);
    u32::try_from(all.len() - 1).expect("fewer connections than descriptors")
}

impl State {
    pub(super) fn join(&mut self, address: IpAddr, control: Rc<Control>) -> u32 {
        let flow = match self.of_address.get(&address) {
            Some(flow) => *flow,
            None => {
                let flow = Flow {
                    address,
                    seats: 0,
                    usage: Usage::default(),
                    backlog: VecDeque::new(),
                    credit: 0,
                    in_line: false,
                };
                let id = place(&mut self.flows, &mut self.free_flows, flow);
                self.of_address.insert(address, id);
                id
            }
        };
        self.flow(flow).seats += 1;
        let seated = Seated {
            flow,
            usage: Usage::default(),
            standing: Standing::Out,
            waits_begun: None,
            control: Some(control),
        };
        place(&mut self.seats, &mut self.free_seats, seated)
    }

    fn flow(&mut self, id: u32) -> &mut Flow {
        let flow = self.flows.get_mut(id as usize);
        flow.expect("an address stays while it has connections")
    }

    fn seat(&mut self, id: u32) -> &mut Seated {
        let seat = self.seats.get_mut(id as usize);
        seat.expect("a seat stays until it is dropped")
    }

    /// When the window was opened.
    pub(super) fn opened(&self) -> Nanos {
        self.opened
    }

    /// Whether the window is full.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.backlog.is_empty() && self.begun.is_empty()
    }

    fn nobody_waits(&self) -> bool {
        self.granted.is_none() && self.is_empty()
    }

    fn turn(&self, granted: Option<Grant>, at: Nanos) -> Turn {
        let begins_for = match granted {
            _ if self.is_empty() => TURN_MAX,
            Some(Grant::Begin { fresh: false }) => TURN_QUANTUM,
            _ => FRESH_TURN_MAX,
        };
        Turn {
            begins: granted != Some(Grant::CarryOn),
            granted,
            began: at,
            lost: 0,
            begins_for: nanos(begins_for),
            lasts: nanos(TURN_MAX),
        }
    }

    /// The turn of one that need not wait, or has waited.
    pub(super) fn at_once(&mut self, id: u32, at: Nanos) -> Option<Turn> {
        if let Some((granted, grant)) = self.granted
            && granted == id
        {
            if grant != Grant::CarryOn {
                self.leave_begun(id);
            }
            return Some(self.turn(Some(grant), at));
        }
        let nobody_waits = self.nobody_waits();
        let old = at.saturating_sub(self.opened) >= nanos(WINDOW_STALE);
        if nobody_waits && old && !self.closing {
            self.open(at);
        }
        if self.seat(id).standing != Standing::Out {
            return None;
        }
        let goes = match nobody_waits && self.used < nanos(WINDOW_MAX) {
            true => true,
            false => {
                self.used < nanos(WINDOW_FRESH_MAX)
                    && self.fresh.is_empty()
                    && self.place_among_fresh(id, at).is_some()
            }
        };
        goes.then(|| {
            self.leave_begun(id);
            self.turn(None, at)
        })
    }

    /// Where it would stand: behind those that came before, but further the more its address, and
    /// itself, have used of late.
    fn place(&mut self, id: u32, at: Nanos) -> Nanos {
        let Seated { flow, usage, .. } = self.seat(id);
        let (flow, of_seat) = (*flow, usage.now(at));
        let of_flow = self.flow(flow).usage.now(at);
        let waits = of_flow
            .saturating_mul(USAGE_WAIT_FACTOR)
            .saturating_add(of_seat);
        at.saturating_add(waits)
    }

    /// `None` for one that has used too much.
    fn place_among_fresh(&mut self, id: u32, at: Nanos) -> Option<Nanos> {
        let used = self.seat(id).usage.now(at);
        (used < nanos(FRESH_USAGE_MAX)).then(|| self.place(id, at))
    }

    /// Stands in line to begin something; whether it did not already.
    pub(super) fn wait(&mut self, id: u32, at: Nanos) -> bool {
        if self.seat(id).standing != Standing::Out {
            return false;
        }
        match self.place_among_fresh(id, at) {
            Some(place) => {
                self.fresh.insert((place, id));
                self.seat(id).standing = Standing::Fresh(place);
            }
            None => self.wait_in_backlog(id),
        }
        true
    }

    fn wait_in_backlog(&mut self, id: u32) {
        self.seat(id).standing = Standing::Backlog;
        let of = self.seat(id).flow;
        self.flow(of).backlog.push_back(id);
        self.line_up(of);
    }

    /// Puts an address in line that has a backlog: first, if it has not used up its visit.
    fn line_up(&mut self, of: u32) {
        let flow = self.flow(of);
        if flow.backlog.is_empty() || std::mem::replace(&mut flow.in_line, true) {
            return;
        }
        match flow.credit > 0 {
            true => self.backlog.push_front(of),
            false => self.backlog.push_back(of),
        }
    }

    /// A turn to carry on what has begun, at once if there is room.
    pub(super) fn carry_on(&mut self, id: u32, at: Nanos) -> Option<Turn> {
        if self.used < nanos(WINDOW_FRESH_MAX) && self.begun.is_empty() {
            let turn = self.turn(Some(Grant::CarryOn), at);
            return Some(Turn {
                granted: None,
                ..turn
            });
        }
        self.wait_begun(id, at);
        None
    }

    fn wait_begun(&mut self, id: u32, at: Nanos) {
        if self.seat(id).waits_begun.is_some() {
            return;
        }
        let place = (self.place(id, at), self.next_begun);
        self.next_begun += 1;
        self.begun.insert(place, id);
        self.seat(id).waits_begun = Some(place);
    }

    /// It carries on in a turn of another kind, or goes.
    fn leave_begun(&mut self, id: u32) {
        if let Some(place) = self.seat(id).waits_begun.take() {
            self.begun.remove(&place);
        }
    }

    /// A turn has cost so much. Whether others go before this one's next.
    pub(super) fn end(&mut self, id: u32, turn: Turn, cost: Cost, left: Left, at: Nanos) -> bool {
        let alone = self.is_empty();
        self.used = self.used.saturating_add(cost.took);
        let cost = cost.worked;
        self.seat(id).usage.add(cost, at);
        let of = self.seat(id).flow;
        let flow = self.flow(of);
        flow.usage.add(cost, at);
        match turn.granted {
            Some(Grant::Begin { fresh: false }) => {
                flow.credit -= i64::try_from(cost).unwrap_or(i64::MAX);
                self.fresh_run = 0;
            }
            _ => self.fresh_run = self.fresh_run.saturating_add(cost),
        }
        if turn.granted.is_some() {
            self.granted = None;
        }
        if left.to_begin && self.seat(id).standing == Standing::Out {
            self.wait_in_backlog(id);
        }
        self.line_up(of);
        if left.to_carry_on {
            self.wait_begun(id, at);
        }
        if alone && (left.to_begin || left.to_carry_on) {
            // Nobody else is held up by a look at the sockets and files before it goes on.
            self.used = self.used.max(nanos(WINDOW_MAX));
        }
        self.closing |= self.used >= nanos(WINDOW_MAX);
        left.to_begin && !alone
    }

    /// The shard has looked at its sockets and files.
    pub(super) fn open(&mut self, at: Nanos) {
        self.used = 0;
        self.opened = at;
        self.closing = false;
    }

    /// Tells the next one to go, if nobody has been told and the window has room.
    pub(super) fn grant(&mut self) -> Option<Rc<Control>> {
        if self.granted.is_some() || self.is_empty() {
            return None;
        }
        if self.used >= nanos(WINDOW_MAX) {
            self.closing = true;
            return None;
        }
        let (id, grant) = self.pick()?;
        self.granted = Some((id, grant));
        self.seat(id).control.clone()
    }

    fn pick(&mut self) -> Option<(u32, Grant)> {
        let others = !self.fresh.is_empty() || !self.backlog.is_empty();
        // In turns with the others.
        let turn_of_others = self.begun_last && others;
        self.begun_last = !turn_of_others && !self.begun.is_empty();
        if self.begun_last {
            let (_, id) = self.begun.pop_first()?;
            self.seat(id).waits_begun = None;
            return Some((id, Grant::CarryOn));
        }
        let fresh_first = self.backlog.is_empty() || self.fresh_run < nanos(FRESH_RUN_MAX);
        let (id, fresh) = match self.fresh.first().copied() {
            Some((place, id)) if fresh_first => {
                self.fresh.remove(&(place, id));
                (id, true)
            }
            _ => (self.pick_backlog()?, false),
        };
        self.seat(id).standing = Standing::Out;
        self.leave_begun(id);
        Some((id, Grant::Begin { fresh }))
    }

    /// Deficit round robin: a visit brings an address a quantum of credit, and it stays first until
    /// that is used. One that owes for a long request waits for more visits; they take no longer
    /// than the request did, as each stands for a quantum of it.
    fn pick_backlog(&mut self) -> Option<u32> {
        loop {
            let of = self.backlog.pop_front()?;
            let flow = self.flow(of);
            if flow.credit <= 0 {
                flow.credit += i64::try_from(nanos(TURN_QUANTUM)).unwrap_or(i64::MAX);
            }
            if flow.credit > 0 {
                flow.in_line = false;
                return flow.backlog.pop_front();
            }
            self.backlog.push_back(of);
        }
    }

    pub(super) fn leave(&mut self, id: u32) {
        let Seated { flow, standing, .. } = *self.seat(id);
        match standing {
            Standing::Out => {}
            Standing::Fresh(place) => drop(self.fresh.remove(&(place, id))),
            Standing::Backlog => {
                self.flow(flow).backlog.retain(|other| *other != id);
                if self.flow(flow).backlog.is_empty() {
                    self.flow(flow).in_line = false;
                    self.backlog.retain(|other| *other != flow);
                }
            }
        }
        self.leave_begun(id);
        if self.granted.is_some_and(|(granted, _)| granted == id) {
            self.granted = None;
            self.line_up(flow);
        }
        let of = self.flow(flow);
        of.seats -= 1;
        let (seats, address) = (of.seats, of.address);
        if seats == 0 {
            self.of_address.remove(&address);
            self.free_flows.push(flow);
        }
        self.seat(id).standing = Standing::Out;
        self.seat(id).control = None;
        self.free_seats.push(id);
    }
}

#[cfg(test)]
impl State {
    /// What must hold between any two calls.
    pub(super) fn check_invariants(&self) {
        let mut backlogs = 0;
        for (id, seat) in (0..).zip(&self.seats) {
            if let Standing::Fresh(place) = seat.standing {
                assert!(self.fresh.contains(&(place, id)));
            }
            backlogs += usize::from(seat.standing == Standing::Backlog);
            if let Some(place) = seat.waits_begun {
                assert_eq!(self.begun.get(&place), Some(&id));
            }
        }
        let begun = self.seats.iter().filter(|seat| seat.waits_begun.is_some());
        assert_eq!(begun.count(), self.begun.len());
        let fresh = self.seats.iter();
        let fresh = fresh.filter(|seat| matches!(seat.standing, Standing::Fresh(_)));
        assert_eq!(fresh.count(), self.fresh.len());
        let waiting: usize = self.flows.iter().map(|flow| flow.backlog.len()).sum();
        assert_eq!(waiting, backlogs);
        for (id, flow) in (0..).zip(&self.flows) {
            let times = self.backlog.iter().filter(|other| **other == id).count();
            assert_eq!(times, usize::from(flow.in_line));
            let granted = self.granted.and_then(|(id, _)| self.seats.get(id as usize));
            let has_turn = granted.is_some_and(|seat| seat.flow == id);
            assert!(flow.in_line || has_turn || flow.backlog.is_empty());
            assert!(!flow.in_line || !flow.backlog.is_empty());
        }
        assert!(
            self.is_empty() || self.granted.is_some() || self.closing,
            "somebody waits and nobody is told to go"
        );
    }

    /// Whether nothing is left of anybody.
    pub(super) fn is_deserted(&self) -> bool {
        self.nobody_waits()
            && self.of_address.is_empty()
            && self.free_flows.len() == self.flows.len()
            && self.free_seats.len() == self.seats.len()
    }
}

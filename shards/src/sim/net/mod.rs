//! The simulated network: connections as TCP shows them, without packets.
//!
//! What an end writes travels in segments, in order, each with a delay; it waits in the peer's
//! bounded inbox until it is read. A direction holds at most `BUFFERED_BYTES_MAX` on its way and
//! in the inbox: then its writer waits. Segments of a split direction wait for its healing.
//! Invariant: the bytes of a direction arrive in order, at most once, and none is made up.

mod end;
mod listen;
mod split;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use rustix::io::Errno;

pub use self::split::{Network, Party};

use self::end::{End, Segment};
use self::listen::Listening;
use super::disk::error;
use super::rng::Rng;
use super::world::{CLIENTS, Event, ProcessId, World};

/// What one direction of a connection holds before its writer waits.
const BUFFERED_BYTES_MAX: usize = 256 * 1024;

/// A connection's number.
pub(crate) type ConnId = u64;

/// Which end of a connection: 0 connected, 1 was accepted.
pub(crate) type Side = usize;

#[derive(Clone, Copy, Debug)]
pub(crate) enum NetEvent {
    /// The first segment of what this side has sent arrives.
    Deliver { conn: ConnId, from: Side },
    /// A connection's opening arrives at the address it asks for.
    Open { conn: ConnId },
    /// The answer to it arrives: connected, or refused.
    Answer { conn: ConnId, refused: bool },
    /// No answer came.
    OpenTimeout { conn: ConnId },
    /// A machine that lost its power is found to have forgotten the connection.
    Forgotten { conn: ConnId, gone: Side },
}

#[derive(Debug)]
struct Conn {
    ends: [End; 2],
    opening: Opening,
    /// The event that ends an opening without an answer.
    timeout: (u64, u64),
}

/// How far the connecting end has come.
#[derive(Debug)]
enum Opening {
    Waiting(Option<Waker>),
    Open,
    Failed(Errno),
}

#[derive(Debug)]
pub(crate) struct Net {
    conns: BTreeMap<ConnId, Conn>,
    listeners: BTreeMap<u64, Listening>,
    next_conn: ConnId,
    next_listener: u64,
    next_port: u16,
    /// Directions in which nothing arrives.
    splits: BTreeSet<(Party, Party)>,
    /// Openings that wait for a split to heal.
    held_openings: Vec<ConnId>,
    delay_us: std::ops::Range<u64>,
    client_ip: IpAddr,
}

impl Default for Net {
    fn default() -> Net {
        Net {
            conns: BTreeMap::new(),
            listeners: BTreeMap::new(),
            next_conn: 0,
            next_listener: 0,
            next_port: 49152,
            splits: BTreeSet::new(),
            held_openings: Vec::new(),
            delay_us: 10..150,
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
    }
}

fn party(process: ProcessId) -> Party {
    if process == CLIENTS {
        Party::Clients
    } else {
        Party::Process(super::simulation::Process(process))
    }
}

impl Net {
    fn is_split(&self, from: ProcessId, to: ProcessId) -> bool {
        self.splits.contains(&(party(from), party(to)))
    }

    fn delay(&self, rng: &mut Rng) -> Duration {
        let tail_us = if rng.chance(10) {
            rng.range(500..20_000)
        } else {
            0
        };
        Duration::from_micros(rng.range(self.delay_us.clone()) + tail_us)
    }

    /// A connection both of whose ends are closed is forgotten; its last events find nothing.
    fn forget_if_closed(&mut self, conn: ConnId) {
        if self
            .conns
            .get(&conn)
            .is_some_and(|conn| conn.ends.iter().all(|end| end.closed))
        {
            self.conns.remove(&conn);
        }
    }
}

impl World {
    pub(crate) fn net_happens(&mut self, event: NetEvent) {
        let now = self.now();
        match event {
            NetEvent::Deliver { conn, from } => {
                self.trace.step(7, now, conn * 2 + from as u64);
                self.net_deliver(conn, from);
            }
            NetEvent::Open { conn } => {
                self.trace.step(8, now, conn);
                self.net_opening_arrives(conn);
            }
            NetEvent::Answer { conn, refused } => {
                self.trace.step(9, now, conn);
                let errno = refused.then_some(Errno::CONNREFUSED);
                self.net_opening_ends(conn, errno);
            }
            NetEvent::OpenTimeout { conn } => {
                self.net_opening_ends(conn, Some(Errno::TIMEDOUT));
            }
            NetEvent::Forgotten { conn, gone } => {
                self.trace.step(10, now, conn);
                self.net_send(conn, gone, Segment::Reset);
            }
        }
    }

    /// Puts a segment on its way behind those before it.
    fn net_send(&mut self, conn: ConnId, from: Side, segment: Segment) {
        let delay = self.net.delay(&mut self.rng.net);
        let now = self.now();
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return;
        };
        let end = &mut state.ends[from];
        let at = end.push_out(
            segment,
            now + u64::try_from(delay.as_nanos()).expect("short"),
        );
        self.at(at, Event::Net(NetEvent::Deliver { conn, from }));
    }

    fn net_deliver(&mut self, conn: ConnId, from: Side) {
        let to = 1 - from;
        let Some(state) = self.net.conns.get(&conn) else {
            return;
        };
        let is_split = self
            .net
            .is_split(state.ends[from].process, state.ends[to].process);
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return;
        };
        if is_split {
            state.ends[from].held += 1;
            return;
        }
        let Some(segment) = state.ends[from].pop_out() else {
            return;
        };
        if let Segment::Data(bytes) = &segment {
            self.trace.bytes(bytes);
        }
        let keeps_unread = self.rng.net.coin();
        let receiver = &mut state.ends[to];
        let must_reset = receiver.receive(segment, keeps_unread);
        let mut wakers: Vec<Waker> = receiver.take_wakers();
        if must_reset {
            // What arrived had nowhere to go: that frees the writer's window too.
            wakers.extend(state.ends[from].write_waker.take());
        }
        for waker in wakers {
            self.wake(waker);
        }
        if must_reset {
            self.net_send(conn, to, Segment::Reset);
        }
    }

    /// Whether the process at this end still runs: what is left of an ended one does nothing.
    fn net_end_is_live(&self, conn: ConnId, side: Side) -> bool {
        let state = self.net.conns.get(&conn);
        state.is_some_and(|state| self.is_alive(state.ends[side].process))
    }

    /// Reads into `buf`: at times less than there is.
    pub(crate) fn net_read(
        &mut self,
        conn: ConnId,
        side: Side,
        waker: &Waker,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !self.net_end_is_live(conn, side) {
            return Poll::Pending;
        }
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return Poll::Pending;
        };
        let end = &mut state.ends[side];
        let available = end.inbox_bytes.min(buf.len());
        if available > 0 && !end.shut {
            let wanted = match self.rng.net.range(0..4) {
                0 => self.rng.net.index(available) + 1,
                _ => available,
            };
            end.read(&mut buf[..wanted]);
            let peer_waits = state.ends[1 - side].write_waker.take();
            if let Some(waker) = peer_waits {
                self.wake(waker);
            }
            return Poll::Ready(Ok(wanted));
        }
        if end.shut || end.fin_received || buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if end.reset {
            return Poll::Ready(Err(error(Errno::CONNRESET)));
        }
        end.read_waker = Some(waker.clone());
        Poll::Pending
    }

    /// Takes as much of `bytes` as there is room for, and says how much.
    pub(crate) fn net_write(
        &mut self,
        conn: ConnId,
        side: Side,
        waker: &Waker,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.net_end_is_live(conn, side) {
            return Poll::Pending;
        }
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return Poll::Pending;
        };
        let buffered = state.ends[side].out_bytes + state.ends[1 - side].inbox_bytes;
        let end = &mut state.ends[side];
        if end.reset {
            return Poll::Ready(Err(error(Errno::CONNRESET)));
        }
        if end.shut {
            return Poll::Ready(Err(error(Errno::PIPE)));
        }
        let room = BUFFERED_BYTES_MAX.saturating_sub(buffered).min(bytes.len());
        if room == 0 {
            end.write_waker = Some(waker.clone());
            return Poll::Pending;
        }
        let largest = match self.rng.net.range(0..8) {
            0 => 64,
            1 | 2 => 4096,
            _ => 65536,
        };
        let taken = match self.rng.net.range(0..3) {
            0 => self.rng.net.index(room.min(largest)) + 1,
            _ => room.min(largest),
        };
        let data = Bytes::copy_from_slice(&bytes[..taken]);
        self.net_send(conn, side, Segment::Data(data));
        Poll::Ready(Ok(taken))
    }

    /// What this side has sent and the other's program has not read.
    pub(crate) fn net_unread(&self, conn: ConnId, side: Side) -> usize {
        self.net.conns.get(&conn).map_or(0, |state| {
            state.ends[side].out_bytes + state.ends[1 - side].inbox_bytes
        })
    }

    /// Both directions end here: what has been sent still arrives.
    pub(crate) fn net_shutdown(&mut self, conn: ConnId, side: Side) {
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return;
        };
        let end = &mut state.ends[side];
        if std::mem::replace(&mut end.shut, true) {
            return;
        }
        let was_reset = end.reset;
        for waker in end.take_wakers() {
            self.wake(waker);
        }
        if !was_reset {
            self.net_send(conn, side, Segment::Fin);
        }
    }

    /// The end is gone for its program. As the kernel does, unread bytes make it a reset.
    pub(crate) fn net_close(&mut self, conn: ConnId, side: Side) {
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return;
        };
        let end = &mut state.ends[side];
        if std::mem::replace(&mut end.closed, true) {
            return;
        }
        drop(end.take_wakers());
        let last = match (end.reset, end.inbox_bytes > 0, end.shut) {
            (true, ..) | (_, false, true) => None,
            (_, true, _) => Some(Segment::Reset),
            (_, false, false) => Some(Segment::Fin),
        };
        if let Some(segment) = last {
            self.net_send(conn, side, segment);
        }
        self.net.forget_if_closed(conn);
    }

    pub(crate) fn net_addr(&self, conn: ConnId, side: Side) -> io::Result<SocketAddr> {
        let state = self
            .net
            .conns
            .get(&conn)
            .ok_or_else(|| error(Errno::NOTCONN))?;
        Ok(state.ends[side].addr)
    }

    /// The kernel closes what a killed process leaves; a machine without power leaves its peers
    /// in the dark for some seconds.
    pub(crate) fn net_process_ends(&mut self, process: ProcessId, power_fails: bool) {
        let listeners = self
            .net
            .listeners
            .iter()
            .filter(|(_, l)| l.process == process);
        let listeners: Vec<u64> = listeners.map(|(id, _)| *id).collect();
        for id in listeners {
            if power_fails {
                self.net.listeners.remove(&id);
            } else {
                self.net_unlisten(id);
            }
        }
        let mut mine = Vec::new();
        for (id, conn) in &self.net.conns {
            let sides = (0..2).filter(|side| conn.ends[*side].process == process);
            mine.extend(sides.map(|side| (*id, side)));
        }
        for (conn, side) in mine {
            if power_fails {
                self.net_loses_power(conn, side);
            } else {
                self.net_close(conn, side);
            }
        }
    }

    fn net_loses_power(&mut self, conn: ConnId, side: Side) {
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return;
        };
        let end = &mut state.ends[side];
        end.closed = true;
        end.without_power = true;
        drop(end.take_wakers());
        end.lose_some_out(&mut self.rng.net);
        let found_out = Duration::from_millis(self.rng.net.range(1_000..10_000));
        self.after(
            found_out,
            Event::Net(NetEvent::Forgotten { conn, gone: side }),
        );
        self.net.forget_if_closed(conn);
    }
}

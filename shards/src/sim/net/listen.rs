//! Listening sockets, and the opening of connections.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Poll, Waker};
use std::time::Duration;

use rustix::io::Errno;

use super::end::{End, Segment};
use super::{Conn, ConnId, Net, NetEvent, Opening};
use crate::sim::disk::error;
use crate::sim::world::{CLIENTS, Event, ProcessId, World};

/// Connections that wait to be accepted. One more asks again later, as TCP does.
const BACKLOG_MAX: usize = 128;
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// When a connection that gets no answer fails.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Listening {
    pub(super) process: ProcessId,
    addr: SocketAddr,
    backlog: VecDeque<ConnId>,
    waker: Option<Waker>,
}

impl Net {
    fn next_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(49152);
        port
    }

    fn conflicts(&self, addr: SocketAddr) -> bool {
        self.listeners.values().any(|listening| {
            let either_any = listening.addr.ip().is_unspecified() || addr.ip().is_unspecified();
            listening.addr.port() == addr.port() && (either_any || listening.addr.ip() == addr.ip())
        })
    }

    fn listener_at(&mut self, addr: SocketAddr) -> Option<&mut Listening> {
        self.listeners.values_mut().find(|listening| {
            listening.addr == addr
                || (listening.addr.port() == addr.port() && listening.addr.ip().is_unspecified())
        })
    }

    /// Where a connection of this process comes from.
    fn source_ip(&self, process: ProcessId, to: SocketAddr) -> IpAddr {
        if process == CLIENTS {
            self.client_ip
        } else {
            to.ip()
        }
    }
}

impl World {
    pub(crate) fn net_listen(&mut self, process: ProcessId, addr: SocketAddr) -> io::Result<u64> {
        let mut addr = addr;
        while addr.port() == 0 || self.net.conflicts(addr) {
            if addr.port() != 0 {
                return Err(error(Errno::ADDRINUSE));
            }
            let with_port = SocketAddr::new(addr.ip(), self.net.next_port());
            if !self.net.conflicts(with_port) {
                addr = with_port;
            }
        }
        let id = self.net.next_listener;
        self.net.next_listener += 1;
        let listening = Listening {
            process,
            addr,
            backlog: VecDeque::new(),
            waker: None,
        };
        self.net.listeners.insert(id, listening);
        Ok(id)
    }

    pub(crate) fn net_listens_at(&self, id: u64) -> io::Result<SocketAddr> {
        let listening = self
            .net
            .listeners
            .get(&id)
            .ok_or_else(|| error(Errno::BADF))?;
        Ok(listening.addr)
    }

    /// Stops listening. Whoever waits to be accepted is reset.
    pub(crate) fn net_unlisten(&mut self, id: u64) {
        let Some(listening) = self.net.listeners.remove(&id) else {
            return;
        };
        for conn in listening.backlog {
            self.net_send(conn, 1, Segment::Reset);
            if let Some(state) = self.net.conns.get_mut(&conn) {
                state.ends[1].closed = true;
            }
            self.net.forget_if_closed(conn);
        }
    }

    pub(crate) fn net_accept(&mut self, id: u64, waker: &Waker) -> Poll<io::Result<ConnId>> {
        let Some(listening) = self.net.listeners.get_mut(&id) else {
            return Poll::Pending;
        };
        match listening.backlog.pop_front() {
            Some(conn) => Poll::Ready(Ok(conn)),
            None => {
                listening.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// Begins to open a connection.
    pub(crate) fn net_connect(&mut self, process: ProcessId, to: SocketAddr) -> ConnId {
        let id = self.net.next_conn;
        self.net.next_conn += 1;
        let from = SocketAddr::new(self.net.source_ip(process, to), self.net.next_port());
        // Whose the other end is shows when it is accepted.
        let ends = [End::new(process, from), End::new(ProcessId::MAX, to)];
        let delay = self.net.delay(&mut self.rng.net);
        self.after(delay, Event::Net(NetEvent::Open { conn: id }));
        let timeout = self.after(OPEN_TIMEOUT, Event::Net(NetEvent::OpenTimeout { conn: id }));
        self.net.conns.insert(
            id,
            Conn {
                ends,
                opening: Opening::Waiting(None),
                timeout,
            },
        );
        id
    }

    pub(super) fn net_opening_arrives(&mut self, conn: ConnId) {
        let Some(state) = self.net.conns.get(&conn) else {
            return;
        };
        if !matches!(state.opening, Opening::Waiting(_)) {
            return;
        }
        let (from, to) = (state.ends[0].process, state.ends[1].addr);
        let delay = self.net.delay(&mut self.rng.net);
        let Some(listening) = self.net.listener_at(to) else {
            self.after(
                delay,
                Event::Net(NetEvent::Answer {
                    conn,
                    refused: true,
                }),
            );
            return;
        };
        let process = listening.process;
        if self.net.is_split(from, process) || self.net.is_split(process, from) {
            self.net.held_openings.push(conn);
            return;
        }
        let listening = self.net.listener_at(to).expect("found above");
        if listening.backlog.len() >= BACKLOG_MAX {
            self.after(ASK_AGAIN, Event::Net(NetEvent::Open { conn }));
            return;
        }
        listening.backlog.push_back(conn);
        let waker = listening.waker.take();
        self.net.conns.get_mut(&conn).expect("found above").ends[1].process = process;
        if let Some(waker) = waker {
            self.wake(waker);
        }
        self.after(
            delay,
            Event::Net(NetEvent::Answer {
                conn,
                refused: false,
            }),
        );
    }

    pub(super) fn net_opening_ends(&mut self, conn: ConnId, errno: Option<Errno>) {
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return;
        };
        if let Opening::Waiting(waker) = &mut state.opening {
            let waker = waker.take();
            state.opening = errno.map_or(Opening::Open, Opening::Failed);
            let timeout = state.timeout;
            self.cancel(timeout);
            if let Some(waker) = waker {
                self.wake(waker);
            }
        }
    }

    pub(crate) fn net_connected(&mut self, conn: ConnId, waker: &Waker) -> Poll<io::Result<()>> {
        let Some(state) = self.net.conns.get_mut(&conn) else {
            return Poll::Pending;
        };
        match &mut state.opening {
            Opening::Open => Poll::Ready(Ok(())),
            Opening::Failed(errno) => Poll::Ready(Err(error(*errno))),
            Opening::Waiting(slot) => {
                *slot = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// The connecting end gives up, or failed: nobody holds it.
    pub(crate) fn net_connect_dropped(&mut self, conn: ConnId) {
        let Some(state) = self.net.conns.get(&conn) else {
            return;
        };
        let never_arrived = state.ends[1].process == ProcessId::MAX;
        let timeout = state.timeout;
        self.cancel(timeout);
        if never_arrived {
            self.net.conns.remove(&conn);
        } else {
            self.net_close(conn, 0);
        }
    }
}

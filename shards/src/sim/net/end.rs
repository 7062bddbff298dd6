//! One end of a connection: what it has sent that has not arrived, and what has arrived that it
//! has not read.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;

use bytes::{Buf, Bytes};

use crate::sim::rng::Rng;
use crate::sim::world::ProcessId;

#[derive(Clone, Debug)]
pub(super) enum Segment {
    Data(Bytes),
    Fin,
    Reset,
}

impl Segment {
    fn bytes(&self) -> usize {
        match self {
            Segment::Data(bytes) => bytes.len(),
            Segment::Fin | Segment::Reset => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) process: ProcessId,
    pub(super) addr: SocketAddr,
    out: VecDeque<Segment>,
    pub(super) out_bytes: usize,
    /// When the last segment sent arrives: none after it arrives earlier.
    last_arrival: u64,
    /// Arrivals that were due while the direction was split.
    pub(super) held: u32,
    inbox: VecDeque<Bytes>,
    pub(super) inbox_bytes: usize,
    pub(super) fin_received: bool,
    pub(super) reset: bool,
    /// Its program has ended both directions, and still holds the socket.
    pub(super) shut: bool,
    /// Its program has let go of it.
    pub(super) closed: bool,
    /// Its machine has lost its power: it answers nothing.
    pub(super) without_power: bool,
    pub(super) read_waker: Option<Waker>,
    pub(super) write_waker: Option<Waker>,
}

impl End {
    pub(super) fn new(process: ProcessId, addr: SocketAddr) -> End {
        End {
            process,
            addr,
            out: VecDeque::new(),
            out_bytes: 0,
            last_arrival: 0,
            held: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            fin_received: false,
            reset: false,
            shut: false,
            closed: false,
            without_power: false,
            read_waker: None,
            write_waker: None,
        }
    }

    /// Sends a segment that would arrive at `at`, and says when it does.
    pub(super) fn push_out(&mut self, segment: Segment, at: u64) -> u64 {
        self.out_bytes += segment.bytes();
        self.out.push_back(segment);
        self.last_arrival = self.last_arrival.max(at);
        self.last_arrival
    }

    pub(super) fn pop_out(&mut self) -> Option<Segment> {
        let segment = self.out.pop_front()?;
        self.out_bytes -= segment.bytes();
        Some(segment)
    }

    /// What had not left the machine when its power failed.
    pub(super) fn lose_some_out(&mut self, rng: &mut Rng) {
        let kept = rng.index(self.out.len() + 1);
        self.out.truncate(kept);
        self.out_bytes = self.out.iter().map(Segment::bytes).sum();
    }

    /// Takes what arrives. True if the sender must be told that nobody is there for it.
    pub(super) fn receive(&mut self, segment: Segment, keeps_unread: bool) -> bool {
        match segment {
            Segment::Data(_) if self.without_power || self.reset => false,
            Segment::Data(_) if self.closed => true,
            Segment::Data(_) if self.shut => false,
            Segment::Data(bytes) => {
                self.inbox_bytes += bytes.len();
                self.inbox.push_back(bytes);
                false
            }
            Segment::Fin => {
                self.fin_received = true;
                false
            }
            Segment::Reset => {
                self.reset = true;
                // The end of the stream was seen only if nothing was lost after it.
                self.fin_received = false;
                if !keeps_unread {
                    self.inbox.clear();
                    self.inbox_bytes = 0;
                }
                false
            }
        }
    }

    /// Fills `buf` from the inbox, which holds as much.
    pub(super) fn read(&mut self, buf: &mut [u8]) {
        self.inbox_bytes -= buf.len();
        let mut at = 0;
        while at < buf.len() {
            let first = self
                .inbox
                .front_mut()
                .expect("inbox_bytes counts what is there");
            let part = first.len().min(buf.len() - at);
            first.copy_to_slice(&mut buf[at..at + part]);
            at += part;
            if first.is_empty() {
                self.inbox.pop_front();
            }
        }
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.read_waker
            .take()
            .into_iter()
            .chain(self.write_waker.take())
            .collect()
    }
}

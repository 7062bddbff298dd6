//! The order of requests and replies on one connection.
//!
//! Owns what has begun and is not yet answered. It must not know sockets or APIs: requests come
//! in as futures of their replies, replies go out in the order in which requests came in.
//!
//! Only the oldest future is ever polled: a younger one cannot leave before it, and whatever it
//! waits for happens without its being polled.
//!
//! Invariants: `begun` counts every request from [`InFlight::push`] to [`InFlight::answered`];
//! at most [`IN_FLIGHT_COUNT_MAX`] requests and [`IN_FLIGHT_BYTES_MAX`] bytes (or one larger
//! request) are in flight.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::future::LocalBoxFuture;
use tailwater_broker::fetch::HeldReply;
use tailwater_wire::Encoded;

use crate::limits::{IN_FLIGHT_BYTES_MAX, IN_FLIGHT_COUNT_MAX, REPLIES_PER_WRITE_MAX};
use crate::request_memory::Charge;
use crate::stages::Stages;

/// What leaves the connection for one request.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The answer as it goes to the socket; `None` for a request that has none.
    pub(crate) answer: Option<Encoded>,
    /// The memory that the answer holds until it has left.
    pub(crate) held: Option<HeldReply>,
    /// Whether the connection ends once this has left: the only way to tell an `acks=0`
    /// producer of an error.
    pub(crate) then_close: bool,
    pub(crate) stages: Stages,
}

/// A request that has begun: its reply, or what waits for it.
#[allow(
    clippy::large_enum_variant,
    reason = "few are in flight, and a box for each reply would cost more than the room"
)]
pub(crate) enum Begun {
    /// Answered already.
    Ready(Reply),
    /// Waits to be durable.
    Waiting(LocalBoxFuture<'static, Reply>),
}

struct Entry {
    begun: Begun,
    bytes: usize,
    /// Keeps the frame's memory charged until its reply is taken.
    _charge: Charge,
}

/// Requests in flight on one connection.
#[derive(Default)]
pub(crate) struct InFlight {
    waiting: VecDeque<Entry>,
    /// Those whose replies have been taken and are being written.
    writing: usize,
    writing_bytes: usize,
    bytes: usize,
}

impl InFlight {
    /// Whether a request of `frame_bytes` may begin: one that overlaps others when there is
    /// room, any other when all before it are answered.
    pub(crate) fn admits(&self, overlaps: bool, frame_bytes: usize) -> bool {
        self.is_empty() || (overlaps && !self.is_full_for(frame_bytes))
    }

    /// Whether there is no room beside what is in flight.
    pub(crate) fn is_full_for(&self, frame_bytes: usize) -> bool {
        !self.is_empty()
            && (self.count() >= IN_FLIGHT_COUNT_MAX
                || self.bytes.saturating_add(frame_bytes) > IN_FLIGHT_BYTES_MAX)
    }

    /// Requests begun and not yet answered.
    pub(crate) fn count(&self) -> usize {
        self.waiting.len() + self.writing
    }

    /// Whether everything that came has been answered.
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Takes in a request that has begun.
    pub(crate) fn push(&mut self, begun: Begun, frame_bytes: usize, charge: Charge) {
        self.bytes += frame_bytes;
        self.waiting.push_back(Entry {
            begun,
            bytes: frame_bytes,
            _charge: charge,
        });
        self.check_invariants();
    }

    /// Moves the replies that are ready, oldest first, to `out`; pending when the oldest is not.
    /// What was moved counts as in flight until [`InFlight::answered`].
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>, out: &mut Vec<Reply>) -> Poll<()> {
        assert_eq!(
            self.writing, 0,
            "the replies taken before have not been written"
        );
        while out.len() < REPLIES_PER_WRITE_MAX {
            let Some(oldest) = self.waiting.front_mut() else {
                break;
            };
            if let Begun::Waiting(future) = &mut oldest.begun {
                match future.as_mut().poll(cx) {
                    Poll::Ready(reply) => oldest.begun = Begun::Ready(reply),
                    Poll::Pending => break,
                }
            }
            let Some(Entry {
                begun: Begun::Ready(reply),
                bytes,
                ..
            }) = self.waiting.pop_front()
            else {
                unreachable!("the oldest has just been found ready");
            };
            self.writing += 1;
            self.writing_bytes += bytes;
            out.push(reply);
        }
        if out.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// What was taken has left.
    pub(crate) fn answered(&mut self) {
        self.bytes -= self.writing_bytes;
        self.writing = 0;
        self.writing_bytes = 0;
        self.check_invariants();
    }

    /// What must hold between any two calls.
    pub(crate) fn check_invariants(&self) {
        assert!(
            self.count() <= IN_FLIGHT_COUNT_MAX,
            "more in flight than is admitted"
        );
        debug_assert_eq!(
            self.bytes,
            self.writing_bytes + self.waiting.iter().map(|entry| entry.bytes).sum::<usize>()
        );
        assert!(self.bytes <= IN_FLIGHT_BYTES_MAX || self.count() == 1);
    }
}

#[cfg(test)]
#[path = "in_flight_tests.rs"]
mod tests;

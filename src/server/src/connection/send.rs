//! Replies to the socket: vectored, not copied as long as nobody needs the memory around them,
//! and bounded in time.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tailwater_shards::{Counter, Stream, count, timeout};

use super::in_flight::Reply;
use super::{Control, Holding};
use crate::limits::{SEND_STEP_BYTES, SEND_STEP_MAX};
use crate::slow_readers::{Entered, SlowReaders};

/// Slices that one write takes at most.
const SLICES_MAX: usize = 256;

/// Why replies could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the peer took less than {SEND_STEP_BYTES} bytes in {SEND_STEP_MAX:?}")]
    TooSlow,
    #[error("writing failed: {0}")]
    Io(#[from] io::Error),
}

/// Where a connection's replies go.
pub(crate) struct Outlet<'a> {
    pub(crate) stream: &'a Rc<Stream>,
    pub(crate) control: &'a Rc<Control>,
    pub(crate) slow: &'a Rc<SlowReaders>,
}

/// Sends `replies` in order. What they held is held no more when this returns, whatever it
/// returns; while the peer does not take them they can be told to copy it.
pub(crate) async fn send(outlet: Outlet<'_>, replies: &mut [Reply]) -> Result<(), SendError> {
    let pieces = replies
        .iter_mut()
        .filter_map(|reply| reply.answer.take())
        .flat_map(|answer| answer.pieces)
        .filter(|piece| !piece.is_empty());
    let mut unsent = Unsent {
        pieces: pieces.collect(),
        sent: 0,
        step_bytes: 0,
        copied: false,
        entered: None,
    };
    let _waits = Waits(&outlet.control.holding);
    while !unsent.is_empty() {
        unsent.step_bytes = 0;
        let step = poll_fn(|cx| unsent.poll_step(cx, &outlet, replies));
        match timeout(SEND_STEP_MAX, step).await {
            Ok(sent) => sent?,
            Err(_) => {
                count(Counter::ClosedSlowReader);
                return Err(SendError::TooSlow);
            }
        }
    }
    Ok(())
}

/// The peer is waited for while this is there and the socket is full.
struct Waits<'a>(&'a Holding);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.writing.end();
    }
}

/// What has not been given to the socket.
struct Unsent {
    pieces: Vec<Bytes>,
    /// Pieces that have gone.
    sent: usize,
    /// Bytes that have gone in this step.
    step_bytes: usize,
    /// What is left lies in memory of its own size.
    copied: bool,
    /// Once the socket was full while reply memory was held.
    entered: Option<Entered>,
}

impl Unsent {
    fn is_empty(&self) -> bool {
        self.sent == self.pieces.len()
    }

    /// Ready when a step has left, or all.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        outlet: &Outlet<'_>,
        replies: &mut [Reply],
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() && self.step_bytes < SEND_STEP_BYTES {
            let end = self.pieces.len().min(self.sent + SLICES_MAX);
            let next = self.pieces.get(self.sent..end).unwrap_or_default();
            match outlet.stream.poll_write_vectored(cx, next) {
                Poll::Ready(Ok(count)) => {
                    self.step_bytes += count;
                    outlet.control.holding.writing.passed(count);
                    self.advance(count);
                    if let Some(entered) = &self.entered {
                        entered.stalled.given(count, held(replies));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.stall(outlet, replies);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let piece = self.pieces.get_mut(self.sent);
            let piece = piece.expect("no more was sent than there was");
            let taken = count.min(piece.len());
            piece.advance(taken);
            count -= taken;
            if piece.is_empty() {
                // Its memory is free, or another piece's.
                *piece = Bytes::new();
                self.sent += 1;
            }
        }
    }

    /// The socket is full: enters the shard's list, and copies when told to.
    fn stall(&mut self, outlet: &Outlet<'_>, replies: &mut [Reply]) {
        outlet.control.holding.writing.begin();
        let holds = held(replies);
        if holds == 0 {
            return;
        }
        let entered = self
            .entered
            .get_or_insert_with(|| outlet.slow.enter(outlet.control, outlet.stream, holds));
        if self.copied || !entered.stalled.is_to_copy() {
            return;
        }
        self.copied = true;
        let mut bytes = 0;
        for piece in self.pieces.iter_mut().skip(self.sent) {
            *piece = Bytes::copy_from_slice(piece);
            bytes += piece.len() as u64;
        }
        // A fetch is never in flight with others: one reply at most holds anything.
        for held in replies.iter_mut().filter_map(|reply| reply.held.as_mut()) {
            held.shrink_to(bytes);
        }
        entered.stalled.given(0, held(replies));
    }
}

/// Reply memory that these hold.
fn held(replies: &[Reply]) -> u64 {
    let held = replies.iter().filter_map(|reply| reply.held.as_ref());
    held.map(tailwater_broker::fetch::HeldReply::bytes).sum()
}

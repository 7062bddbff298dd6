//! Frames out of a byte stream, charged to the shard's request memory.
//!
//! Owns the bytes between two frames. It must not know what a frame holds.
//!
//! A frame is charged whole: a small one once it is there, a larger one when its first
//! [`SMALL_FRAME_BYTES_MAX`] are; what is read ahead of frames is charged too, but for
//! [`READ_STEP_UNCHARGED_BYTES`], or as long as its connection waits for memory. That much a connection
//! holds uncharged, and no more. Invariants: no frame leaves and no buffer grows past that before
//! it is charged; a frame's buffer is never larger than the first step or [`FRAME_GROWTH_FACTOR`]
//! times what has arrived of it, so an announced length takes no memory by itself.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tailwater_shards::{Counter, Stream, count, now};
use tailwater_wire::WireError;
use tailwater_wire::frame::{LENGTH_BYTES, parse_length};

use super::Control;
use crate::limits::{
    FRAME_FIRST_STEP_BYTES, FRAME_GROWTH_FACTOR, READ_STEP_BYTES, READ_STEP_UNCHARGED_BYTES,
    SMALL_FRAME_BYTES_MAX,
};
use crate::request_memory::{Charge, RequestMemory};
use crate::stages::Stages;

/// Where bytes come from. A socket; with TLS, what unwraps it.
pub(crate) trait ByteSource {
    /// Reads some bytes; zero means that the peer sends no more.
    fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>>;
}

impl ByteSource for Rc<Stream> {
    fn poll_read(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        Stream::poll_read(self, cx, into)
    }
}

/// One buffer of a shard that its sockets are read into, one poll at a time.
pub(crate) type Scratch = Rc<RefCell<Box<[u8]>>>;

/// A fresh scratch buffer for a shard.
pub(crate) fn scratch() -> Scratch {
    Rc::new(RefCell::new(vec![0; READ_STEP_BYTES].into_boxed_slice()))
}

/// A request's bytes, without their length, and what they cost.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) charge: Charge,
    pub(crate) stages: Stages,
}

/// Why no more frames come from a stream. All of them close its connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Length(#[from] WireError),
    #[error("the stream ended inside a frame, after {arrived} of its bytes")]
    EndedInside { arrived: usize },
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads one connection's frames.
pub(crate) struct FrameReader<R> {
    source: R,
    memory: RequestMemory,
    scratch: Scratch,
    frame_bytes_max: usize,
    control: Rc<Control>,
    /// Bytes that arrived behind the last frame: at most [`READ_STEP_BYTES`].
    ahead: Vec<u8>,
    /// What they are charged, if they are more than [`READ_STEP_UNCHARGED_BYTES`].
    ahead_charge: Option<Charge>,
    /// How much of `ahead` has been used.
    used: usize,
}

impl<R: ByteSource> FrameReader<R> {
    /// Reads from `source`, charging `memory`; `control` is told what comes, and what does not.
    pub(crate) fn new(
        source: R,
        memory: RequestMemory,
        scratch: Scratch,
        frame_bytes_max: usize,
        control: Rc<Control>,
    ) -> Self {
        Self {
            source,
            memory,
            scratch,
            frame_bytes_max,
            control,
            ahead: Vec::new(),
            ahead_charge: None,
            used: 0,
        }
    }

    /// The next frame; `None` when the peer ended the stream between two.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        while self.ahead_len() < LENGTH_BYTES {
            if self.read_ahead().await? == 0 {
                let arrived = self.ahead_len();
                return if arrived == 0 {
                    Ok(None)
                } else {
                    Err(FrameError::EndedInside { arrived })
                };
            }
        }
        let mut length = [0; LENGTH_BYTES];
        self.take_ahead(&mut length);
        let length = parse_length(length, self.frame_bytes_max)
            .inspect_err(|_| count(Counter::ClosedBadRequest))?;
        let began = (self.ahead_len() < length).then(now);
        let (body, charge) = self.body(length).await?;
        self.control.holding.reading.end();
        Ok(Some(Frame {
            bytes: Bytes::from(body),
            charge,
            stages: Stages::read_now(began),
        }))
    }

    /// Reads a body of `length` bytes, growing its buffer as it arrives.
    async fn body(&mut self, length: usize) -> Result<(Vec<u8>, Charge), FrameError> {
        // What has come already counts as far as it may be kept before it is charged.
        let first = self.ahead_len().saturating_mul(FRAME_GROWTH_FACTOR);
        let first = first.clamp(FRAME_FIRST_STEP_BYTES, SMALL_FRAME_BYTES_MAX);
        let mut capacity = length.min(first);
        let mut body = vec![0; capacity];
        let mut arrived = self.take_ahead(&mut body);
        let mut charge = None;
        loop {
            self.fill(&mut body, arrived).await?;
            if charge.is_none() && (capacity == length || capacity >= SMALL_FRAME_BYTES_MAX) {
                charge = Some(self.charge(length).await);
            }
            if capacity == length {
                return Ok((
                    body,
                    charge.expect("charged when it is whole, at the latest"),
                ));
            }
            arrived = capacity;
            let grown = length.min(capacity.saturating_mul(FRAME_GROWTH_FACTOR));
            capacity = match charge {
                Some(_) => grown,
                None => grown.min(SMALL_FRAME_BYTES_MAX),
            };
            body.reserve_exact(capacity - arrived);
            body.resize(capacity, 0);
            let (_, rest) = body.split_at_mut(arrived);
            arrived += self.take_ahead(rest);
        }
    }

    /// Memory for a whole frame. Its connection holds nothing that others wait for meanwhile: not
    /// what is charged for bytes read ahead, nor a large frame behind a fetch that is parked.
    async fn charge(&mut self, length: usize) -> Charge {
        // From here the peer waits for us.
        let holding = &self.control.holding;
        holding.reading.end();
        if length > SMALL_FRAME_BYTES_MAX {
            let control = &self.control;
            poll_fn(|_| match control.is_parked() {
                true => Poll::Pending,
                false => Poll::Ready(()),
            })
            .await;
        }
        if let Some(charge) = self.memory.try_charge(length, holding) {
            return charge;
        }
        self.ahead_charge = None;
        self.memory.charge(length, holding).await
    }

    /// Reads until `body`, of which so much has arrived, is full.
    async fn fill(&mut self, body: &mut [u8], mut arrived: usize) -> Result<(), FrameError> {
        while arrived < body.len() {
            let (_, rest) = body.split_at_mut(arrived);
            let reading = &self.control.holding.reading;
            // What has come already is not waited for.
            let read = poll_fn(|cx| {
                let polled = self.source.poll_read(cx, rest);
                if polled.is_pending() {
                    reading.begin();
                }
                polled
            });
            let count = read.await?;
            if count == 0 {
                return Err(FrameError::EndedInside { arrived });
            }
            self.control.touch();
            self.control.holding.reading.passed(count);
            arrived += count;
        }
        Ok(())
    }

    fn ahead_len(&self) -> usize {
        self.ahead.len() - self.used
    }

    /// Reads once into the shard's scratch buffer and keeps what came.
    async fn read_ahead(&mut self) -> Result<usize, FrameError> {
        // Fewer bytes than a length has, in a buffer of their size.
        self.ahead = self.ahead.split_off(self.used);
        self.ahead.shrink_to_fit();
        self.used = 0;
        let Self {
            source,
            memory,
            scratch,
            control,
            ahead,
            ahead_charge,
            ..
        } = self;
        let count = poll_fn(|cx| {
            let mut charge = memory.try_charge_ahead(READ_STEP_BYTES, &control.holding);
            let step = match charge {
                Some(_) => READ_STEP_BYTES,
                None => READ_STEP_UNCHARGED_BYTES,
            };
            let mut scratch = scratch.borrow_mut();
            let (into, _) = scratch.split_at_mut(step);
            let polled = source.poll_read(cx, into);
            if let Poll::Ready(Ok(count)) = polled {
                ahead.reserve_exact(count);
                ahead.extend_from_slice(into.get(..count).unwrap_or_default());
                if let Some(charge) = &mut charge {
                    charge.shrink_to(count as u64);
                }
                *ahead_charge = charge.filter(|_| count > READ_STEP_UNCHARGED_BYTES);
            }
            if polled.is_pending() && !ahead.is_empty() {
                // A part of a length has come.
                control.holding.reading.begin();
            }
            polled
        })
        .await?;
        self.control.touch();
        Ok(count)
    }

    /// Moves as many bytes as there are, up to what fits, and says how many.
    fn take_ahead(&mut self, into: &mut [u8]) -> usize {
        let (_, rest) = self.ahead.split_at(self.used);
        let count = rest.len().min(into.len());
        let (from, _) = rest.split_at(count);
        let (to, _) = into.split_at_mut(count);
        to.copy_from_slice(from);
        self.used += count;
        if self.ahead_len() == 0 {
            // An idle connection keeps no buffer.
            self.ahead = Vec::new();
            self.ahead_charge = None;
            self.used = 0;
        }
        count
    }
}

#[cfg(test)]
#[path = "frame_reader_tests.rs"]
mod tests;

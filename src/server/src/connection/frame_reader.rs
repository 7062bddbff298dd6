//! Frames out of a byte stream, with their memory charged before it is filled.
//!
//! Owns the bytes between two frames. It must not know what a frame holds.
//!
//! Invariants: no buffer is made before its bytes are charged to the shard's request memory, but for
//! [`READ_STEP_UNCHARGED_BYTES`] of what is read ahead; a
//! frame's buffer is never larger than the first step or [`FRAME_GROWTH_FACTOR`] times what has
//! arrived of it, so an announced length costs nothing by itself.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tailwater_shards::sync::{Permit, Semaphore};
use tailwater_shards::{Counter, Stream, count, timeout};
use tailwater_wire::WireError;
use tailwater_wire::frame::{LENGTH_BYTES, parse_length};

use crate::limits::{
    FRAME_FIRST_STEP_BYTES, FRAME_GROWTH_FACTOR, FRAME_MEMORY_WAIT_MAX, READ_STEP_BYTES,
    READ_STEP_UNCHARGED_BYTES,
};
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

/// The request memory that a frame holds, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    _first: Permit,
    /// Empty, and then not allocated, for all but large frames.
    more: Vec<Permit>,
}

impl Charge {
    /// A charge of one permit.
    pub(crate) fn new(first: Permit) -> Self {
        Self {
            _first: first,
            more: Vec::new(),
        }
    }
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
    #[error("no memory came free for a frame of {announced} bytes, of which {arrived} had come")]
    OutOfMemory { announced: usize, arrived: usize },
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// Reads one connection's frames.
pub(crate) struct FrameReader<R> {
    source: R,
    memory: Semaphore,
    scratch: Scratch,
    frame_bytes_max: usize,
    /// Bytes that arrived behind the last frame: at most [`READ_STEP_BYTES`].
    ahead: Vec<u8>,
    /// What they are charged, if they are more than [`READ_STEP_UNCHARGED_BYTES`].
    ahead_charge: Option<Permit>,
    /// How much of `ahead` has been used.
    used: usize,
    on_bytes: Box<dyn Fn()>,
}

impl<R: ByteSource> FrameReader<R> {
    /// Reads from `source`, charging `memory`; `on_bytes` is called whenever some have come.
    pub(crate) fn new(
        source: R,
        memory: Semaphore,
        scratch: Scratch,
        frame_bytes_max: usize,
        on_bytes: Box<dyn Fn()>,
    ) -> Self {
        Self {
            source,
            memory,
            scratch,
            frame_bytes_max,
            ahead: Vec::new(),
            ahead_charge: None,
            used: 0,
            on_bytes,
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
        let (body, charge) = self.body(length).await?;
        Ok(Some(Frame {
            bytes: Bytes::from(body),
            charge,
            stages: Stages::read_now(),
        }))
    }

    /// Reads a body of `length` bytes, charging and growing its buffer as it arrives.
    async fn body(&mut self, length: usize) -> Result<(Vec<u8>, Charge), FrameError> {
        let first = self.ahead_len().saturating_mul(FRAME_GROWTH_FACTOR);
        let mut capacity = length.min(first.max(FRAME_FIRST_STEP_BYTES));
        let mut charge = Charge::new(self.charge(capacity, length, 0).await?);
        let mut body = vec![0; capacity];
        let mut arrived = self.take_ahead(&mut body);
        loop {
            while arrived < capacity {
                let (_, rest) = body.split_at_mut(arrived);
                let count = poll_fn(|cx| self.source.poll_read(cx, rest)).await?;
                if count == 0 {
                    return Err(FrameError::EndedInside { arrived });
                }
                (self.on_bytes)();
                arrived += count;
            }
            if capacity == length {
                return Ok((body, charge));
            }
            let grown = length.min(capacity.saturating_mul(FRAME_GROWTH_FACTOR));
            charge
                .more
                .push(self.charge(grown - capacity, length, arrived).await?);
            body.reserve_exact(grown - capacity);
            body.resize(grown, 0);
            capacity = grown;
            let (_, rest) = body.split_at_mut(arrived);
            arrived += self.take_ahead(rest);
        }
    }

    /// Reserves request memory. A frame that has not begun to arrive waits as long as it takes,
    /// unread; one that has is bounded, see [`FRAME_MEMORY_WAIT_MAX`].
    async fn charge(
        &self,
        bytes: usize,
        announced: usize,
        arrived: usize,
    ) -> Result<Permit, FrameError> {
        let bytes = bytes as u64;
        if let Some(permit) = self.memory.try_acquire(bytes) {
            return Ok(permit);
        }
        count(Counter::WaitsForRequestMemory);
        if arrived == 0 {
            return Ok(self.memory.acquire(bytes).await);
        }
        let waits = timeout(FRAME_MEMORY_WAIT_MAX, self.memory.acquire(bytes));
        waits.await.map_err(|_| {
            count(Counter::ClosedNoRequestMemory);
            FrameError::OutOfMemory { announced, arrived }
        })
    }

    fn ahead_len(&self) -> usize {
        self.ahead.len() - self.used
    }

    /// Reads once into the shard's scratch buffer and keeps what came. Never waits for memory:
    /// whoever holds some could otherwise wait for others who do.
    async fn read_ahead(&mut self) -> Result<usize, FrameError> {
        // Fewer bytes than a length has, in a buffer of their size.
        self.ahead = self.ahead.split_off(self.used);
        self.ahead.shrink_to_fit();
        self.used = 0;
        let Self {
            source,
            memory,
            scratch,
            ahead,
            ahead_charge,
            ..
        } = self;
        let count = poll_fn(|cx| {
            let mut charge = None;
            if memory.available() >= memory.total() / 2 {
                charge = memory.try_acquire(READ_STEP_BYTES as u64);
            }
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
            polled
        })
        .await?;
        (self.on_bytes)();
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

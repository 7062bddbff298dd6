//! Memory that many small things share.
//!
//! An aligned buffer of one block takes two to three blocks of the allocator's memory, however
//! little of it is wanted. A [`Pack`] keeps copies of what is wanted, one behind the other, in
//! chunks that take what they say.
//!
//! Invariants: a chunk never grows, so that no byte of it ever moves; it is free when everything
//! in it is gone and the pack has begun another, on whichever shard. Until then
//! [`allocation_of`](super::allocation_of) tells of it for everything in it.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::home::HomeRef;

/// The largest part of a chunk that one thing may take, as a divisor: so the end of a chunk, where
/// the next did not fit, is less than that.
const PART_DIVISOR: usize = 4;

/// Copies of small things, in chunks of one size.
pub struct Pack {
    chunk_bytes: usize,
    open: Option<Chunk>,
}

/// As with a [`Part`], the loan goes first.
struct Chunk {
    loan: Arc<Loan>,
    /// Its free end.
    rest: BytesMut,
}

/// Something that was put into a [`Pack`].
pub struct Packed {
    /// The copy.
    pub bytes: Bytes,
    /// It is the first of a chunk.
    pub is_first: bool,
}

/// Tells the home shard where a chunk is, until everything in it is gone.
struct Loan {
    address: usize,
    home: HomeRef,
}

/// A part of a chunk. The loan goes before the bytes: an address is not used again before it is
/// forgotten.
struct Part {
    _loan: Arc<Loan>,
    bytes: Bytes,
}

impl Pack {
    /// Chunks of so many bytes each.
    ///
    /// # Panics
    /// When that is nothing.
    #[must_use]
    pub fn new(chunk_bytes: usize) -> Self {
        assert!(chunk_bytes > 0, "a chunk has at least one byte");
        Self {
            chunk_bytes,
            open: None,
        }
    }

    /// What a chunk takes.
    #[must_use]
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// The largest thing that is put into one.
    #[must_use]
    pub fn part_bytes_max(&self) -> usize {
        self.chunk_bytes / PART_DIVISOR
    }

    /// Copies `bytes` behind what was put in last, or into a new chunk where they do not fit.
    ///
    /// # Panics
    /// When they are more than [`Self::part_bytes_max`], or none.
    pub fn put(&mut self, bytes: &[u8]) -> Packed {
        assert!(
            (1..=self.part_bytes_max()).contains(&bytes.len()),
            "{} bytes for a chunk of {}",
            bytes.len(),
            self.chunk_bytes
        );
        let has_room = |chunk: &Chunk| chunk.rest.capacity() - chunk.rest.len() >= bytes.len();
        let open = self.open.take().filter(has_room);
        let is_first = open.is_none();
        let mut chunk = open.unwrap_or_else(|| Chunk::new(self.chunk_bytes));
        chunk.rest.extend_from_slice(bytes);
        let part = Part {
            _loan: Arc::clone(&chunk.loan),
            bytes: chunk.rest.split().freeze(),
        };
        self.open = Some(chunk);
        Packed {
            bytes: Bytes::from_owner(part),
            is_first,
        }
    }
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let rest = BytesMut::with_capacity(bytes);
        let home = HomeRef::current();
        let address = rest.as_ptr().addr();
        home.lend_at(address, bytes);
        let loan = Arc::new(Loan { address, home });
        Self { loan, rest }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.home.end_loan_at(self.address);
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.open.as_ref().map(|chunk| chunk.rest.capacity());
        f.debug_struct("Pack")
            .field("chunk_bytes", &self.chunk_bytes)
            .field("free", &free)
            .finish()
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packed")
            .field("len", &self.bytes.len())
            .field("is_first", &self.is_first)
            .finish()
    }
}

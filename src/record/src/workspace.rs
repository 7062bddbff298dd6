//! The memory that checking, reading and rewriting batches needs, kept from batch to batch.

use zstd::zstd_safe::{CCtx, DCtx};

/// Buffers and codec contexts. One a shard is enough: every user has finished with it when it returns.
///
/// Empty until a compressed batch comes. What one batch made it grow to is kept up to about 4 MiB a
/// buffer, and given back beyond that when the next batch starts.
#[derive(Default)]
pub struct Workspace {
    pub(crate) decoding: Decoding,
    pub(crate) encoding: Encoding,
    /// A record that lies across two decompressed chunks, put together.
    pub(crate) record: Vec<u8>,
}

/// What the decompressors use.
#[derive(Default)]
pub(crate) struct Decoding {
    /// The current decompressed chunk.
    pub(crate) chunk: Vec<u8>,
    /// The last 64 KiB before it, for lz4's linked blocks.
    pub(crate) history: Vec<u8>,
    pub(crate) zstd: Option<DCtx<'static>>,
}

/// What the compressors use.
#[derive(Default)]
pub(crate) struct Encoding {
    /// Input that does not fill a block yet.
    pub(crate) pending: Vec<u8>,
    pub(crate) zstd: Option<CCtx<'static>>,
}

/// Beyond this, a buffer's or a context's memory is not kept for the next batch. An lz4 block of the
/// largest size fits, and so does a zstd window of 8 MiB with what surrounds it, twice over.
const KEPT_BUFFER_BYTES_MAX: usize = 4 << 20;
const KEPT_CONTEXT_BYTES_MAX: usize = 16 << 20;

impl Workspace {
    /// An empty one; it allocates nothing.
    pub fn new() -> Workspace {
        Workspace::default()
    }

    /// Gives back what an unusual batch made it grow to.
    pub(crate) fn trim(&mut self) {
        for buffer in [
            &mut self.decoding.chunk,
            &mut self.decoding.history,
            &mut self.encoding.pending,
            &mut self.record,
        ] {
            if buffer.capacity() > KEPT_BUFFER_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        if self
            .decoding
            .zstd
            .as_ref()
            .is_some_and(|context| context.sizeof() > KEPT_CONTEXT_BYTES_MAX)
        {
            self.decoding.zstd = None;
        }
        if self
            .encoding
            .zstd
            .as_ref()
            .is_some_and(|context| context.sizeof() > KEPT_CONTEXT_BYTES_MAX)
        {
            self.encoding.zstd = None;
        }
    }

    /// Bytes held between batches, for the shard's memory account.
    pub fn held_bytes(&self) -> usize {
        self.decoding.chunk.capacity()
            + self.decoding.history.capacity()
            + self.encoding.pending.capacity()
            + self.record.capacity()
            + self.decoding.zstd.as_ref().map_or(0, DCtx::sizeof)
            + self.encoding.zstd.as_ref().map_or(0, CCtx::sizeof)
    }
}

impl std::fmt::Debug for Workspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workspace")
            .field("held_bytes", &self.held_bytes())
            .finish()
    }
}

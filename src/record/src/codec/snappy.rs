//! snappy, as Java's `SnappyOutputStream` frames it (a 16-byte header, then length-prefixed blocks), and
//! bare blocks, which librdkafka writes. We write Java's framing.
//!
//! Memory: one block's output. A block states its output's length, which is believed only as far as
//! snappy can expand: the shortest element of 3 bytes yields at most 64.

use super::Codec;
use crate::error::RecordError;
use crate::workspace::{Decoding, Encoding};

/// "\x82SNAPPY\0", version 1, compatible with version 1.
const HEADER: [u8; 16] = [
    0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
];
const MAGIC_BYTES: usize = 8;
/// Java's block size.
const BLOCK_BYTES: usize = 32 << 10;
/// 64 bytes from 3, rounded up.
const EXPANSION_MAX: usize = 22;

/// Reads block after block.
pub(super) struct SnappySource<'a> {
    rest: &'a [u8],
    framed: bool,
    decoder: snap::raw::Decoder,
    chunk: &'a mut Vec<u8>,
}

impl<'a> SnappySource<'a> {
    pub(super) fn new(
        payload: &'a [u8],
        decoding: &'a mut Decoding,
    ) -> Result<SnappySource<'a>, RecordError> {
        let framed = payload.first_chunk::<MAGIC_BYTES>() == HEADER.first_chunk();
        let rest = if framed {
            // Versions and compatible versions have been 1 since there were any; Java checks neither
            // beyond the minimum.
            payload
                .get(HEADER.len()..)
                .ok_or_else(|| Codec::Snappy.error("the bytes end inside the header"))?
        } else {
            payload
        };
        Ok(SnappySource {
            rest,
            framed,
            decoder: snap::raw::Decoder::new(),
            chunk: &mut decoding.chunk,
        })
    }

    /// `bytes_max`: what may still be produced; a block claiming more is refused unread.
    pub(super) fn advance(&mut self, bytes_max: u64) -> Result<usize, RecordError> {
        while !self.rest.is_empty() {
            let block = self.take_block()?;
            let len = snap::raw::decompress_len(block).map_err(error)?;
            if len as u64 > bytes_max {
                // The caller refuses what is over its limit, and names it.
                return Ok(len);
            }
            if len > block.len().saturating_mul(EXPANSION_MAX) {
                return Err(Codec::Snappy.error("a block claims more than it can hold"));
            }
            if self.chunk.len() < len {
                self.chunk.resize(len, 0);
            }
            let produced = self.decoder.decompress(block, self.chunk).map_err(error)?;
            if produced > 0 {
                return Ok(produced);
            }
        }
        Ok(0)
    }

    fn take_block(&mut self) -> Result<&'a [u8], RecordError> {
        if !self.framed {
            return Ok(std::mem::take(&mut self.rest));
        }
        // A second header may follow where streams were put together.
        if let Some((header, rest)) = self.rest.split_first_chunk::<16>()
            && header.first_chunk::<MAGIC_BYTES>() == HEADER.first_chunk()
        {
            self.rest = rest;
            return Ok(EMPTY_BLOCK);
        }
        let truncated = || Codec::Snappy.error("the bytes end inside a block");
        let (len, rest) = self.rest.split_first_chunk().ok_or_else(truncated)?;
        let len = usize::try_from(i32::from_be_bytes(*len))
            .map_err(|_| Codec::Snappy.error("negative block length"))?;
        let (block, rest) = rest.split_at_checked(len).ok_or_else(truncated)?;
        self.rest = rest;
        Ok(block)
    }

    pub(super) fn chunk(&self) -> &[u8] {
        self.chunk
    }
}

/// A block that decompresses to nothing.
const EMPTY_BLOCK: &[u8] = &[0];

fn error(error: snap::Error) -> RecordError {
    Codec::Snappy.error(error.to_string())
}

/// Writes Java's framing.
pub(crate) struct SnappySink<'a> {
    encoder: snap::raw::Encoder,
    out: &'a mut Vec<u8>,
    pending: &'a mut Vec<u8>,
}

impl<'a> SnappySink<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, encoding: &'a mut Encoding) -> SnappySink<'a> {
        out.extend_from_slice(&HEADER);
        encoding.pending.clear();
        SnappySink {
            encoder: snap::raw::Encoder::new(),
            out,
            pending: &mut encoding.pending,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        super::in_blocks::<BLOCK_BYTES>(self.pending, bytes, |block| {
            put_block(&mut self.encoder, block, self.out)
        });
    }

    pub(super) fn out_len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) {
        if !self.pending.is_empty() {
            put_block(&mut self.encoder, self.pending, self.out);
        }
    }
}

fn put_block(encoder: &mut snap::raw::Encoder, block: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
    let (prefix, body) = out
        .get_mut(at..)
        .and_then(|slot| slot.split_first_chunk_mut::<4>())
        .expect("the slot was just made");
    let len = encoder
        .compress(block, body)
        .expect("the slot is as large as the worst case");
    *prefix = (len as u32).to_be_bytes();
    out.truncate(at + 4 + len);
}

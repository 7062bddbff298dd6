//! The LZ4 frame format, version 1: what Java, librdkafka and Go write. We write as Java does: one frame
//! of independent 64 KiB blocks without checksums.
//!
//! The frame is ours and the blocks are the library's, because the library's frames take the largest
//! block for granted (4 MiB for a batch of 100 bytes) and swallow truncation. Memory: one block's output,
//! no more than 255 times its input nor the frame's block size (4 MiB at most), and 64 KiB of history
//! where blocks are linked.

use std::hash::Hasher as _;

use lz4_flex::block::CompressTable;
use lz4_flex::block::{
    compress_into_with_table, decompress_into, decompress_into_with_dict, get_maximum_output_size,
};
use twox_hash::xxhash32;

use super::Codec;
use crate::error::RecordError;
use crate::workspace::{Decoding, Encoding};

const MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// Magics `184d2a50` to `184d2a5f` begin a frame to skip.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const HISTORY_BYTES: usize = 64 << 10;
const BLOCK_BYTES: usize = 64 << 10;
/// An lz4 byte yields at most this many.
const EXPANSION_MAX: usize = 255;
const STORED: u32 = 1 << 31;

/// What a frame's descriptor says.
#[derive(Clone)]
struct Frame {
    linked: bool,
    block_checksums: bool,
    block_bytes_max: usize,
    content_bytes: Option<u64>,
    content_hash: Option<xxhash32::Hasher>,
    produced: u64,
}

/// Where the current chunk is.
enum Chunk<'a> {
    Decompressed(usize),
    /// A stored block: the input itself.
    Stored(&'a [u8]),
}

/// Reads block after block, frame after frame.
pub(super) struct Lz4Source<'a> {
    rest: &'a [u8],
    frame: Option<Frame>,
    chunk: Chunk<'a>,
    out: &'a mut Vec<u8>,
    history: &'a mut Vec<u8>,
}

impl<'a> Lz4Source<'a> {
    pub(super) fn new(payload: &'a [u8], decoding: &'a mut Decoding) -> Lz4Source<'a> {
        let Decoding {
            chunk: out,
            history,
            ..
        } = decoding;
        Lz4Source {
            rest: payload,
            frame: None,
            chunk: Chunk::Stored(&[]),
            out,
            history,
        }
    }

    pub(super) fn advance(&mut self) -> Result<usize, RecordError> {
        loop {
            let Some(frame) = &mut self.frame else {
                if self.rest.is_empty() {
                    return Ok(0);
                }
                self.frame = begin_frame(&mut self.rest)?;
                self.history.clear();
                continue;
            };
            let word = take_u32(&mut self.rest)?;
            if word == 0 {
                frame.end(&mut self.rest)?;
                self.frame = None;
                continue;
            }
            self.chunk = read_block(frame, word, &mut self.rest, self.out, self.history)?;
            let len = self.chunk().len();
            if len > 0 {
                return Ok(len);
            }
        }
    }

    pub(super) fn chunk(&self) -> &[u8] {
        match self.chunk {
            Chunk::Decompressed(len) => self
                .out
                .get(..len)
                .expect("a block was decompressed into it"),
            Chunk::Stored(bytes) => bytes,
        }
    }
}

/// Reads a frame's descriptor; `None` for a frame to skip, which it skips.
fn begin_frame(rest: &mut &[u8]) -> Result<Option<Frame>, RecordError> {
    let magic = take::<4>(rest)?;
    if magic != MAGIC {
        if u32::from_le_bytes(magic) & !0xf != SKIPPABLE_MAGIC {
            return Err(Codec::Lz4.error("no frame where one should begin"));
        }
        let len = take_u32(rest)? as usize;
        *rest = rest.get(len..).ok_or_else(truncated)?;
        return Ok(None);
    }
    let descriptor = *rest;
    let [flags, block_size] = take::<2>(rest)?;
    if flags >> 6 != 1 || flags & 0x02 != 0 || block_size & 0x8f != 0 {
        return Err(Codec::Lz4.error("unknown version or reserved bits in the frame's descriptor"));
    }
    if flags & 0x01 != 0 {
        return Err(Codec::Lz4.error("frames that need a dictionary are not supported"));
    }
    let block_bytes_max = match block_size >> 4 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(Codec::Lz4.error("unknown block size")),
    };
    let content_bytes = if flags & 0x08 == 0 {
        None
    } else {
        Some(u64::from_le_bytes(take(rest)?))
    };
    let described = descriptor
        .get(..descriptor.len() - rest.len())
        .expect("rest is the end of the descriptor");
    let [check] = take::<1>(rest)?;
    if check != (xxhash32::Hasher::oneshot(0, described) >> 8) as u8 {
        return Err(Codec::Lz4.error("the frame's descriptor fails its checksum"));
    }
    Ok(Some(Frame {
        linked: flags & 0x20 == 0,
        block_checksums: flags & 0x10 != 0,
        block_bytes_max,
        content_bytes,
        content_hash: (flags & 0x04 != 0).then(|| xxhash32::Hasher::with_seed(0)),
        produced: 0,
    }))
}

impl Frame {
    fn end(&self, rest: &mut &[u8]) -> Result<(), RecordError> {
        if let Some(hash) = &self.content_hash
            && take_u32(rest)? != hash.finish_32()
        {
            return Err(Codec::Lz4.error("the content fails its checksum"));
        }
        if self
            .content_bytes
            .is_some_and(|bytes| bytes != self.produced)
        {
            return Err(Codec::Lz4.error("the content is not as long as the frame said"));
        }
        Ok(())
    }
}

/// Reads the block whose length word is `word`, into `out` unless it is stored.
fn read_block<'a>(
    frame: &mut Frame,
    word: u32,
    rest: &mut &'a [u8],
    out: &mut Vec<u8>,
    history: &mut Vec<u8>,
) -> Result<Chunk<'a>, RecordError> {
    let len = (word & !STORED) as usize;
    if len > frame.block_bytes_max {
        return Err(Codec::Lz4.error("a block is larger than the frame allows"));
    }
    let (block, after) = rest.split_at_checked(len).ok_or_else(truncated)?;
    *rest = after;
    if frame.block_checksums && take_u32(rest)? != xxhash32::Hasher::oneshot(0, block) {
        return Err(Codec::Lz4.error("a block fails its checksum"));
    }
    let chunk = if word & STORED != 0 {
        Chunk::Stored(block)
    } else {
        let room = frame
            .block_bytes_max
            .min(block.len().saturating_mul(EXPANSION_MAX));
        if out.len() < room {
            out.resize(room, 0);
        }
        let out = out.get_mut(..room).expect("just made as long");
        let len = if frame.linked {
            decompress_into_with_dict(block, out, history)
        } else {
            decompress_into(block, out)
        };
        Chunk::Decompressed(len.map_err(|error| Codec::Lz4.error(error.to_string()))?)
    };
    let produced = match chunk {
        Chunk::Decompressed(len) => out.get(..len).expect("just decompressed"),
        Chunk::Stored(block) => block,
    };
    frame.produced += produced.len() as u64;
    if let Some(hash) = &mut frame.content_hash {
        hash.write(produced);
    }
    if frame.linked {
        remember(history, produced);
    }
    Ok(chunk)
}

/// Keeps the last 64 KiB of what has been produced.
fn remember(history: &mut Vec<u8>, produced: &[u8]) {
    let kept = HISTORY_BYTES.saturating_sub(produced.len());
    history.drain(..history.len().saturating_sub(kept));
    let from = produced.len().saturating_sub(HISTORY_BYTES);
    history.extend_from_slice(
        produced
            .get(from..)
            .expect("no more is cut off than there is"),
    );
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RecordError> {
    let (field, after) = rest.split_first_chunk().ok_or_else(truncated)?;
    *rest = after;
    Ok(*field)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, RecordError> {
    take(rest).map(u32::from_le_bytes)
}

fn truncated() -> RecordError {
    Codec::Lz4.error("the bytes end inside a frame")
}

/// Writes one frame as Java does.
pub(crate) struct Lz4Sink<'a> {
    table: CompressTable,
    out: &'a mut Vec<u8>,
    pending: &'a mut Vec<u8>,
}

impl<'a> Lz4Sink<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, encoding: &'a mut Encoding) -> Lz4Sink<'a> {
        // Version 1, independent blocks; blocks of 64 KiB.
        let descriptor = [0x60, 0x40];
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&descriptor);
        out.push((xxhash32::Hasher::oneshot(0, &descriptor) >> 8) as u8);
        encoding.pending.clear();
        Lz4Sink {
            table: CompressTable::large(),
            out,
            pending: &mut encoding.pending,
        }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        super::in_blocks::<BLOCK_BYTES>(self.pending, bytes, |block| {
            put_block(&mut self.table, block, self.out)
        });
    }

    pub(super) fn out_len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) {
        if !self.pending.is_empty() {
            put_block(&mut self.table, self.pending, self.out);
        }
        self.out.extend_from_slice(&0u32.to_le_bytes());
    }
}

fn put_block(table: &mut CompressTable, block: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.resize(at + 4 + get_maximum_output_size(block.len()), 0);
    let (word, body) = out
        .get_mut(at..)
        .and_then(|slot| slot.split_first_chunk_mut::<4>())
        .expect("the slot was just made");
    let len = compress_into_with_table(block, body, table)
        .expect("the slot is as large as the worst case");
    if len < block.len() {
        *word = (len as u32).to_le_bytes();
        out.truncate(at + 4 + len);
    } else {
        *word = (block.len() as u32 | STORED).to_le_bytes();
        out.truncate(at + 4);
        out.extend_from_slice(block);
    }
}

//! The five ways in which a batch's records are packed, behind one bounded reader and one writer.
//!
//! A [`Decompressor`] yields chunk after chunk out of memory it borrows, never more than
//! [`Limits::decompressed_bytes_max`] in all. No allocation follows from a length that the bytes claim:
//! each codec says in its file what bounds it.

mod gzip;
mod lz4;
mod snappy;
#[cfg(test)]
mod tests;
mod zstd;

use std::fmt;

use crate::error::RecordError;
use crate::workspace::{Decoding, Encoding, Workspace};

/// How a batch's records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy blocks in the framing of Java's `SnappyOutputStream`.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// All of them, by id.
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    /// The codec with this id in the attributes.
    pub fn from_id(id: u8) -> Option<Codec> {
        Codec::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// Its id in the attributes.
    pub fn id(self) -> u8 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// Kafka's name for it: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    fn error(self, reason: impl Into<Box<str>>) -> RecordError {
        RecordError::Decompress {
            codec: self,
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec to write with, and how hard it is to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    codec: Codec,
    level: i32,
}

/// A compression level that the codec does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{codec} has levels from {min} to {max}, not {level}")]
pub struct LevelOutOfRange {
    /// The codec.
    pub codec: Codec,
    /// The level asked for.
    pub level: i32,
    /// Its least level.
    pub min: i32,
    /// Its greatest level.
    pub max: i32,
}

impl Compression {
    /// With the level Kafka takes when none is configured.
    pub fn of(codec: Codec) -> Compression {
        let level = match codec {
            Codec::None | Codec::Snappy => 0,
            Codec::Gzip => -1,
            Codec::Lz4 => 9,
            Codec::Zstd => 3,
        };
        Compression { codec, level }
    }

    /// With a level in the sense of `compression.gzip.level` (1 to 9, or -1 for the default),
    /// `compression.lz4.level` (1 to 17) or `compression.zstd.level` (-131072 to 22). None and snappy
    /// have no levels; theirs is ignored. lz4 accepts Kafka's levels and compresses equally at all of
    /// them.
    ///
    /// # Errors
    /// A level that the codec does not have.
    pub fn with_level(codec: Codec, level: i32) -> Result<Compression, LevelOutOfRange> {
        let (min, max) = match codec {
            Codec::None | Codec::Snappy => return Ok(Compression::of(codec)),
            Codec::Gzip if level == -1 => return Ok(Compression { codec, level }),
            Codec::Gzip => (1, 9),
            Codec::Lz4 => (1, 17),
            Codec::Zstd => (-131_072, 22),
        };
        if (min..=max).contains(&level) {
            Ok(Compression { codec, level })
        } else {
            Err(LevelOutOfRange {
                codec,
                level,
                min,
                max,
            })
        }
    }

    /// The codec.
    pub fn codec(self) -> Codec {
        self.codec
    }

    /// The level; without meaning for none and snappy.
    pub fn level(self) -> i32 {
        self.level
    }
}

/// What reading a compressed batch may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All records of a batch together, decompressed. Bounds time, and snappy's and zstd's memory.
    pub decompressed_bytes_max: u64,
    /// One record in [`crate::RecordStream`], which puts a record together in memory. Checking a batch
    /// holds no record and has no such limit.
    pub record_bytes_max: usize,
    /// The largest zstd window: 2 to this power. Memory is touched only as far as output goes.
    pub zstd_window_log_max: u32,
}

impl Default for Limits {
    /// 128 MiB a batch, 64 MiB a record, and windows of 128 MiB, which zstd's level 22 asks for.
    fn default() -> Limits {
        Limits {
            decompressed_bytes_max: 128 << 20,
            record_bytes_max: 64 << 20,
            zstd_window_log_max: 27,
        }
    }
}

/// Chunks decompressed at a time where the codec leaves the choice to us.
const CHUNK_BYTES: usize = 64 << 10;

/// A chunk's room in a buffer that another codec may have made larger.
fn chunk_room(buffer: &mut Vec<u8>) -> &mut [u8] {
    if buffer.len() < CHUNK_BYTES {
        buffer.resize(CHUNK_BYTES, 0);
    }
    buffer.get_mut(..CHUNK_BYTES).expect("just made as long")
}

/// One codec's reader. `advance` makes the next chunk and returns its length, 0 at the end;
/// `chunk` lends it.
enum Source<'a> {
    Plain { payload: &'a [u8], given: bool },
    Gzip(Box<gzip::GzipSource<'a>>),
    Snappy(snappy::SnappySource<'a>),
    Lz4(lz4::Lz4Source<'a>),
    Zstd(zstd::ZstdSource<'a>),
}

/// Reads a batch's records' bytes, decompressed, chunk by chunk.
pub struct Decompressor<'a> {
    source: Source<'a>,
    at: usize,
    len: usize,
    produced: u64,
    bytes_max: u64,
}

impl<'a> Decompressor<'a> {
    /// Over `payload`, the batch's bytes after its header.
    ///
    /// # Errors
    /// `Decompress` where the first bytes cannot be the codec's.
    pub fn new(
        codec: Codec,
        payload: &'a [u8],
        limits: &Limits,
        workspace: &'a mut Workspace,
    ) -> Result<Decompressor<'a>, RecordError> {
        workspace.trim();
        Decompressor::over(codec, payload, limits, &mut workspace.decoding)
    }

    pub(crate) fn over(
        codec: Codec,
        payload: &'a [u8],
        limits: &Limits,
        decoding: &'a mut Decoding,
    ) -> Result<Decompressor<'a>, RecordError> {
        let source = match codec {
            Codec::None => Source::Plain {
                payload,
                given: false,
            },
            Codec::Gzip => Source::Gzip(Box::new(gzip::GzipSource::new(payload, decoding))),
            Codec::Snappy => Source::Snappy(snappy::SnappySource::new(payload, decoding)?),
            Codec::Lz4 => Source::Lz4(lz4::Lz4Source::new(payload, decoding)),
            Codec::Zstd => Source::Zstd(zstd::ZstdSource::new(payload, limits, decoding)?),
        };
        // What is not compressed is bounded by the frame it came in.
        let bytes_max = if codec == Codec::None {
            u64::MAX
        } else {
            limits.decompressed_bytes_max
        };
        Ok(Decompressor {
            source,
            at: 0,
            len: 0,
            produced: 0,
            bytes_max,
        })
    }

    /// What has been decompressed and not consumed; decompresses the next chunk if there is none.
    /// Empty only at the end.
    ///
    /// # Errors
    /// `Decompress` for bytes that are not the codec's, `DecompressedTooLarge` at the limit.
    pub fn fill(&mut self) -> Result<&[u8], RecordError> {
        if self.at == self.len {
            let left = self.bytes_max - self.produced;
            self.at = 0;
            self.len = 0;
            let len = match &mut self.source {
                Source::Plain { payload, given } => {
                    if std::mem::replace(given, true) {
                        0
                    } else {
                        payload.len()
                    }
                }
                Source::Gzip(source) => source.advance()?,
                Source::Snappy(source) => source.advance(left)?,
                Source::Lz4(source) => source.advance()?,
                Source::Zstd(source) => source.advance()?,
            };
            if len as u64 > left {
                return Err(RecordError::DecompressedTooLarge {
                    bytes_max: self.bytes_max,
                });
            }
            self.produced += len as u64;
            self.len = len;
        }
        Ok(self.buffered())
    }

    /// What [`Decompressor::fill`] has decompressed and nobody consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        let chunk = match &self.source {
            Source::Plain { payload, .. } => payload,
            Source::Gzip(source) => source.chunk(),
            Source::Snappy(source) => source.chunk(),
            Source::Lz4(source) => source.chunk(),
            Source::Zstd(source) => source.chunk(),
        };
        chunk
            .get(self.at..self.len)
            .expect("a chunk is as long as its source said")
    }

    /// Takes `bytes` of what [`Decompressor::fill`] lent.
    ///
    /// # Panics
    /// If that is more than it lent.
    pub fn consume(&mut self, bytes: usize) {
        assert!(
            bytes <= self.len - self.at,
            "only what was lent can be consumed"
        );
        self.at += bytes;
    }

    /// [`Decompressor::consume`], and lends what was consumed once more.
    pub(crate) fn take(&mut self, bytes: usize) -> &[u8] {
        self.consume(bytes);
        let (at, end) = (self.at - bytes, self.at);
        let chunk = match &self.source {
            Source::Plain { payload, .. } => payload,
            Source::Gzip(source) => source.chunk(),
            Source::Snappy(source) => source.chunk(),
            Source::Lz4(source) => source.chunk(),
            Source::Zstd(source) => source.chunk(),
        };
        chunk
            .get(at..end)
            .expect("a chunk is as long as its source said")
    }
}

impl fmt::Debug for Decompressor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("produced", &self.produced)
            .field("bytes_max", &self.bytes_max)
            .finish()
    }
}

/// Appends `payload`, packed, to `out`.
pub fn compress(
    compression: Compression,
    payload: &[u8],
    out: &mut Vec<u8>,
    workspace: &mut Workspace,
) {
    workspace.trim();
    let mut compressor = Compressor::new(compression, out, &mut workspace.encoding);
    compressor.write(payload);
    compressor.finish();
}

/// Packs what is written to it onto the end of a buffer.
pub(crate) enum Compressor<'a> {
    Plain(&'a mut Vec<u8>),
    Gzip(gzip::GzipSink<'a>),
    Snappy(Box<snappy::SnappySink<'a>>),
    Lz4(lz4::Lz4Sink<'a>),
    Zstd(zstd::ZstdSink<'a>),
}

impl<'a> Compressor<'a> {
    pub(crate) fn new(
        compression: Compression,
        out: &'a mut Vec<u8>,
        encoding: &'a mut Encoding,
    ) -> Compressor<'a> {
        match compression.codec {
            Codec::None => Compressor::Plain(out),
            Codec::Gzip => Compressor::Gzip(gzip::GzipSink::new(compression.level, out)),
            Codec::Snappy => Compressor::Snappy(Box::new(snappy::SnappySink::new(out, encoding))),
            Codec::Lz4 => Compressor::Lz4(lz4::Lz4Sink::new(out, encoding)),
            Codec::Zstd => Compressor::Zstd(zstd::ZstdSink::new(compression.level, out, encoding)),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match self {
            Compressor::Plain(out) => out.extend_from_slice(bytes),
            Compressor::Gzip(sink) => sink.write(bytes),
            Compressor::Snappy(sink) => sink.write(bytes),
            Compressor::Lz4(sink) => sink.write(bytes),
            Compressor::Zstd(sink) => sink.write(bytes),
        }
    }

    /// How long the buffer is by now, the codec's inner buffers not counted.
    pub(crate) fn out_len(&self) -> usize {
        match self {
            Compressor::Plain(out) => out.len(),
            Compressor::Gzip(sink) => sink.out_len(),
            Compressor::Snappy(sink) => sink.out_len(),
            Compressor::Lz4(sink) => sink.out_len(),
            Compressor::Zstd(sink) => sink.out_len(),
        }
    }

    pub(crate) fn finish(self) {
        match self {
            Compressor::Plain(_) => {}
            Compressor::Gzip(sink) => sink.finish(),
            Compressor::Snappy(sink) => sink.finish(),
            Compressor::Lz4(sink) => sink.finish(),
            Compressor::Zstd(sink) => sink.finish(),
        }
    }
}

/// Cuts what is written into blocks of `N` bytes, keeping in `pending` what does not fill one.
fn in_blocks<const N: usize>(
    pending: &mut Vec<u8>,
    mut bytes: &[u8],
    mut block: impl FnMut(&[u8]),
) {
    if !pending.is_empty() {
        let (head, rest) = bytes.split_at(bytes.len().min(N - pending.len()));
        pending.extend_from_slice(head);
        bytes = rest;
        if pending.len() < N {
            return;
        }
        block(pending);
        pending.clear();
    }
    let (whole, rest) = bytes.as_chunks::<N>();
    whole.iter().for_each(|chunk| block(chunk));
    pending.extend_from_slice(rest);
}

//! gzip. Memory: the 64 KiB chunk and deflate's 32 KiB window with its tables, whatever the bytes say.

use std::io::{Read as _, Write as _};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Codec, chunk_room};
use crate::error::RecordError;
use crate::workspace::Decoding;

/// Reads one gzip member after another, as Java does.
pub(super) struct GzipSource<'a> {
    decoder: MultiGzDecoder<&'a [u8]>,
    chunk: &'a mut [u8],
}

impl<'a> GzipSource<'a> {
    pub(super) fn new(payload: &'a [u8], decoding: &'a mut Decoding) -> GzipSource<'a> {
        GzipSource {
            decoder: MultiGzDecoder::new(payload),
            chunk: chunk_room(&mut decoding.chunk),
        }
    }

    pub(super) fn advance(&mut self) -> Result<usize, RecordError> {
        self.decoder
            .read(self.chunk)
            .map_err(|error| Codec::Gzip.error(error.to_string()))
    }

    pub(super) fn chunk(&self) -> &[u8] {
        self.chunk
    }
}

/// Writes one gzip member.
pub(crate) struct GzipSink<'a>(GzEncoder<&'a mut Vec<u8>>);

impl<'a> GzipSink<'a> {
    pub(super) fn new(level: i32, out: &'a mut Vec<u8>) -> GzipSink<'a> {
        let level = u32::try_from(level)
            .map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
        GzipSink(GzEncoder::new(out, level))
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.0
            .write_all(bytes)
            .expect("writing to a Vec does not fail");
    }

    pub(super) fn out_len(&self) -> usize {
        self.0.get_ref().len()
    }

    pub(super) fn finish(self) {
        self.0.finish().expect("writing to a Vec does not fail");
    }
}

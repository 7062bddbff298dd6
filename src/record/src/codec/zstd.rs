//! zstd. Memory: the 64 KiB chunk, a context of about 160 KiB, and the frame's window, whose size is
//! refused beyond [`Limits::zstd_window_log_max`] and whose pages are touched only as output fills them.

use zstd::zstd_safe::{
    self, CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective, get_error_name,
};
use zstd_safe::zstd_sys::ZSTD_EndDirective;

use super::{CHUNK_BYTES, Codec, Limits, chunk_room};
use crate::error::RecordError;
use crate::workspace::{Decoding, Encoding};

/// Reads one frame after another.
pub(super) struct ZstdSource<'a> {
    context: &'a mut DCtx<'static>,
    input: InBuffer<'a>,
    input_len: usize,
    chunk: &'a mut [u8],
    /// Whether the input so far ends with a frame.
    frame_ended: bool,
}

impl<'a> ZstdSource<'a> {
    pub(super) fn new(
        payload: &'a [u8],
        limits: &Limits,
        decoding: &'a mut Decoding,
    ) -> Result<ZstdSource<'a>, RecordError> {
        let context = decoding.zstd.get_or_insert_with(DCtx::create);
        context
            .reset(ResetDirective::SessionAndParameters)
            .map_err(error)?;
        context
            .set_parameter(DParameter::WindowLogMax(limits.zstd_window_log_max))
            .map_err(error)?;
        Ok(ZstdSource {
            context,
            input: InBuffer::around(payload),
            input_len: payload.len(),
            chunk: chunk_room(&mut decoding.chunk),
            frame_ended: true,
        })
    }

    pub(super) fn advance(&mut self) -> Result<usize, RecordError> {
        loop {
            if self.frame_ended && self.input.pos() == self.input_len {
                return Ok(0);
            }
            let at = self.input.pos();
            let mut output = OutBuffer::around(&mut *self.chunk);
            let hint = self
                .context
                .decompress_stream(&mut output, &mut self.input)
                .map_err(error)?;
            self.frame_ended = hint == 0;
            let produced = output.pos();
            if produced > 0 {
                return Ok(produced);
            }
            if self.input.pos() == at {
                return Err(Codec::Zstd.error("the bytes end inside a frame"));
            }
        }
    }

    pub(super) fn chunk(&self) -> &[u8] {
        self.chunk
    }
}

fn error(code: zstd_safe::ErrorCode) -> RecordError {
    Codec::Zstd.error(get_error_name(code))
}

/// Writes one frame.
pub(crate) struct ZstdSink<'a> {
    context: &'a mut CCtx<'static>,
    out: &'a mut Vec<u8>,
}

impl<'a> ZstdSink<'a> {
    pub(super) fn new(
        level: i32,
        out: &'a mut Vec<u8>,
        encoding: &'a mut Encoding,
    ) -> ZstdSink<'a> {
        let context = encoding.zstd.get_or_insert_with(CCtx::create);
        context
            .reset(ResetDirective::SessionAndParameters)
            .expect("a context can always be reset");
        context
            .set_parameter(CParameter::CompressionLevel(level))
            .expect("levels are checked when configured");
        ZstdSink { context, out }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.run(bytes, ZSTD_EndDirective::ZSTD_e_continue);
    }

    pub(super) fn out_len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn finish(mut self) {
        self.run(&[], ZSTD_EndDirective::ZSTD_e_end);
    }

    fn run(&mut self, bytes: &[u8], directive: ZSTD_EndDirective) {
        let mut input = InBuffer::around(bytes);
        loop {
            self.out.reserve(CHUNK_BYTES);
            let at = self.out.len();
            let mut output = OutBuffer::around_pos(&mut *self.out, at);
            let left = self
                .context
                .compress_stream2(&mut output, &mut input, directive)
                .expect("compressing into memory does not fail");
            let done = match directive {
                ZSTD_EndDirective::ZSTD_e_continue => input.pos() == bytes.len(),
                _ => left == 0,
            };
            if done {
                return;
            }
        }
    }
}

//! Each codec over any bytes: an end or an error, never more than the limit, and the same bytes
//! however they are consumed; what is compressed decompresses to itself. The first byte picks the
//! codec and the direction.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::batch::{LIMITS, WORKSPACE_BYTES_MAX};
use tailwater_fuzz::memory::bounded;
use tailwater_record::{Codec, Compression, Decompressor, RecordError, Workspace, compress};

/// All bytes, consumed `part` of a chunk at a time.
fn decompress(codec: Codec, payload: &[u8], halves: bool) -> Result<Vec<u8>, RecordError> {
    let mut workspace = Workspace::new();
    let mut bytes = Decompressor::new(codec, payload, &LIMITS, &mut workspace)?;
    let mut all = Vec::new();
    loop {
        let chunk = bytes.fill()?;
        if chunk.is_empty() {
            return Ok(all);
        }
        let part = if halves {
            chunk.len().div_ceil(2)
        } else {
            chunk.len()
        };
        all.extend_from_slice(&chunk[..part]);
        bytes.consume(part);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&pick, payload)) = input.split_first() else {
        return;
    };
    let codec = Codec::ALL[usize::from(pick & 0x7f) % Codec::ALL.len()];
    if pick & 0x80 != 0 {
        let mut packed = Vec::new();
        compress(
            Compression::of(codec),
            payload,
            &mut packed,
            &mut Workspace::new(),
        );
        assert_eq!(
            decompress(codec, &packed, false).as_deref(),
            Ok(payload),
            "{codec}"
        );
        return;
    }
    let limit = LIMITS.decompressed_bytes_max as usize;
    let bytes_max = WORKSPACE_BYTES_MAX + 2 * limit + payload.len();
    let all = bounded("a decompressor", bytes_max, || {
        decompress(codec, payload, false)
    });
    if let Ok(all) = &all {
        assert!(
            codec == Codec::None || all.len() <= limit,
            "{} bytes",
            all.len()
        );
    }
    assert_eq!(decompress(codec, payload, true), all, "{codec}");
});

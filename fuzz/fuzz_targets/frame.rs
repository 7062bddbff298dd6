//! Frames out of a stream cut anywhere are those of the stream in one piece, and cost what is
//! promised. The first two bytes decide the cuts.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::memory::bounded;
use tailwater_server::fuzzing::frames;
use tailwater_shards::sim::Simulation;
use tailwater_wire::{Request, RequestFrame};

const FRAME_BYTES_MAX: usize = 64 << 10;
/// Less than two of the largest frames need while they grow.
const MEMORY_BYTES: u64 = 96 << 10;

/// The stream in chunks of one byte to some hundred.
fn cut(stream: &[u8], mut pattern: u64) -> Vec<Bytes> {
    let mut stream = Bytes::copy_from_slice(stream);
    let mut chunks = Vec::new();
    while !stream.is_empty() {
        pattern = pattern.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let most = [1, 4, 7, 600][(pattern >> 60) as usize % 4];
        let count = 1 + (pattern >> 33) as usize % most;
        chunks.push(stream.split_to(count.min(stream.len())));
    }
    chunks
}

/// The frames of a whole stream, and whether it ends after one.
fn expected(mut stream: &[u8]) -> (Vec<&[u8]>, bool) {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length);
        let fits = usize::try_from(length)
            .ok()
            .filter(|length| (1..=FRAME_BYTES_MAX).contains(length));
        let Some((frame, rest)) = fits.and_then(|length| rest.split_at_checked(length)) else {
            break;
        };
        frames.push(frame);
        stream = rest;
    }
    (frames, stream.is_empty())
}

fuzz_target!(|input: &[u8]| {
    let Some((pattern, stream)) = input.split_first_chunk::<2>() else {
        return;
    };
    let chunks = cut(stream, u64::from(u16::from_le_bytes(*pattern)));
    // The shard's read buffer and a connection's, the frame with its next step, the frames kept.
    let bytes_max = ((5 * 64) << 10) + 4 * stream.len() + 64 * chunks.len();
    let mut simulation = Simulation::new(1);
    let (found, refused) = bounded("the frame reader", bytes_max + (64 << 10), || {
        simulation.run(frames(chunks, FRAME_BYTES_MAX, MEMORY_BYTES))
    });
    let (expected, ends_between) = expected(stream);
    assert!(
        found.iter().eq(&expected),
        "the same frames, wherever it is cut"
    );
    assert_eq!(refused.is_none(), ends_between, "{refused:?}");
    for frame in found {
        if let Ok(frame) = RequestFrame::decode(frame) {
            let _ = Request::decode(&frame.header, frame.body);
        }
    }
});

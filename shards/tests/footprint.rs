//! What buffers and packs take of this process's memory: a process of its own, so that nothing
//! else does.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests of the crate that wraps what is banned elsewhere"
)]

use std::collections::VecDeque;

use bytes::Bytes;
use tailwater_shards::{DmaBuf, Pack, RunConfig, SharedBuf, footprint, run, usable_cpus};

const TOTAL: usize = 24 << 20;
/// The process's own pages, come and gone meanwhile.
const NOISE: usize = 2 << 20;
/// What lies around in long-lived small allocations beside: a run's place in its log, say.
const BESIDE: usize = 100;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Keeps buffers of a size that come to [`TOTAL`], the oldest always replaced by a new one, until
/// all have been replaced twice. What they took, and what is counted for them.
fn kept(len: usize) -> (usize, usize) {
    let before = resident();
    let count = TOTAL / len;
    let mut buffers: VecDeque<(SharedBuf, Vec<u8>)> = VecDeque::with_capacity(count);
    for number in 0..count * 3 {
        if number >= count {
            let _oldest = buffers.pop_front();
        }
        buffers.push_back((DmaBuf::zeroed(len).freeze(), vec![1; BESIDE]));
    }
    let took = resident() - before;
    (took, (footprint(len) + BESIDE + 16) * buffers.len())
}

/// The same of parts of a pack, each of which has been written from a buffer of a block.
fn packed(len: usize) -> (usize, usize) {
    let before = resident();
    let mut pack = Pack::new(64 << 10);
    let mut chunks: VecDeque<Vec<(Bytes, Vec<u8>)>> = VecDeque::new();
    let (mut parts, mut kept) = (0, 0);
    while parts * len < 3 * TOTAL {
        let written = DmaBuf::zeroed(len.next_multiple_of(4096)).freeze();
        let part = pack.put(&written[..len]);
        if part.is_first {
            chunks.push_back(Vec::new());
            while chunks.len() * pack.chunk_bytes() > TOTAL {
                kept -= chunks.pop_front().unwrap().len();
            }
        }
        let open = chunks.back_mut().unwrap();
        open.push((part.bytes, vec![1; BESIDE]));
        (parts, kept) = (parts + 1, kept + 1);
    }
    let took = resident() - before;
    // A part's owner and its place in the list, which is up to half empty.
    let beside = BESIDE + 16 + 96 + 2 * size_of::<(Bytes, Vec<u8>)>();
    (took, chunks.len() * pack.chunk_bytes() + kept * beside)
}

#[test]
fn what_is_kept_takes_no_more_than_it_is_counted_with() {
    let cpus = usable_cpus().unwrap();
    let running = run(RunConfig::new(cpus[..1].to_vec()), |_| async {
        let small = [100, 1000, 4000, 16 << 10].map(|len| (len, "packed", packed(len)));
        let large = [16, 20, 32, 64, 128, 1024].map(|kib| (kib << 10, "own", kept(kib << 10)));
        for (len, how, (took, counted)) in small.into_iter().chain(large) {
            let (kib, of) = (took >> 10, counted >> 10);
            println!("of {len} bytes, {how}: {kib} KiB, counted {of}");
        }
        for (len, how, (took, counted)) in small.into_iter().chain(large) {
            assert!(
                took <= counted + NOISE,
                "of {len} bytes, {how}: {took} of {counted}"
            );
        }
    });
    running.unwrap().join().unwrap();
}

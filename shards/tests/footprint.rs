//! What buffers and packs take of a process's memory: each case has a process of its own, so that
//! nothing else does, and nothing that was free before is taken.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests of the crate that wraps what is banned elsewhere"
)]

use std::collections::VecDeque;
use std::process::Command;

use bytes::Bytes;
use tailwater_shards::{DmaBuf, Pack, RunConfig, SharedBuf, footprint, run, usable_cpus};

const TOTAL: usize = 24 << 20;
/// The process's own pages, come and gone meanwhile, and what glibc loses of buffers below 128 KiB:
/// up to a sixth. A block that took two would be over it.
const NOISE: usize = 5 << 20;
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

/// Says which case a process is for.
const CASE: &str = "FOOTPRINT_CASE";

/// Not those between: of parts of 16 KiB a pack takes half as much again, and buffers of 16 to 128
/// KiB up to twice what they are counted with, as glibc puts one where two had been.
const CASES: [&str; 5] = [
    "packed 100",
    "packed 1000",
    "packed 4000",
    "kept 131072",
    "kept 1048576",
];

/// In a process of its own, started by the test below; by itself it has nothing to do.
#[test]
fn one_case() {
    let Ok(case) = std::env::var(CASE) else {
        return;
    };
    let (how, len) = case.split_once(' ').unwrap();
    let (how, len): (String, usize) = (how.to_owned(), len.parse().unwrap());
    let cpus = usable_cpus().unwrap();
    let running = run(RunConfig::new(cpus[..1].to_vec()), move |_| {
        let how = how.clone();
        async move {
            let (took, counted) = match how.as_str() {
                "packed" => packed(len),
                _ => kept(len),
            };
            println!("took {} of {} KiB", took >> 10, counted >> 10);
            assert!(took > TOTAL / 2, "{took} bytes are less than what is kept");
            assert!(took <= counted + NOISE, "{took} of {counted}");
        }
    });
    running.unwrap().join().unwrap();
}

#[test]
fn what_is_kept_takes_no_more_than_it_is_counted_with() {
    for case in CASES {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "one_case", "--nocapture"]);
        let done = command.env(CASE, case).output().unwrap();
        let said = String::from_utf8_lossy(&done.stdout);
        println!("{case}: {said}");
        let told = said.contains("took ") && done.status.success();
        let why = String::from_utf8_lossy(&done.stderr);
        assert!(told, "{case}: {said} {why}");
    }
}

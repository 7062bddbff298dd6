//! Where the bytes that count are in the files that a killed broker left.
//!
//! Not: padding, files and commits of before the last checkpoint, a commit or a checkpoint that
//! nothing says had been durable (it could as well be torn), segments that are still written.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::common::disk;

const BLOCK: usize = 4096;
const HEADER: usize = 96;

/// Files and the bytes of them that count.
pub(crate) type Live = Vec<(PathBuf, Vec<Range<u64>>)>;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("long enough"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("long enough"))
}

fn range(begin: usize, end: usize) -> Range<u64> {
    begin as u64..end as u64
}

/// A commit that lies where its LSN says.
struct Commit {
    file: PathBuf,
    at: usize,
    lsn: u64,
    durable_lsn: u64,
    checkpoint: u64,
    used: usize,
}

fn commits(file: &Path) -> Vec<Commit> {
    let bytes = fs::read(file).expect("readable");
    let start_lsn = u64_at(&bytes, 58);
    let mut found = Vec::new();
    let mut at = BLOCK;
    while at + BLOCK <= bytes.len() {
        let lsn = u64_at(&bytes, at + 16);
        let here = start_lsn + (at - BLOCK) as u64;
        if &bytes[at..at + 4] != b"MCWT" || lsn != here {
            at += BLOCK;
            continue;
        }
        let entries = u32_at(&bytes, at + 48) as usize;
        let mut used = HEADER + entries * HEADER;
        if entries > 0 {
            let last = at + entries * HEADER;
            used = (u32_at(&bytes, last + 64) + u32_at(&bytes, last + 68)) as usize;
        }
        found.push(Commit {
            file: file.to_owned(),
            at,
            lsn,
            durable_lsn: u64_at(&bytes, at + 32),
            checkpoint: u64_at(&bytes, at + 52),
            used,
        });
        at += u32_at(&bytes, at + 44) as usize;
    }
    found
}

/// The groups of a checkpoint file, each with where it begins and ends, and its counter.
fn groups(file: &Path) -> (u64, Vec<(Range<u64>, u64)>) {
    let bytes = fs::read(file).expect("readable");
    let counter = u64_at(&bytes, 50);
    let mut found = Vec::new();
    let mut at = BLOCK;
    while at < bytes.len() && &bytes[at..at + 4] == b"pcWT" && u64_at(&bytes, at + 8) == counter {
        let body = u32_at(&bytes, at + 24) as usize;
        let replay_lsn = u64_at(&bytes, at + 48);
        found.push((range(at, at + 48 + body), replay_lsn));
        at += (48 + body).next_multiple_of(BLOCK);
    }
    (counter, found)
}

/// All kinds of files; of segments those with these indexes. The broker had one shard, so the last generation is that of the last name.
pub(crate) fn live(data: &Path, indexes: &[PathBuf]) -> Vec<(&'static str, Live)> {
    let in_dir = |dir: &str| -> Vec<PathBuf> {
        let all: Vec<PathBuf> = disk::files(data)
            .into_iter()
            .filter(|file| file.starts_with(data.join(dir)))
            .collect();
        let name = |file: &PathBuf| file.file_name().expect("a name").to_owned();
        let last = name(all.last().expect("something"));
        let generation = last.to_string_lossy()[..10].to_owned();
        let of_last = |file: &PathBuf| name(file).to_string_lossy().starts_with(&generation);
        all.into_iter().filter(of_last).collect()
    };
    let wal: Vec<Commit> = in_dir("wal")
        .iter()
        .flat_map(|file| commits(file))
        .collect();
    let durable_lsn = wal.iter().map(|c| c.durable_lsn).max().expect("commits");
    let testified = wal.iter().map(|c| c.checkpoint).max().expect("commits");
    let newest = in_dir("checkpoint")
        .into_iter()
        .map(|file| (groups(&file), file));
    let ((counter, groups), checkpoint) = newest.max_by_key(|((c, _), _)| *c).expect("one");
    let proven = groups
        .iter()
        .zip(1u64..)
        .filter(|(_, count)| counter << 32 | count <= testified)
        .map(|((range, _), _)| range.clone());
    let replay_lsn = groups.iter().map(|(_, lsn)| *lsn).max().expect("groups");
    let mut in_use: Live = Vec::new();
    for commit in wal
        .iter()
        .filter(|c| c.lsn >= replay_lsn && c.lsn < durable_lsn)
    {
        let live = range(commit.at, commit.at + commit.used);
        match in_use.iter_mut().find(|(file, _)| *file == commit.file) {
            Some((_, ranges)) => ranges.extend([live.start..live.start + 192, live]),
            None => in_use.push((commit.file.clone(), vec![0..BLOCK as u64, live])),
        }
    }
    let whole = |file: PathBuf| {
        let length = fs::read(&file).expect("it is there").len();
        (file, Vec::from([range(0, length)]))
    };
    // Half of the flips in headers.
    let logs = indexes.iter().map(|index| {
        let file = index.with_extension("log");
        let headers = batch_headers(&file);
        let (file, mut ranges) = whole(file);
        for _ in 0..headers.len() {
            ranges.push(ranges[0].clone());
        }
        ranges.extend(headers);
        (file, ranges)
    });
    let checkpoint_ranges = std::iter::once(range(0, BLOCK)).chain(proven).collect();
    vec![
        ("root", vec![whole(data.join("root"))]),
        ("checkpoint", vec![(checkpoint, checkpoint_ranges)]),
        ("wal", in_use),
        ("segment", logs.collect()),
        (
            "index",
            indexes.iter().map(|file| index_bytes(file)).collect(),
        ),
    ]
}

/// A snapshot's header block and its pieces, each with the header before it.
pub(crate) fn snapshot(file: &Path) -> (PathBuf, Vec<Range<u64>>) {
    let bytes = fs::read(file).expect("readable");
    let mut found = vec![range(0, BLOCK)];
    let mut at = BLOCK;
    while at < bytes.len() {
        let end = at + 16 + u32_at(&bytes, at + 8) as usize;
        found.push(range(at, end));
        at = end.next_multiple_of(BLOCK);
    }
    (file.to_path_buf(), found)
}

fn batch_headers(file: &Path) -> Vec<Range<u64>> {
    let bytes = fs::read(file).expect("readable");
    let mut found = Vec::new();
    let mut at = 0;
    while at + 61 <= bytes.len() {
        found.push(range(at, at + 61));
        let size = u32::from_be_bytes(*bytes[at + 8..].first_chunk().expect("a size"));
        at += 12 + size as usize;
    }
    found
}

/// An index's header block and its entries.
fn index_bytes(file: &Path) -> (PathBuf, Vec<Range<u64>>) {
    let bytes = fs::read(file).expect("readable");
    let entries = u32_at(&bytes, 80) as usize;
    (
        file.to_path_buf(),
        vec![range(0, BLOCK), range(BLOCK, BLOCK + entries * 16)],
    )
}

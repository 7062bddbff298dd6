//! `tailwater verify` finds every flipped byte that matters, names file and position, and finds
//! nothing in directories that were stopped or killed.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::clients::{Admin, Producer, Record};
use common::{Options, disk, scratch, verified, verify};

/// A data directory with segments, indexes, checkpoints and a log that holds what came last.
fn filled(data: &Path, killed: bool) {
    let broker = Options::new(data).start();
    let bootstrap = broker.bootstrap();
    Admin::new(&bootstrap).create("t", 4, &[("segment.bytes", "1048576")]);
    let producer = Producer::new(&bootstrap, &[("batch.num.messages", "20")]);
    let large = |n: u64| Record {
        value: Some(common::raw::Numbers(n + 1).bytes(8_000)),
        ..Record::default()
    };
    let records: Vec<_> = (0..1_000).map(large).collect();
    producer.send_all("t", 4, &records);
    if killed {
        broker.kill()
    } else {
        broker.stop_cleanly()
    }
}

/// Damaging `file` at `position` is found there; put right, it is found no more.
fn is_found(data: &Path, file: &Path, position: usize) {
    let good = fs::read(file).expect("readable");
    disk::flip(file, position);
    let before = disk::contents(data);
    let (status, said) = verified(data);
    disk::assert_unaltered(data, &before);
    fs::write(file, good).expect("written");
    let name = file.display().to_string();
    assert!(
        !status.success(),
        "byte {position} of {name} was turned unnoticed:\n{said}"
    );
    let line = said.lines().find(|line| line.contains(&name));
    let line = line.unwrap_or_else(|| panic!("{name} is not named:\n{said}"));
    let named: Option<usize> = line.split_once("at byte ").and_then(|(_, rest)| {
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    });
    let named = named.unwrap_or_else(|| panic!("no position: {line}"));
    // The position is that of the header, commit, batch or entry which the byte belongs to.
    assert!(
        named <= position,
        "byte {position} is said to be at {named}: {line}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

fn with_end(data: &Path, end: &str) -> Vec<PathBuf> {
    let files: Vec<_> = disk::files(data)
        .into_iter()
        .filter(|file| file.to_str().is_some_and(|name| name.ends_with(end)))
        .collect();
    assert!(!files.is_empty(), "no {end} in {:?}", disk::files(data));
    files
}

#[test]
fn a_directory_that_was_stopped_or_killed_is_clean() {
    for killed in [false, true] {
        let dir = scratch();
        filled(dir.path(), killed);
        let before = disk::contents(dir.path());
        verify(dir.path());
        disk::assert_unaltered(dir.path(), &before);
        // And once more after another start.
        Options::new(dir.path()).start().kill();
        verify(dir.path());
    }
}

#[test]
fn a_turned_bit_in_any_file_is_named() {
    let dir = scratch();
    filled(dir.path(), false);
    let data = dir.path();
    verify(data);
    is_found(data, &data.join("root"), 30);
    for segment in with_end(data, ".log").iter().take(2) {
        let length = length(segment);
        for position in [20, 61, length / 2, length - 1] {
            is_found(data, segment, position);
        }
    }
    let index = with_end(data, "index").remove(0);
    for position in [30, 4_096] {
        is_found(data, &index, position);
    }
    verify(data);
}

#[test]
fn a_turned_bit_in_the_log_that_a_kill_left_is_named() {
    let dir = scratch();
    filled(dir.path(), true);
    let data = dir.path();
    verify(data);
    for log in with_end(data, "1.wal") {
        // The file's own header, and the first commits, which later ones cover.
        for position in [20, 4_096, 4_200] {
            is_found(data, &log, position);
        }
    }
    verify(data);
}

#[test]
fn a_turned_bit_in_a_checkpoint_that_others_follow_is_named() {
    let dir = scratch();
    let data = dir.path();
    let broker = Options::new(data).flag("--wal-size", "32MiB").start();
    let bootstrap = broker.bootstrap();
    Admin::new(&bootstrap).create("t", 4, &[]);
    let producer = Producer::new(&bootstrap, &[("batch.num.messages", "100")]);
    let record = Record {
        value: Some(common::raw::Numbers(1).bytes(10_000)),
        ..Record::default()
    };
    // Several times what the log holds, which only checkpoints can free.
    for _ in 0..8 {
        producer.send_all("t", 4, &vec![record.clone(); 2_000]);
    }
    broker.stop_cleanly();
    verify(data);
    let files = with_end(&data.join("checkpoint"), "");
    let long = files.iter().filter(|file| length(file) > 12_288);
    let long: Vec<_> = long.collect();
    assert!(!long.is_empty(), "several checkpoints in a file");
    for checkpoint in long {
        // The first one's header and body; the last one of a file might be torn.
        is_found(data, checkpoint, 4_100);
        is_found(data, checkpoint, 4_200);
    }
    verify(data);
}

fn length(file: &Path) -> usize {
    usize::try_from(fs::metadata(file).expect("it is there").len()).expect("small")
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let dir = scratch();
    let (status, said) = verified(dir.path());
    assert!(!status.success());
    assert!(said.contains("is not a data directory"), "{said}");
    let (status, said) = verified(&dir.path().join("nowhere"));
    assert!(!status.success());
    assert!(said.contains("nowhere"), "{said}");
}

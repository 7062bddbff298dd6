//! A coordinator that begins with a snapshot of its groups: flipped bits in it cost a longer load, and
//! no offset is another than was committed.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use crate::common::clients::Admin;
use crate::common::{self, Broker, Options, disk, eventually, raw};
use crate::{Flip, Tally, flip};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 4;
const GROUPS: usize = 40;
/// So many make a snapshot due, and some come after it.
const COMMITS: usize = 90;
/// The most that a broker takes is 4,096.
const METADATA_BYTES: usize = 4_000;

const OFFSET_COMMIT: i16 = 8;
const OFFSET_FETCH: i16 = 9;
const FIND_COORDINATOR: i16 = 10;

fn options(data: &Path) -> Options {
    Options::new(data)
        .flag("--shards", "1")
        .set("offsets.topic.num.partitions", "1")
}

fn group(number: usize) -> String {
    format!("group-{number}")
}

/// What was committed last of each group's partitions.
fn committed(number: usize) -> Vec<i64> {
    let last = (0..COMMITS).rev().find(|commit| commit % GROUPS == number);
    let last = last.expect("each group has one") as i64;
    (0..i64::from(PARTITIONS))
        .map(|it| 10 * last + it)
        .collect()
}

/// A directory with a snapshot of groups and commits behind it, of a broker that was killed: the
/// snapshot's path.
pub(crate) fn fill(data: &Path) -> PathBuf {
    let broker = options(data).start();
    Admin::new(&broker.bootstrap()).create(TOPIC, PARTITIONS, &[]);
    let mut stream = broker.connect();
    let mut key = Vec::new();
    raw::string(&mut key, "group");
    eventually("a coordinator", || {
        let find = raw::request(FIND_COORDINATOR, 0, 1, &key);
        let answer = raw::call(&mut stream, &find).expect("answered");
        (raw::i16_at(&answer, 4) == 0).then_some(())
    });
    for number in 0..COMMITS {
        let request = commit(number);
        // A coordinator that is still loading says so.
        eventually("a commit", || {
            let answer = raw::call(&mut stream, &request).expect("answered");
            let errors = (0..4).map(|it| raw::i16_at(&answer, 4 + 4 + 2 + 1 + 4 + 6 * it + 4));
            errors.clone().all(|error| error == 0).then_some(())
        });
    }
    let snapshot = eventually("a snapshot", || {
        let files = disk::files(data).into_iter();
        files.into_iter().find(|file| file.ends_with("snapshot"))
    });
    broker.kill();
    snapshot
}

/// OffsetCommit of version 2: all partitions of one group.
fn commit(number: usize) -> Vec<u8> {
    let mut body = Vec::new();
    raw::string(&mut body, &group(number % GROUPS));
    body.extend((-1i32).to_be_bytes());
    raw::string(&mut body, "");
    body.extend((-1i64).to_be_bytes());
    body.extend(1i32.to_be_bytes());
    raw::string(&mut body, TOPIC);
    body.extend(PARTITIONS.to_be_bytes());
    for partition in 0..PARTITIONS {
        body.extend(partition.to_be_bytes());
        let offset = 10 * number as i64 + i64::from(partition);
        body.extend(offset.to_be_bytes());
        raw::string(&mut body, &"m".repeat(METADATA_BYTES));
    }
    raw::request(OFFSET_COMMIT, 2, 1, &body)
}

/// OffsetFetch of version 1: the offsets of a group's partitions; none while it is loaded.
fn fetch(stream: &mut TcpStream, number: usize) -> Option<Vec<i64>> {
    let mut body = Vec::new();
    raw::string(&mut body, &group(number));
    body.extend(1i32.to_be_bytes());
    raw::string(&mut body, TOPIC);
    body.extend(PARTITIONS.to_be_bytes());
    for partition in 0..PARTITIONS {
        body.extend(partition.to_be_bytes());
    }
    let request = raw::request(OFFSET_FETCH, 1, 1, &body);
    let answer = raw::call(stream, &request).expect("answered");
    let mut at = 4 + 4 + 2 + TOPIC.len() + 4;
    let mut offsets = Vec::new();
    for _ in 0..PARTITIONS {
        let offset = i64::from_be_bytes(*answer[at + 4..].first_chunk().expect("an offset"));
        let length = usize::try_from(raw::i16_at(&answer, at + 12)).expect("metadata");
        at += 4 + 8 + 2 + length;
        if raw::i16_at(&answer, at) != 0 {
            return None;
        }
        at += 2;
        offsets.push(offset);
    }
    Some(offsets)
}

/// All offsets of all groups.
fn served(broker: &Broker) -> Vec<Vec<i64>> {
    let mut stream = broker.connect();
    let of_group = |number| eventually("offsets", || fetch(&mut stream, number));
    (0..GROUPS).map(of_group).collect()
}

/// Starts on a directory: what its groups have committed, and what it said.
fn start(data: &Path) -> (Vec<Vec<i64>>, String) {
    let log = data.with_extension("said");
    let broker = options(data)
        .log(&log, "warn,tailwater_broker=info")
        .start();
    let served = served(&broker);
    broker.kill();
    (served, fs::read_to_string(&log).expect("a log"))
}

fn all() -> Vec<Vec<i64>> {
    (0..GROUPS).map(committed).collect()
}

/// Undamaged, the snapshot is read, and everything is there.
pub(crate) fn expect_all(copy: &Path) {
    common::verify(copy);
    let (served, said) = start(copy);
    assert_eq!(served, all());
    let read = said.contains("snapshot_bytes=") && !said.contains("snapshot_bytes=0");
    assert!(read, "no snapshot was read: {said}");
}

/// Flips a bit of the snapshot, which has to be named, and to cost nothing.
pub(crate) fn judge(at: &Flip, copy: &Path, tally: &mut Tally) -> Result<(), String> {
    let damaged = copy.join(at.relative);
    flip(&damaged, at.position, at.mask);
    tally.flips += 1;
    let (status, verified) = common::verified(copy);
    let (served, said) = start(copy);
    let told = format!("verify: {verified}\nstart: {said}");
    if served != all() {
        return Err(format!("other offsets than were committed: {told}"));
    }
    let left_aside = said.contains("left aside");
    if status.success() && !left_aside {
        tally.not_live += 1;
        return match at.aimed {
            true => Err(format!("nobody notices: {told}")),
            false => Ok(()),
        };
    }
    tally.detected += 1;
    let names = |told: &str| at.is_named(told, &damaged);
    if !names(&verified) || !names(&said) {
        return Err(format!("file and position are not named: {told}"));
    }
    tally.named += 1;
    tally.contained += 1;
    Ok(())
}

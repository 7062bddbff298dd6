//! Flipped bits in every kind of file of a real data directory: each is found, named with its file,
//! position and partition, contained to what it touched, and never served.
//!
//! A broker is killed in the middle of its work; then for each flip, in a copy of what it left:
//! `tailwater verify`, a start, and a read of every partition. What is served is exact, byte for
//! byte, or there is an error.
//!
//! The flips are aimed at bytes that count (`aim.rs`): nothing else can be asked of the others. One
//! more in each kind goes anywhere: it may cost nothing, but what it costs is named as well.
//!
//! `cargo test --test damage -- --flips 60` makes so many in each kind of file, `--seed` others;
//! without arguments it is a short run, so that `cargo test` stays quick.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout
)]

mod aim;
#[path = "../common/mod.rs"]
mod common;
mod groups;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::clients::Admin;
use common::raw::{self, Numbers};
use common::{Options, disk, scratch};

const TOPIC: &str = "t";
const PARTITIONS: i32 = 4;

/// What came of the flips in one kind of file.
#[derive(Debug, Default)]
struct Tally {
    flips: usize,
    detected: usize,
    named: usize,
    contained: usize,
    not_live: usize,
    starts_refused: usize,
    partitions_out_of_service: usize,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    if arguments.iter().any(|a| a == "--list") {
        return;
    }
    let (flips, seed) = (value("--flips").unwrap_or(4), value("--seed").unwrap_or(1));
    let dir = scratch();
    let data = dir.path().join("data");
    let closed = fill(&data);
    common::verify(&data);
    let copy = dir.path().join("copy");
    replicate(&data, &copy);
    let (expected, _) = start(&copy);
    let expected = expected.expect("it starts undamaged");
    assert!(expected.values().all(|(b, e)| *e == 0 && !b.is_empty()));
    let mut rounds = Rounds {
        flips,
        numbers: Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        failures: Vec::new(),
    };
    println!(
        "seed {seed}: flips, detected, named, contained, not live; starts refused, partitions out of service"
    );
    for (kind, files) in aim::live(&data, &closed) {
        rounds.strike(&data, &copy, kind, &files, |flip, tally| {
            flip.run(&copy, &expected, kind, tally)
        });
    }
    let data = dir.path().join("groups");
    let snapshot = groups::fill(&data);
    replicate(&data, &copy);
    groups::expect_all(&copy);
    let files = vec![aim::snapshot(&snapshot)];
    rounds.strike(&data, &copy, "snapshot", &files, |flip, tally| {
        groups::judge(flip, &copy, tally)
    });
    assert!(rounds.failures.is_empty(), "{:#?}", rounds.failures);
    println!("no flipped bit was served, and none that counts went unnamed");
}

/// Flips to be made in each kind of file, and what went wrong.
struct Rounds {
    flips: u64,
    numbers: Numbers,
    failures: Vec<String>,
}

impl Rounds {
    /// Flips bits in files of one kind, each in a copy of its own, and prints what came of it.
    fn strike(
        &mut self,
        data: &Path,
        copy: &Path,
        kind: &str,
        files: &aim::Live,
        judge: impl Fn(&Flip, &mut Tally) -> Result<(), String>,
    ) {
        assert!(!files.is_empty(), "no {kind} with anything live in it");
        let numbers = &mut self.numbers;
        let mut tally = Tally::default();
        for number in 0..=self.flips {
            let (file, ranges) = pick(files, numbers);
            let aimed = number < self.flips;
            let position = match aimed {
                true => {
                    let range = pick(ranges, numbers);
                    range.start + numbers.below(range.end - range.start)
                }
                false => numbers.below(fs::metadata(file).expect("it is there").len()),
            };
            let flip = Flip {
                relative: file.strip_prefix(data).expect("below it"),
                position,
                mask: 1u8 << numbers.below(8),
                aimed,
            };
            replicate(data, copy);
            if let Err(what) = judge(&flip, &mut tally) {
                let told = format!("{kind}: {flip:?}: {what}");
                println!("{told}");
                self.failures.push(told);
            }
        }
        println!(
            "{kind}: {}, {}, {}, {}, {}; {}, {}",
            tally.flips,
            tally.detected,
            tally.named,
            tally.contained,
            tally.not_live,
            tally.starts_refused,
            tally.partitions_out_of_service
        );
    }
}

fn pick<'a, T>(of: &'a [T], numbers: &mut Numbers) -> &'a T {
    &of[usize::try_from(numbers.below(of.len() as u64)).expect("few")]
}

/// A directory with whole segments and their indexes, several checkpoints, and a WAL in use, which
/// has freed files already. Gives the segments that were whole at the last clean stop: what came
/// later may be in the WAL as well.
fn fill(data: &Path) -> Vec<PathBuf> {
    let broker = options(data).start();
    Admin::new(&broker.bootstrap()).create(TOPIC, PARTITIONS, &[("segment.bytes", "1048576")]);
    produce(&broker, 600);
    broker.stop_cleanly();
    let is_index = |file: &PathBuf| file.to_string_lossy().ends_with(".index");
    let whole = disk::files(data).into_iter().filter(is_index).collect();
    let broker = options(data).start();
    produce(&broker, 800);
    broker.kill();
    whole
}

fn produce(broker: &common::Broker, batches: i32) {
    let mut stream = broker.connect();
    let mut numbers = Numbers(7);
    for number in 0..batches {
        let length = 10_000 + numbers.below(30_000);
        let value = numbers.bytes(usize::try_from(length).expect("small"));
        let produce = raw::produce(TOPIC, number % PARTITIONS, -1, &raw::batch(&value));
        let answer = raw::call(&mut stream, &produce).expect("answered");
        assert_eq!(raw::produce_error(&answer, TOPIC), 0);
    }
}

fn options(data: &Path) -> Options {
    Options::new(data)
        .flag("--wal-size", "32MiB")
        .flag("--shards", "1")
}

/// What every partition serves: its batches, and the error code that came after them.
type Served = BTreeMap<i32, (Vec<u8>, i16)>;

fn served(broker: &common::Broker) -> Served {
    let mut stream = broker.connect();
    let read = |partition| {
        let (mut all, mut offset) = (Vec::new(), 0);
        loop {
            let request = raw::fetch(TOPIC, partition, offset, 0);
            let answer = raw::call(&mut stream, &request).expect("answered");
            let error = raw::fetch_error(&answer, TOPIC);
            // After it: high watermark, last stable offset, aborted transactions, length.
            let at = 4 + 4 + 4 + 2 + TOPIC.len() + 4 + 4 + 2 + 8 + 8 + 4 + 4;
            let records = answer.get(at..).unwrap_or_default();
            if error != 0 || records.is_empty() {
                return (partition, (all, error));
            }
            for batch in tailwater_record::batches(records) {
                let batch = batch.expect("a whole batch");
                offset = batch.header.next_offset();
                all.extend_from_slice(&records[batch.range]);
            }
        }
    };
    (0..PARTITIONS).map(read).collect()
}

/// A copy that shares nothing with the original; holes stay holes.
fn replicate(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let copied = Command::new("cp")
        .args(["-r", "--sparse=always"])
        .arg(from)
        .arg(to)
        .status();
    assert!(copied.expect("cp runs").success());
}

#[derive(Debug)]
struct Flip<'a> {
    relative: &'a Path,
    position: u64,
    mask: u8,
    /// At something that counts.
    aimed: bool,
}

impl Flip<'_> {
    fn run(
        &self,
        copy: &Path,
        expected: &Served,
        kind: &str,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let damaged = copy.join(self.relative);
        flip(&damaged, self.position, self.mask);
        tally.flips += 1;
        let (status, said) = common::verified(copy);
        let (served, log) = start(copy);
        let told = format!("verify: {said}\nstart: {log}");
        if told.contains("panicked") {
            return Err(format!("something panics: {told}"));
        }
        let mut touched = Vec::new();
        match &served {
            None => tally.starts_refused += 1,
            Some(served) => {
                for (partition, (bytes, error)) in served {
                    let (whole, _) = &expected[partition];
                    if !whole.starts_with(bytes) {
                        return Err(format!("partition {partition} serves what was never there"));
                    }
                    if bytes.len() < whole.len() {
                        touched.push((*partition, *error));
                    }
                }
            }
        }
        let out_of_service = touched.iter().filter(|(_, error)| *error != 0);
        tally.partitions_out_of_service += out_of_service.count();
        let costs = served.is_none() || !touched.is_empty();
        if status.success() && !costs {
            tally.not_live += 1;
            return match self.aimed {
                true => Err(format!("nobody notices: {told}")),
                false => Ok(()),
            };
        }
        tally.detected += 1;
        if !self.is_named(&told, &damaged) {
            return Err(format!("file and position are not named: {told}"));
        }
        for (partition, error) in &touched {
            let names = [format!("-{partition} "), format!("/{partition}/")];
            if *error == 0 || !names.iter().any(|name| told.contains(name)) {
                return Err(format!(
                    "partition {partition} ends early with error {error}, unnamed: {told}"
                ));
            }
        }
        tally.named += 1;
        // A batch, an entry or a commit of one: every produce has been alone in its commit.
        let most = match kind {
            "root" | "checkpoint" => usize::try_from(PARTITIONS).expect("few"),
            "index" => 0,
            _ => 1,
        };
        if touched.len() > most || (served.is_none() && !matches!(kind, "root" | "checkpoint")) {
            return Err(format!("it is not contained: {touched:?} {told}"));
        }
        tally.contained += 1;
        Ok(())
    }

    /// A line names the file with a position at or before the flip: that of its commit, batch,
    /// entry or group.
    fn is_named(&self, told: &str, damaged: &Path) -> bool {
        let name = format!("{} is damaged at byte ", damaged.display());
        told.match_indices(&name).any(|(at, name)| {
            let digits = told[at + name.len()..].split(|c: char| !c.is_ascii_digit());
            let named = digits
                .into_iter()
                .next()
                .and_then(|d| d.parse::<u64>().ok());
            named.is_some_and(|named| named <= self.position)
        })
    }
}

fn flip(file: &Path, position: u64, mask: u8) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(file)
        .expect("writable");
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).expect("a byte");
    file.write_all_at(&[byte[0] ^ mask], position)
        .expect("flipped");
}

/// Starts, reads everything and kills it: what was served, if it served, and what was said.
fn start(data: &Path) -> (Option<Served>, String) {
    let log: PathBuf = data.with_extension("said");
    let options = options(data).log(&log, "warn");
    let said = || fs::read_to_string(&log).expect("a log");
    // A start that is refused is no reason to print a backtrace.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let broker = std::panic::catch_unwind(|| options.start());
    std::panic::set_hook(hook);
    let Ok(broker) = broker else {
        return (None, said());
    };
    let served = served(&broker);
    let block = broker.block.clone();
    broker.kill();
    (Some(served), block + &said())
}

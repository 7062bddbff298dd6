//! The checks can fail: each planted bug of the broker is caught by histories that know nothing of
//! it, within so many fresh seeds, by a property that it breaks; and the same history without the
//! bug holds.

use std::sync::Mutex;

use tailwater_shards::planted::Planted;
use tailwater_sim::{Options, Violation, run};

/// The bugs, and the properties that each is to be caught by.
const BUGS: [(Planted, &[&str]); 25] = [
    (Planted::TimeIndexOffByOne, &["timestamps"]),
    (Planted::AckOneBeforeWrite, &["acknowledged"]),
    (Planted::HighWatermarkTooFar, &["durable", "watermarks"]),
    (
        Planted::HighWatermarkFollowsWritten,
        &["durable", "watermarks"],
    ),
    (
        Planted::FetchPassesHighWatermark,
        &["durable", "watermarks"],
    ),
    (Planted::FetchNotWoken, &["woken"]),
    (
        Planted::DedupWindowOffByOne,
        &["duplicates", "once_in_order"],
    ),
    (Planted::DuplicateAnsweredEarly, &["durable"]),
    (Planted::SequenceGapAccepted, &["once_in_order"]),
    (
        Planted::ProducersForgotten,
        &["duplicates", "once_in_order"],
    ),
    (Planted::ProducerIdsReused, &["producer_ids"]),
    (Planted::EpochNotRaised, &["epochs"]),
    (Planted::DeletedTopicReplayed, &["metadata"]),
    (Planted::CreateAnsweredEarly, &["metadata"]),
    (Planted::DeleteAnsweredEarly, &["metadata"]),
    (Planted::PartitionsAnsweredEarly, &["metadata"]),
    (Planted::ConfigAnsweredEarly, &["metadata"]),
    (Planted::LogStartAnsweredEarly, &["log_start"]),
    (Planted::GroupAnsweredEarly, &["group_offsets"]),
    (
        Planted::GroupEpochNotWritten,
        &["group_epochs", "group_owners"],
    ),
    (Planted::LateCommitAnswered, &["group_offsets"]),
    (
        Planted::DamagedSnapshotTrusted,
        &["group_offsets", "group_epochs", "group_owners"],
    ),
    (Planted::NewestRecordDropped, &["compacted"]),
    (Planted::TombstoneRemovedTooEarly, &["compacted"]),
    (Planted::OldSegmentUnlinkedFirst, &["compacted"]),
];

/// No bug is given more seeds than these.
const SEEDS_MAX: u64 = 3000;

/// How many seeds it took, and what did not hold.
fn caught(bug: Planted, wanted: &[&str], first: u64) -> Option<(u64, Violation)> {
    let planted = Options {
        planted: Some(bug),
        ..Options::default()
    };
    (1..=SEEDS_MAX).find_map(|count| {
        let violation = run(first + count, &planted).err()?;
        let holds_without = || run(first + count, &Options::default()).is_ok();
        let is_right = wanted.contains(&violation.property) && holds_without();
        is_right.then_some((count, violation))
    })
}

/// `PLANTED_FROM=SEED` searches from that seed on, `PLANTED=NAME` for one bug alone.
#[test]
fn each_planted_bug_is_caught() {
    let from = std::env::var("PLANTED_FROM").ok();
    let first: u64 = from.map_or(0, |from| from.parse().unwrap());
    let only = std::env::var("PLANTED").ok();
    let asked = |(bug, _): &(Planted, _)| only.as_ref().is_none_or(|name| *name == bug.name());
    let left: Vec<_> = BUGS.into_iter().rev().filter(asked).collect();
    assert!(!left.is_empty(), "no such bug");
    let (left, rows) = (Mutex::new(left), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((bug, wanted)) = left.lock().unwrap().pop() else {
                        break;
                    };
                    let found = caught(bug, wanted, first);
                    rows.lock().unwrap().push((bug, found));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(bug, _)| *bug);
    let mut missed = Vec::new();
    for (bug, found) in rows {
        match found {
            Some((seeds, violation)) => {
                let said: String = violation.message.chars().take(110).collect();
                println!(
                    "{:<30} {seeds:>5} {}: {said}",
                    bug.name(),
                    violation.property
                );
            }
            None => missed.push(bug),
        }
    }
    assert!(
        missed.is_empty(),
        "not caught in {SEEDS_MAX} seeds: {missed:?}"
    );
}

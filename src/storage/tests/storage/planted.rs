//! The checks can fail: each planted bug of storage is caught by the histories of `crashes`, which
//! know nothing of it, within so many fresh seeds.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use tailwater_shards::planted::{self, Planted};

use crate::{compaction, corruption, crashes, rot};

/// The bugs that can be planted in storage and lie within reach of its own histories.
const BUGS: [Planted; 33] = [
    Planted::AckBeforeSync,
    Planted::SyncCoversLaterWrites,
    Planted::WalFreedTooEarly,
    Planted::WalHeaderNotSynced,
    Planted::WalDirectoryNotSynced,
    Planted::CarryLost,
    Planted::EndNotWitnessed,
    Planted::WitnessAhead,
    Planted::TornTailAccepted,
    Planted::RotTakenForTornTail,
    Planted::StaleCommitPastSeal,
    Planted::TailServedBeforeSync,
    Planted::GenerationNotDurable,
    Planted::WrongOwnerAfterReshard,
    Planted::SegmentDirectoryNotSynced,
    Planted::SegmentNotSynced,
    Planted::HalfRunInSegment,
    Planted::RecordLostAtRoll,
    Planted::ReadStuckAtRoll,
    Planted::TrimmedOneTooFar,
    Planted::TrimmedBeforeLogStartDurable,
    Planted::DamagedIndexTrusted,
    Planted::CheckpointNotSynced,
    Planted::CheckpointPassesTail,
    Planted::LogStartLostAtCheckpoint,
    Planted::SnapshotSkipsMetadata,
    Planted::RetentionByClockJump,
    Planted::CachedNeverFlushed,
    Planted::OldSegmentUnlinkedFirst,
    Planted::TombstoneRemovedTooEarly,
    Planted::NewestRecordDropped,
    Planted::ActiveSegmentCleaned,
    Planted::LastSequenceCleaned,
];

/// Those of compaction, which has histories of its own.
const OF_COMPACTION: [Planted; 5] = [
    Planted::OldSegmentUnlinkedFirst,
    Planted::TombstoneRemovedTooEarly,
    Planted::NewestRecordDropped,
    Planted::ActiveSegmentCleaned,
    Planted::LastSequenceCleaned,
];

/// The bugs that take more than a few seeds, and the seed before the first that catches each: a test
/// run begins there, a search where it is told.
const REMEMBERED: [(Planted, u64); 3] = [
    (Planted::EndNotWitnessed, 86),
    (Planted::TrimmedBeforeLogStartDurable, 257),
    (Planted::DamagedIndexTrusted, 554),
];

/// No bug is given more seeds than these.
const SEEDS_MAX: u64 = 3000;

thread_local! {
    static SEARCHING: Cell<bool> = const { Cell::new(false) };
    /// What the first panic of the history at hand said.
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What a history said when it failed. Rot has histories of its own, by turns with the others.
fn failure(bug: Planted, seed: u64) -> Option<String> {
    SAID.set(None);
    let run = || match seed % 4 {
        // For a commit to come back, the power must fail twice in the right moments.
        _ if bug == Planted::StaleCommitPastSeal => corruption::a_torn_commit_comes_back(seed),
        // A witness tells of most of what is cut off: what is left to see is who suffers with it.
        _ if bug == Planted::RotTakenForTornTail => {
            corruption::a_rotten_record_hides_nothing_behind_it(seed);
        }
        _ if OF_COMPACTION.contains(&bug) => compaction::history(seed),
        3 if (seed / 4).is_multiple_of(2) => rot::history(seed / 8),
        3 => rot::end_is_lost(seed / 8),
        _ => crashes::history(seed),
    };
    catch_unwind(AssertUnwindSafe(run)).err()?;
    Some(SAID.take().unwrap_or_default())
}

/// Keeps what the first panic of a search says, in place of printing it.
fn keep_what_panics_say() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !SEARCHING.get() {
            return before(info);
        }
        let said = info
            .payload_as_str()
            .unwrap_or("a panic without a sentence");
        SAID.with_borrow_mut(|kept| kept.get_or_insert_with(|| said.to_owned()).truncate(4000));
    }));
}

/// How many seeds it took, and what was said.
fn caught(bug: Planted, first: u64) -> Option<(u64, String)> {
    SEARCHING.set(true);
    planted::set(Some(bug));
    let found = (1..=SEEDS_MAX).find_map(|count| Some((count, failure(bug, first + count)?)));
    planted::set(None);
    found
}

fn remembered(bug: Planted) -> u64 {
    let known = REMEMBERED.iter().find(|(known, _)| *known == bug);
    known.map_or(0, |(_, seed)| *seed)
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let said = line.split_once(" ns: ").map_or(line, |(_, said)| said);
    said.chars().take(110).collect()
}

/// `PLANTED_FROM=SEED` searches from that seed on for all, `PLANTED=NAME` for one bug alone.
#[test]
fn each_planted_bug_is_caught() {
    keep_what_panics_say();
    let from: Option<u64> = std::env::var("PLANTED_FROM")
        .ok()
        .map(|from| from.parse().unwrap());
    let first = |bug| from.unwrap_or_else(|| remembered(bug));
    let only = std::env::var("PLANTED").ok();
    let wanted = |bug: &Planted| only.as_ref().is_none_or(|name| *name == bug.name());
    let left: Vec<Planted> = BUGS.into_iter().rev().filter(wanted).collect();
    assert!(!left.is_empty(), "no such bug");
    let (left, rows) = (Mutex::new(left), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(bug) = left.lock().unwrap().pop() else {
                        break;
                    };
                    let found = caught(bug, first(bug));
                    rows.lock().unwrap().push((bug, found));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort();
    let mut missed = Vec::new();
    for (bug, found) in rows {
        match found {
            Some((seeds, said)) => println!("{:<30} {seeds:>5} {}", bug.name(), first_line(&said)),
            None => missed.push(bug),
        }
    }
    assert!(
        missed.is_empty(),
        "not caught in {SEEDS_MAX} seeds: {missed:?}"
    );
}

//! What was acknowledged as durable is there after any crash: all of it, once, in order.

use std::time::Duration;

use tailwater_shards::sim::{CutKind, CutMoment, Ending};

use crate::harness::World;

const HOUR_MS: u64 = 3_600_000;

/// Gives a history one of three loads: the usual one, one that moves log starts all the time over
/// small segments, and one that rests at times and keeps records for an hour by a clock that is
/// set back: `true`.
fn vary(world: &mut World, seed: u64) -> bool {
    match seed / 4 % 3 {
        0 => {}
        1 => {
            world.load.log_starts = 100;
            world.load.log.segment_bytes = 24 << 10;
        }
        _ => {
            world.load.log.retention_ms = HOUR_MS as i64;
            world.load.rests = 10;
        }
    }
    seed / 4 % 3 == 2
}

/// Starts again and again, each time cut at another operation, with other shard counts.
fn crash_again_and_again(seed: u64, kinds: &[CutKind], starts: u32) {
    let mut world = World::new(seed);
    let jumps = vary(&mut world, seed);
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    for _ in 0..starts {
        let kind = kinds[next(kinds.len() as u64) as usize];
        let moment = if next(2) == 0 {
            CutMoment::Submitted
        } else {
            CutMoment::Completed
        };
        // Early cuts hit recovery itself, late ones a WAL that has been recycled.
        let nth = match next(3) {
            0 => next(60) + 1,
            1 => next(400) + 1,
            _ => next(3000) + 1,
        };
        world.sim.cut_at_io(nth, moment, kind);
        if jumps {
            // Back only: what is younger than the clock says is not old.
            world.sim.jump_wall_clock(-(next(3 * HOUR_MS) as i64));
        }
        let shards = u16::try_from(next(3) + 1).unwrap();
        let process = world.boot(shards);
        let ending = world.ended(process);
        assert!(
            matches!(ending, Ending::Killed | Ending::PowerCut),
            "{ending:?}"
        );
        if next(2) == 0 {
            world.sim.run_for(Duration::from_millis(next(3000)));
        }
        if next(3) == 0 {
            world.verify_if_begun();
        }
    }
    world.check(1);
}

#[test]
fn a_clean_stop_keeps_everything() {
    for seed in 0..5 {
        let mut world = World::new(seed);
        for shards in [2, 3, 1] {
            world.load.steps = Some(300);
            let process = world.boot(shards);
            let ending = world.ended(process);
            assert!(matches!(ending, Ending::Returned), "{ending:?}");
        }
        world.check(2);
    }
}

#[test]
fn kills_lose_nothing_that_was_written() {
    for seed in 0..40 {
        crash_again_and_again(seed, &[CutKind::Kill], 6);
    }
}

#[test]
fn power_cuts_lose_nothing_that_was_durable() {
    for seed in 0..40 {
        crash_again_and_again(1000 + seed, &[CutKind::PowerCut], 6);
    }
}

#[test]
fn kills_and_power_cuts_mixed_lose_nothing_that_was_durable() {
    for seed in 0..40 {
        crash_again_and_again(2000 + seed, &[CutKind::Kill, CutKind::PowerCut], 8);
    }
}

/// More seeds than a test run has time for: `STORAGE_SEEDS=from..to cargo test ... more_seeds`.
#[test]
fn more_seeds_when_asked() {
    let Ok(range) = std::env::var("STORAGE_SEEDS") else {
        return;
    };
    let (from, to) = range.split_once("..").unwrap();
    for seed in from.parse::<u64>().unwrap()..to.parse::<u64>().unwrap() {
        history(seed);
    }
}

/// One history of a seed, of any kind.
pub fn history(seed: u64) {
    let kinds: &[CutKind] = match seed % 4 {
        0 => &[CutKind::Kill],
        1 => &[CutKind::PowerCut],
        _ => &[CutKind::Kill, CutKind::PowerCut],
    };
    crash_again_and_again(seed, kinds, 10);
}

//! Some thousand histories, none of which breaks a property, and that a seed gives one history.

use tailwater_sim::{Options, Stats, run};

/// How many seeds are run, from 0 on.
const HISTORIES: u64 = 2000;
/// So many of a hundred must be large enough to count.
const COUNTED_PERCENT_MIN: u64 = 95;

fn stats(seed: u64) -> Stats {
    run(seed, &Options::default()).unwrap_or_else(|violation| panic!("{violation}"))
}

/// How many of the seeds `from`, `from + step` and so on count.
fn counted(from: u64, step: usize) -> u64 {
    let seeds = (from..HISTORIES).step_by(step);
    seeds.map(|seed| u64::from(stats(seed).counts())).sum()
}

#[test]
fn every_property_holds_in_some_thousand_histories() {
    let counted = std::thread::scope(|scope| {
        let odd = scope.spawn(|| counted(1, 2));
        counted(0, 2) + odd.join().expect("no property is broken")
    });
    assert!(
        counted * 100 >= HISTORIES * COUNTED_PERCENT_MIN,
        "only {counted} of {HISTORIES} histories were large enough to count"
    );
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    assert_eq!(stats(7).trace, stats(7).trace);
    assert_ne!(stats(7).trace, stats(8).trace);
}

//! Some thousand histories, none of which breaks a property, and that a seed gives one history.

use tailwater_sim::{Options, Stats, run};

/// How many seeds are run, from 0 on.
const HISTORIES: u64 = 2000;
/// So many of a hundred must be large enough to count.
const COUNTED_PERCENT_MIN: u64 = 95;
/// So many must have a start that cannot tell all that is lost, and go on after it.
const DOUBTFUL_MIN: u64 = 20;

fn stats(seed: u64) -> Stats {
    run(seed, &Options::default()).unwrap_or_else(|violation| panic!("{violation}"))
}

/// Of the seeds `from`, `from + step` and so on, how many count, and how many had a start that could
/// not tell all that was lost.
fn counted(from: u64, step: usize) -> (u64, u64) {
    let seeds = (from..HISTORIES).step_by(step).map(stats);
    let is_one = |stats: Stats| (u64::from(stats.counts()), u64::from(stats.doubts > 0));
    seeds
        .map(is_one)
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[test]
fn every_property_holds_in_some_thousand_histories() {
    let (counted, doubtful) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| counted(1, 2));
        let even = counted(0, 2);
        let odd = odd.join().expect("no property is broken");
        (even.0 + odd.0, even.1 + odd.1)
    });
    assert!(
        counted * 100 >= HISTORIES * COUNTED_PERCENT_MIN,
        "only {counted} of {HISTORIES} histories were large enough to count"
    );
    assert!(
        doubtful >= DOUBTFUL_MIN,
        "in {doubtful} histories only could a start not tell all that was lost"
    );
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    assert_eq!(stats(7).trace, stats(7).trace);
    assert_ne!(stats(7).trace, stats(8).trace);
}

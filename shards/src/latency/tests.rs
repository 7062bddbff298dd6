use std::cell::RefCell;
use std::rc::Rc;

use super::*;
use crate::sim::Simulation;

#[test]
fn every_time_lies_in_its_bucket_and_buckets_are_an_eighth_of_it_at_most() {
    let mut begins = 0;
    for bucket in 0..BUCKETS {
        let ends = bucket_ends_at(bucket);
        assert!(ends > begins);
        assert_eq!(bucket_of(begins), bucket);
        assert_eq!(bucket_of(ends - 1), bucket);
        assert!(ends - begins <= (begins / 8).max(256));
        begins = ends;
    }
    assert!(begins > 240_000_000_000, "four minutes have a bucket");
    assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
}

#[test]
fn powers_of_two_are_where_buckets_end() {
    for exponent in 10..37 {
        let nanos = 1_u64 << exponent;
        assert_eq!(bucket_ends_at(bucket_of(nanos - 1)), nanos);
    }
}

fn times(stages: &[(Stage, u64)]) -> StageTimes {
    let mut times = StageTimes::default();
    for (stage, nanos) in stages {
        times.add(*stage, *nanos);
    }
    times
}

#[test]
fn a_request_is_as_long_as_its_stages() {
    let once = times(&[(Stage::Check, 5), (Stage::Sync, 7), (Stage::Check, 1)]);
    assert_eq!(once.total(), 13);
    assert_eq!(once.of(Stage::Check), Some(6));
    assert_eq!(once.of(Stage::Mesh), None);
    assert_eq!(times(&[(Stage::Mesh, 0)]).of(Stage::Mesh), Some(0));
}

/// A hundred short requests on one shard, and on the other one that waited long for its sync.
fn recorded() -> Latencies {
    let mut simulation = Simulation::new(1);
    let seen = Rc::new(RefCell::new(None));
    let of_the_process = Rc::clone(&seen);
    simulation.boot(2, move |me| {
        *of_the_process.borrow_mut() = Some(crate::figures().latencies);
        record_on(me)
    });
    simulation.run(crate::sleep(std::time::Duration::from_secs(1)));
    let all = seen.borrow_mut().take();
    all.expect("it was started")
}

async fn record_on(me: ShardId) {
    if me.0 == 0 {
        for _ in 0..100 {
            record_latency(3, &times(&[(Stage::Check, 2_000), (Stage::Sync, 100_000)]));
        }
    } else {
        let long = times(&[(Stage::Check, 3_000), (Stage::Sync, 50_000_000)]);
        record_latency(3, &long);
        record_latency(KINDS_MAX, &long);
    }
}

#[test]
fn shards_record_apart_and_are_merged() {
    let all = recorded();
    assert_eq!(all.shards(), 2);
    let mut both = all.snapshot(ShardId(0), 3).expect("recorded");
    assert_eq!(both.count(), 100);
    let other = all.snapshot(ShardId(1), 3).expect("recorded");
    assert_eq!(other.count(), 1);
    both.merge(&other);
    assert_eq!(both.count(), 101);
    let total = both.total();
    assert_eq!(total.sum_ns, 100 * 102_000 + 50_003_000);
    assert_eq!(total.count(), 101);
    assert_eq!(total.count_below(1 << 17), 100);
    assert_eq!(both.stage(Stage::Sync).count(), 101);
    assert_eq!(both.stage(Stage::Mesh).count(), 0);
    assert_eq!(all.snapshot(ShardId(0), 4), None);
    assert_eq!(all.snapshot(ShardId(0), KINDS_MAX), None);
}

#[test]
fn a_percentile_tells_where_its_requests_spent_their_time() {
    let all = recorded();
    let mut both = all.snapshot(ShardId(0), 3).expect("recorded");
    both.merge(&all.snapshot(ShardId(1), 3).expect("recorded"));
    let median = both.at_percentile(50.0).expect("there are requests");
    assert_eq!(median.requests, 100);
    assert!(median.from_ns <= 102_000 && 102_000 < median.below_ns);
    assert_eq!(median.stages_ns[Stage::Check as usize], 2_000);
    assert_eq!(median.stages_ns[Stage::Sync as usize], 100_000);
    for percent in [99.9, 100.0, 1e9] {
        let tail = both.at_percentile(percent).expect("there are requests");
        assert_eq!(tail.requests, 1);
        assert_eq!(tail.stages_ns[Stage::Sync as usize], 50_000_000);
        assert_eq!(tail.stages_ns[Stage::Check as usize], 3_000);
    }
}

#[test]
fn names_of_stages_are_distinct_and_stand_at_their_places() {
    for (place, stage) in Stage::ALL.iter().enumerate() {
        assert_eq!(*stage as usize, place);
        let same = |other: &&Stage| other.name() == stage.name();
        assert_eq!(Stage::ALL.iter().filter(same).count(), 1);
    }
}

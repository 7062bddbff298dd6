use super::harness::*;
use crate::error_code as code;
use crate::fetch::{FETCH_BYTES_FREE, FetchRequest};
use std::time::Duration;
use tailwater_shards::sim::{IoKind, Matching};

fn parked(partitions: &[(&str, i32, i64)], min_bytes: i32) -> FetchRequest {
    FetchRequest {
        max_wait: 60 * SECOND,
        min_bytes,
        ..fetch_request(partitions)
    }
}

#[test]
fn a_parked_fetch_wakes_for_a_record_of_any_owner() {
    let mut machine = Machine::new(1, 2);
    machine.create("t", 4, &[]);
    for partition in 0..4 {
        let wanted: Vec<(&str, i32, i64)> = (0..4)
            .map(|other| ("t", other, i64::from(other < partition)))
            .collect();
        let call = machine.begin_fetch(0, parked(&wanted, 1));
        machine.sim.run_for(SECOND);
        assert!(!call.is_done());
        let before = machine.sim.now();
        machine
            .produce(1, "t", partition, -1, batch(&["x"]))
            .unwrap();
        let outcome = machine.finish(call);
        assert!(
            machine.sim.now() - before < SECOND,
            "it did not wait for its end"
        );
        assert_eq!(
            outcome.partitions.len(),
            4,
            "a full answer has every partition"
        );
        let with_records: Vec<i32> = outcome
            .partitions
            .iter()
            .filter(|fetched| fetched.bytes() > 0)
            .map(|fetched| fetched.partition)
            .collect();
        assert_eq!(with_records, [partition]);
    }
}

#[test]
fn parked_fetches_cost_nothing_while_nothing_comes() {
    let mut machine = Machine::new(2, 2);
    machine.create("t", 2, &[]);
    let calls: Vec<_> = (0..100)
        .map(|count| machine.begin_fetch(count % 2, parked(&[("t", 0, 0), ("t", 1, 0)], 1)))
        .collect();
    machine.sim.run_for(SECOND);
    // Storage has its own timers: they are counted without fetches first.
    let steps = |machine: &mut Machine| {
        let before = machine.sim.trace_steps();
        machine.sim.run_for(10 * SECOND);
        machine.sim.trace_steps() - before
    };
    let with_fetches = steps(&mut machine);
    machine.produce(0, "t", 0, -1, batch(&["x"])).unwrap();
    for call in calls {
        assert_eq!(
            machine.finish(call).partitions[0].bytes(),
            batch(&["x"]).len()
        );
    }
    machine.sim.run_for(SECOND);
    let without_fetches = steps(&mut machine);
    // A fetch that looked just once in these ten seconds would add a hundred; storage's own timers
    // differ by a few.
    assert!(
        with_fetches <= without_fetches + 50,
        "{with_fetches} steps against {without_fetches}"
    );
}

#[test]
fn the_wait_is_for_min_bytes_over_all_owners() {
    let mut machine = Machine::new(3, 2);
    machine.create("t", 2, &[]);
    let size = i32::try_from(batch(&["x"]).len()).unwrap();
    let call = machine.begin_fetch(0, parked(&[("t", 0, 0), ("t", 1, 0)], 3 * size));
    machine.produce(0, "t", 0, -1, batch(&["x"])).unwrap();
    machine.produce(0, "t", 1, -1, batch(&["x"])).unwrap();
    machine.sim.run_for(SECOND);
    assert!(!call.is_done());
    machine.produce(0, "t", 1, -1, batch(&["x"])).unwrap();
    let outcome = machine.finish(call);
    assert_eq!(
        outcome
            .partitions
            .iter()
            .map(|fetched| fetched.bytes())
            .sum::<usize>(),
        3 * batch(&["x"]).len()
    );
}

#[test]
fn a_fetch_ends_with_what_there_is_when_its_wait_is_over() {
    let mut machine = Machine::new(4, 2);
    machine.create("t", 2, &[]);
    machine.produce(0, "t", 1, -1, batch(&["x"])).unwrap();
    let begun = machine.sim.now();
    let request = FetchRequest {
        max_wait: 5 * SECOND,
        ..parked(&[("t", 0, 0), ("t", 1, 0)], 1 << 20)
    };
    let outcome = machine.fetch(0, request);
    let waited = machine.sim.now() - begun;
    assert!((5 * SECOND..6 * SECOND).contains(&waited), "{waited:?}");
    assert_eq!(values_of(&outcome.partitions[1].records), ["x"]);
}

#[test]
fn a_deletion_ends_a_parked_fetch() {
    let mut machine = Machine::new(5, 2);
    machine.create("t", 2, &[]);
    let call = machine.begin_fetch(0, parked(&[("t", 0, 0), ("t", 1, 0)], 1));
    machine.sim.run_for(SECOND);
    machine.delete("t").unwrap();
    let outcome = machine.finish(call);
    for fetched in outcome.partitions {
        assert_eq!(
            fetched.error.unwrap().code(),
            code::UNKNOWN_TOPIC_OR_PARTITION
        );
    }
}

#[test]
fn a_stop_of_the_broker_ends_a_parked_fetch() {
    let mut machine = Machine::new(6, 2);
    machine.create("t", 1, &[]);
    let call = machine.begin_fetch(0, parked(&[("t", 0, 0)], 1));
    machine.sim.run_for(SECOND);
    let before = machine.sim.now();
    machine.restart_cleanly(2);
    assert!(machine.sim.now() - before < 30 * SECOND);
    let fetched = machine.finish(call).partitions.remove(0);
    assert_eq!(fetched.error.unwrap().code(), code::NOT_LEADER_OR_FOLLOWER);
}

#[test]
fn the_first_batch_comes_whatever_the_limits_say_and_no_second() {
    let mut machine = Machine::new(7, 2);
    machine.create("t", 4, &[]);
    for partition in 0..4 {
        for _ in 0..3 {
            machine
                .produce(0, "t", partition, -1, batch(&["x"]))
                .unwrap();
        }
    }
    let wanted: Vec<_> = (0..4).map(|partition| ("t", partition, 0)).collect();
    let request = FetchRequest {
        max_bytes: 1,
        ..fetch_request(&wanted)
    };
    let outcome = machine.fetch(0, request);
    assert_eq!(
        outcome
            .partitions
            .iter()
            .map(|fetched| fetched.bytes())
            .sum::<usize>(),
        batch(&["x"]).len()
    );
    let mut request = fetch_request(&wanted);
    for wanted in &mut request.partitions {
        wanted.max_bytes = i32::try_from(2 * batch(&["x"]).len()).unwrap();
    }
    let outcome = machine.fetch(0, request);
    assert!(
        outcome
            .partitions
            .iter()
            .all(|fetched| fetched.bytes() == 2 * batch(&["x"]).len())
    );
}

#[test]
fn no_answer_is_larger_than_fetch_max_bytes() {
    let mut machine = Machine::with(7, 2, &[("fetch.max.bytes", "2000")]);
    machine.create("t", 4, &[]);
    let value = "x".repeat(900);
    let one = batch(&[&value]);
    for partition in 0..4 {
        machine.produce(0, "t", partition, -1, one.clone()).unwrap();
    }
    let wanted: Vec<_> = (0..4).map(|partition| ("t", partition, 0)).collect();
    let outcome = machine.fetch(0, fetch_request(&wanted));
    let bytes: usize = outcome.partitions.iter().map(|p| p.bytes()).sum();
    assert_eq!(bytes, 2 * one.len());
}

#[test]
fn the_first_with_anything_gets_a_batch_larger_than_its_owners_share() {
    let mut machine = Machine::new(7, 2);
    machine.create("t", 4, &[]);
    let (large, small) = ("x".repeat(5_000), "y".repeat(10));
    for partition in 0..4 {
        let value = if partition % 2 == 0 { &large } else { &small };
        machine
            .produce(0, "t", partition, -1, batch(&[value]))
            .unwrap();
    }
    for first in 0..4 {
        let wanted: Vec<_> = (0..4).map(|n| ("t", (first + n) % 4, 0)).collect();
        let request = FetchRequest {
            max_bytes: 2_000,
            ..fetch_request(&wanted)
        };
        let outcome = machine.fetch(0, request);
        let bytes = |partition: i32| {
            let mut fetched = outcome.partitions.iter();
            let fetched = fetched.find(|fetched| fetched.partition == partition);
            fetched.unwrap().bytes()
        };
        let value = if first % 2 == 0 { &large } else { &small };
        assert_eq!(bytes(first), batch(&[value]).len(), "{first}");
        let all: usize = (0..4).map(bytes).sum();
        assert!(all <= 2_000 || all == batch(&[&large]).len(), "{all}");
    }
}

#[test]
fn a_fetch_does_not_wait_for_what_it_has_no_room_for() {
    let mut machine = Machine::new(7, 2);
    machine.create("t", 4, &[]);
    let value = "x".repeat(900);
    for _ in 0..20 {
        machine.produce(0, "t", 0, -1, batch(&[&value])).unwrap();
    }
    let wanted: Vec<_> = (0..4).map(|partition| ("t", partition, 0)).collect();
    let request = FetchRequest {
        max_wait: Duration::from_secs(5),
        min_bytes: 9_000,
        max_bytes: 10_000,
        ..fetch_request(&wanted)
    };
    let before = machine.sim.now();
    let outcome = machine.fetch(0, request);
    assert!(machine.sim.now() - before < Duration::from_secs(1));
    let bytes: usize = outcome.partitions.iter().map(|p| p.bytes()).sum();
    assert!((4_000..=10_000).contains(&bytes), "{bytes}");
}

#[test]
fn who_reads_little_or_nothing_does_not_wait_in_the_line_for_reply_memory() {
    let mut machine = Machine::new(7, 2);
    machine.create("t", 4, &[]);
    for partition in 0..4 {
        machine
            .produce(0, "t", partition, -1, batch(&["x"]))
            .unwrap();
    }
    let large = "x".repeat(FETCH_BYTES_FREE);
    machine.produce(0, "t", 0, -1, batch(&[&large])).unwrap();
    // Others hold all of it, and stand still.
    let held = machine.on(0, |broker| async move {
        let memory = broker.inner.replies.borrow().clone();
        memory.reserve(memory.reply_bytes_max(), false).await
    });
    let everything: Vec<_> = (0..4).map(|partition| ("t", partition, 0)).collect();
    let outcome = machine.fetch(0, fetch_request(&everything));
    let read: Vec<_> = outcome.partitions.iter().map(|p| p.bytes() > 0).collect();
    assert_eq!(read, [true; 4]);
    assert!(
        outcome
            .partitions
            .iter()
            .all(|p| p.bytes() < FETCH_BYTES_FREE)
    );

    // One that parks is woken and answered too.
    let waits = machine.begin_fetch(0, parked(&[("t", 1, 1)], 1));
    machine.sim.run_for(SECOND);
    assert!(!waits.is_done());
    machine.produce(1, "t", 1, -1, batch(&["y"])).unwrap();
    assert!(machine.finish(waits).partitions[0].bytes() > 0);

    // A batch that is not as small is waited for.
    let waits = machine.begin_fetch(0, parked(&[("t", 0, 1)], 1));
    machine.sim.run_for(SECOND);
    assert!(!waits.is_done());
    drop(held);
    assert!(machine.finish(waits).partitions[0].bytes() > FETCH_BYTES_FREE);
}

#[test]
fn who_would_have_to_read_the_disk_waits_in_the_line_for_reply_memory_however_little_it_is() {
    let mut machine = Machine::new(9, 2);
    machine.create("t", 2, &[]);
    machine.produce(0, "t", 0, -1, batch(&["x"])).unwrap();
    // More than the tail cache's share of the 8 MiB that a shard has.
    let large = "x".repeat(400_000);
    for _ in 0..18 {
        machine.produce(0, "t", 0, -1, batch(&[&large])).unwrap();
    }
    machine.produce(0, "t", 1, -1, batch(&["y"])).unwrap();
    let held = machine.on(0, |broker| async move {
        let memory = broker.inner.replies.borrow().clone();
        memory.reserve(memory.reply_bytes_max(), false).await
    });
    let waits = machine.begin_fetch(0, parked(&[("t", 0, 0)], 1));
    machine.sim.run_for(SECOND);
    assert!(!waits.is_done(), "a crowd would read the disk unbounded");
    // What memory has comes without, before what it does not have; but not when that has its turn.
    let outcome = machine.fetch(0, fetch_request(&[("t", 1, 0), ("t", 0, 0)]));
    let read: Vec<_> = outcome.partitions.iter().map(|p| p.bytes() > 0).collect();
    assert_eq!(read, [true, false]);
    let starves = machine.begin_fetch(0, fetch_request(&[("t", 0, 0), ("t", 1, 0)]));
    machine.sim.run_for(SECOND);
    assert!(!starves.is_done(), "what lies on the disk has its turn");
    drop(held);
    for waited in [waits, starves] {
        let outcome = machine.finish(waited);
        assert!(outcome.partitions.iter().all(|p| p.bytes() > 0));
    }
}

#[test]
fn offsets_and_epochs_out_of_range_are_told_as_kafka_does() {
    let mut machine = Machine::new(8, 2);
    machine.create("t", 1, &[]);
    machine.produce(0, "t", 0, -1, batch(&["x"])).unwrap();
    machine.restart_after_kill(2);
    machine.produce(0, "t", 0, -1, batch(&["y"])).unwrap();
    let ask = |machine: &mut Machine, offset: i64, epoch: i32, last_epoch: i32| {
        let mut request = fetch_request(&[("t", 0, offset)]);
        request.partitions[0].current_leader_epoch = epoch;
        request.partitions[0].last_fetched_epoch = last_epoch;
        machine.fetch(0, request).partitions.remove(0)
    };
    let code_of =
        |fetched: crate::fetch::FetchedPartition| fetched.error.map_or(0, |error| error.code());
    assert_eq!(
        code_of(ask(&mut machine, 3, -1, -1)),
        code::OFFSET_OUT_OF_RANGE
    );
    assert_eq!(
        code_of(ask(&mut machine, -1, -1, -1)),
        code::OFFSET_OUT_OF_RANGE
    );
    assert_eq!(code_of(ask(&mut machine, 2, -1, -1)), 0);
    assert_eq!(
        code_of(ask(&mut machine, 0, 0, -1)),
        code::FENCED_LEADER_EPOCH
    );
    assert_eq!(
        code_of(ask(&mut machine, 0, 2, -1)),
        code::UNKNOWN_LEADER_EPOCH
    );
    assert_eq!(code_of(ask(&mut machine, 0, 1, -1)), 0);
    assert_eq!(ask(&mut machine, 2, 1, 0).diverging_epoch, Some((0, 1)));
    assert_eq!(ask(&mut machine, 2, 1, 1).diverging_epoch, None);
    let unknown = machine.fetch(0, fetch_request(&[("nope", 0, 0), ("t", 9, 0)]));
    for fetched in unknown.partitions {
        assert_eq!(code_of(fetched), code::UNKNOWN_TOPIC_OR_PARTITION);
    }
}

#[test]
fn deleted_records_are_gone_for_readers_and_the_lowest_offset_is_durable() {
    let mut machine = Machine::new(9, 2);
    machine.create("t", 2, &[]);
    for partition in 0..2 {
        machine
            .produce(0, "t", partition, -1, batch(&["a", "b", "c"]))
            .unwrap();
        machine
            .produce(0, "t", partition, -1, batch(&["d"]))
            .unwrap();
    }
    let delete = |machine: &mut Machine, partition: i32, offset: i64| {
        machine.on(0, move |broker| async move {
            let topic = broker.image().resolve_name("t");
            let part = crate::offsets::DeleteRecords {
                topic,
                partition,
                offset,
            };
            broker.delete_records(vec![part], SECOND).await.remove(0)
        })
    };
    for partition in 0..2 {
        assert_eq!(delete(&mut machine, partition, 3), Ok(3));
        assert_eq!(
            delete(&mut machine, partition, 2),
            Ok(3),
            "it never goes back"
        );
        assert_eq!(
            delete(&mut machine, partition, 5).unwrap_err().code(),
            code::OFFSET_OUT_OF_RANGE
        );
        assert_eq!(
            delete(&mut machine, partition, -2).unwrap_err().code(),
            code::OFFSET_OUT_OF_RANGE
        );
    }
    assert_eq!(delete(&mut machine, 1, -1), Ok(4));
    machine.restart_after_power_cut(2);
    assert_eq!(machine.list_offset("t", 0, -2).unwrap().offset, 3);
    assert_eq!(machine.list_offset("t", 1, -2).unwrap().offset, 4);
    assert_eq!(machine.values("t", 0, 3), ["d"]);
    let below = machine
        .fetch(0, fetch_request(&[("t", 0, 2)]))
        .partitions
        .remove(0);
    assert_eq!(below.error.unwrap().code(), code::OFFSET_OUT_OF_RANGE);
}

#[test]
fn a_log_start_that_moved_already_is_told_only_once_it_is_durable() {
    let mut machine = Machine::new(9, 2);
    machine.create("t", 1, &[]);
    let records = ["a", "b", "c"];
    machine.produce(0, "t", 0, -1, batch(&records)).unwrap();
    let delete = |machine: &mut Machine, offset: i64| {
        machine.begin(0, move |broker| async move {
            let part = crate::offsets::DeleteRecords {
                topic: broker.image().resolve_name("t"),
                partition: 0,
                offset,
            };
            broker.delete_records(vec![part], SECOND).await.remove(0)
        })
    };
    let syncs = Matching::kind(IoKind::Sync);
    machine.sim.faults().slow(syncs, 100, SECOND / 2);
    let first = delete(&mut machine, 3);
    machine.sim.run_for(SECOND / 100);
    // Nothing is left to move for this one; but a power cut now would bring its records back.
    let second = delete(&mut machine, 2);
    machine.sim.run_for(SECOND / 10);
    assert_eq!((first.is_done(), second.is_done()), (false, false));
    machine.sim.faults().clear();
    assert_eq!(machine.finish(first), Ok(3));
    assert_eq!(machine.finish(second), Ok(3));
}

#[test]
fn offsets_are_listed_as_kafka_lists_them() {
    let mut machine = Machine::new(10, 2);
    machine.create("t", 1, &[]);
    let found = |machine: &mut Machine, timestamp| {
        let found = machine.list_offset("t", 0, timestamp).unwrap();
        (found.offset, found.timestamp)
    };
    assert_eq!(
        [
            found(&mut machine, -1),
            found(&mut machine, -2),
            found(&mut machine, -3)
        ],
        [(0, -1), (0, -1), (-1, -1)]
    );
    machine.produce(0, "t", 0, -1, batch(&["a", "b"])).unwrap();
    machine.sim.run_for(Duration::from_millis(1));
    assert_eq!(found(&mut machine, -1), (2, -1));
    assert_eq!(found(&mut machine, -2), (0, -1));
    assert_eq!(found(&mut machine, -3), (0, 1000));
    assert_eq!(found(&mut machine, -4), (0, -1));
    assert_eq!(found(&mut machine, -5), (-1, -1));
    assert_eq!(found(&mut machine, -6), (-1, -1));
    assert_eq!(found(&mut machine, 999), (0, 1000));
    assert_eq!(found(&mut machine, 1001), (-1, -1));
    let error = machine.list_offset("t", 0, -7).unwrap_err();
    assert_eq!(error.code(), code::UNSUPPORTED_VERSION);
}

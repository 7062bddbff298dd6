use super::harness::*;
use crate::error_code as code;
use crate::offsets::EpochQuery;

/// What a client did and was told: values acknowledged at acks=all, by partition.
fn produce_some(machine: &mut Machine, round: i32, acknowledged: &mut [Vec<String>]) {
    for count in 0..10 {
        for (partition, values) in (0..).zip(acknowledged.iter_mut()) {
            let value = format!("{round}-{count}");
            let shard = u16::try_from(count % 2).unwrap();
            let sequence = round * 10 + count;
            let batch = idempotent_batch(5, 0, sequence, &[&value]);
            let produced = machine.produce(shard, "t", partition, -1, batch).unwrap();
            assert_eq!(produced.base_offset, i64::from(sequence));
            values.push(value);
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_after_kills_power_cuts_and_stops_on_other_numbers_of_shards() {
    let mut machine = Machine::new(1, 2);
    machine.create("t", 3, &[]);
    let mut acknowledged = vec![Vec::new(); 3];
    for (round, shards) in (0..).zip([2_u16, 3, 2, 4]) {
        produce_some(&mut machine, round, &mut acknowledged);
        match round % 3 {
            0 => machine.restart_after_kill(shards),
            1 => machine.restart_after_power_cut(shards),
            _ => machine.restart_cleanly(shards),
        }
        for (partition, values) in (0..).zip(&acknowledged) {
            assert_eq!(
                &machine.values("t", partition, 0),
                values,
                "partition {partition} after round {round}"
            );
        }
    }
}

#[test]
fn a_producer_that_goes_on_after_a_crash_writes_nothing_twice() {
    let mut machine = Machine::new(2, 2);
    machine.create("t", 1, &[]);
    for sequence in 0..8 {
        machine
            .produce(0, "t", 0, -1, idempotent_batch(5, 0, sequence, &["x"]))
            .unwrap();
    }
    for round in 0..3 {
        match round {
            0 => machine.restart_after_kill(2),
            1 => machine.restart_after_power_cut(2),
            _ => machine.restart_cleanly(2),
        }
        // The answers to the last five may have been lost: they are sent again.
        for sequence in 3..8 {
            let produced = machine
                .produce(1, "t", 0, -1, idempotent_batch(5, 0, sequence, &["x"]))
                .unwrap();
            assert_eq!(produced.base_offset, i64::from(sequence));
        }
        let refusal = machine
            .produce(1, "t", 0, -1, idempotent_batch(5, 0, 9, &["x"]))
            .unwrap_err();
        assert_eq!(refusal.error.code(), code::OUT_OF_ORDER_SEQUENCE_NUMBER);
    }
    assert_eq!(machine.list_offset("t", 0, -1).unwrap().offset, 8);
}

#[test]
fn each_start_has_an_epoch_of_its_own_and_its_end_is_told() {
    let mut machine = Machine::new(3, 2);
    machine.create("t", 1, &[]);
    for _ in 0..3 {
        machine.produce(0, "t", 0, -1, batch(&["x", "y"])).unwrap();
        machine.restart_after_kill(2);
    }
    let ask = |machine: &mut Machine, leader_epoch: i32, current_leader_epoch: i32| {
        machine.on(1, move |broker| async move {
            let topic = broker.image().resolve_name("t");
            let query = EpochQuery {
                topic,
                partition: 0,
                current_leader_epoch,
                leader_epoch,
            };
            broker.epoch_ends(vec![query]).await.remove(0)
        })
    };
    for epoch in 0..3 {
        let end = ask(&mut machine, epoch, -1).unwrap();
        assert_eq!(
            (end.leader_epoch, end.end_offset),
            (epoch, 2 * i64::from(epoch) + 2)
        );
    }
    assert_eq!(
        ask(&mut machine, 0, 2).unwrap_err().code(),
        code::FENCED_LEADER_EPOCH
    );
    assert_eq!(
        ask(&mut machine, 0, 4).unwrap_err().code(),
        code::UNKNOWN_LEADER_EPOCH
    );
    let unknown = ask(&mut machine, 99, 3).unwrap();
    assert_eq!((unknown.leader_epoch, unknown.end_offset), (-1, -1));
    assert_eq!(machine.list_offset("t", 0, -1).unwrap().leader_epoch, 3);
}

#[test]
fn topics_configurations_and_their_ids_survive_a_power_cut() {
    let mut machine = Machine::new(4, 2);
    machine.create("t", 3, &[("retention.ms", "12345")]);
    let of = |machine: &mut Machine| {
        machine.on(1, |broker| async move {
            broker.image().topic("t").unwrap().as_ref().clone()
        })
    };
    let before = of(&mut machine);
    machine.restart_after_power_cut(3);
    assert_eq!(of(&mut machine), before);
    assert_eq!(before.config.retention_ms, 12345);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut machine = Machine::new(5, 2);
        machine.create("t", 3, &[]);
        let mut acknowledged = vec![Vec::new(); 3];
        produce_some(&mut machine, 0, &mut acknowledged);
        machine.restart_after_power_cut(2);
        machine.values("t", 0, 0);
        machine.sim.trace_hash()
    };
    assert_eq!(run(), run());
}

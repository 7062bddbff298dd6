//! Random runs: many clients, crashes in their midst, and a model that remembers what was told.

use super::harness::*;
use crate::error_code as code;
use crate::produce::ProduceOutcome;
use std::collections::BTreeMap;

const PARTITIONS: i32 = 4;

/// A generator for the test's own choices.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// An idempotent producer, one a partition: it sends again what was not answered.
struct Producer {
    partition: i32,
    next_sequence: i32,
    /// Values by offset, as acknowledged.
    acknowledged: BTreeMap<i64, String>,
}

/// Batches in flight: partition, sequence and value of each.
type Sent = (Call<ProduceOutcome>, i32, i32, String);

fn send(machine: &mut Machine, choices: &mut Choices, producer: &Producer, ahead: i32) -> Sent {
    let sequence = producer.next_sequence + ahead;
    let value = format!("{}:{sequence}", producer.partition);
    let batch = idempotent_batch(i64::from(producer.partition), 0, sequence, &[&value]);
    let shard = u16::try_from(choices.below(u64::from(machine.shards()))).unwrap();
    let call = machine.begin_produce(shard, "t", -1, vec![(producer.partition, batch)]);
    (call, producer.partition, sequence, value)
}

/// Takes answers that have come. What is refused as out of order overtook one before it on another
/// shard's way: it is sent again, as clients do.
fn take_answers(producers: &mut [Producer], sent: Vec<Sent>, machine: &mut Machine, finish: bool) {
    for (call, partition, sequence, value) in sent {
        if !finish && !call.is_done() {
            continue;
        }
        let producer = &mut producers[usize::try_from(partition).unwrap()];
        match machine.finish(call).parts.remove(0) {
            Ok(produced) => {
                let told = producer
                    .acknowledged
                    .insert(produced.base_offset, value.clone());
                assert!(
                    told.is_none_or(|told| told == value),
                    "an offset is told for one record"
                );
                if sequence == producer.next_sequence {
                    producer.next_sequence += 1;
                }
            }
            Err(refusal) => assert_eq!(refusal.error.code(), code::OUT_OF_ORDER_SEQUENCE_NUMBER),
        }
    }
}

fn check(machine: &mut Machine, producers: &[Producer]) {
    for producer in producers {
        let values = machine.values("t", producer.partition, 0);
        for (offset, value) in &producer.acknowledged {
            assert_eq!(
                &values[usize::try_from(*offset).unwrap()],
                value,
                "what was acknowledged is where it was"
            );
        }
        let sequences: Vec<i32> = values
            .iter()
            .map(|value| value.split(':').nth(1).unwrap().parse().unwrap())
            .collect();
        assert!(
            sequences.is_sorted_by(|a, b| a + 1 == *b),
            "nothing twice and no gap: {sequences:?}"
        );
    }
}

fn run(seed: u64) -> u64 {
    let mut choices = Choices(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut machine = Machine::new(seed, 2);
    machine.create("t", PARTITIONS, &[("retention.ms", "-1")]);
    let mut producers: Vec<Producer> = (0..PARTITIONS)
        .map(|partition| Producer {
            partition,
            next_sequence: 0,
            acknowledged: BTreeMap::new(),
        })
        .collect();
    for _ in 0..8 {
        for _ in 0..5 {
            let mut sent = Vec::new();
            for producer in &producers {
                for ahead in 0..i32::try_from(choices.below(4)).unwrap() {
                    sent.push(send(&mut machine, &mut choices, producer, ahead));
                }
            }
            take_answers(&mut producers, sent, &mut machine, true);
        }
        let mut sent = Vec::new();
        for producer in &producers {
            sent.push(send(&mut machine, &mut choices, producer, 0));
        }
        machine
            .sim
            .run_for(std::time::Duration::from_micros(choices.below(400)));
        take_answers(&mut producers, sent, &mut machine, false);
        let shards = 1 + u16::try_from(choices.below(3)).unwrap();
        match choices.below(3) {
            0 => machine.restart_after_kill(shards),
            1 => machine.restart_after_power_cut(shards),
            _ => machine.restart_cleanly(shards),
        }
        check(&mut machine, &producers);
    }
    machine.sim.trace_hash()
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_over_random_crashes() {
    for seed in 0..30 {
        run(seed);
    }
}

#[test]
fn a_random_run_is_the_same_each_time() {
    assert_eq!(run(7), run(7));
}

use super::harness::*;
use crate::broker::FORWARDED_FETCHES_MAX;
use crate::error_code as code;
use crate::fetch::{FetchOutcome, FetchRequest, SessionCache};
use crate::metadata::TopicKey;

/// A consumer with a session.
struct Consumer {
    shard: u16,
    id: i32,
    epoch: i32,
}

impl Consumer {
    /// Asks for a session over those partitions.
    fn begin(
        machine: &mut Machine,
        shard: u16,
        partitions: &[(&str, i32, i64)],
    ) -> (Self, FetchOutcome) {
        let request = FetchRequest {
            session_epoch: 0,
            ..fetch_request(partitions)
        };
        let outcome = machine.fetch(shard, request);
        let consumer = Self {
            shard,
            id: outcome.session_id,
            epoch: 1,
        };
        (consumer, outcome)
    }

    fn request(&mut self, changed: &[(&str, i32, i64)]) -> FetchRequest {
        let request = FetchRequest {
            session_id: self.id,
            session_epoch: self.epoch,
            ..fetch_request(changed)
        };
        self.epoch += 1;
        request
    }

    fn fetch(&mut self, machine: &mut Machine, changed: &[(&str, i32, i64)]) -> FetchOutcome {
        let request = self.request(changed);
        machine.fetch(self.shard, request)
    }
}

fn partitions_of(outcome: &FetchOutcome) -> Vec<i32> {
    assert_eq!(outcome.error, None);
    outcome
        .partitions
        .iter()
        .map(|fetched| fetched.partition)
        .collect()
}

fn code_of(outcome: &FetchOutcome) -> i16 {
    outcome.error.as_ref().map_or(0, |error| error.code())
}

const ALL: [(&str, i32, i64); 4] = [("t", 0, 0), ("t", 1, 0), ("t", 2, 0), ("t", 3, 0)];

#[test]
fn an_incremental_answer_has_only_what_changed() {
    let mut machine = Machine::new(1, 2);
    machine.create("t", 4, &[]);
    let (mut consumer, first) = Consumer::begin(&mut machine, 0, &ALL);
    assert!(consumer.id > 0);
    assert_eq!(partitions_of(&first), [0, 1, 2, 3]);
    assert_eq!(partitions_of(&consumer.fetch(&mut machine, &[])), [0; 0]);
    machine.produce(1, "t", 2, -1, batch(&["x"])).unwrap();
    let outcome = consumer.fetch(&mut machine, &[]);
    assert_eq!(partitions_of(&outcome), [2]);
    assert_eq!(values_of(&outcome.partitions[0].records), ["x"]);
    // The same again until the client says that it has it.
    assert_eq!(partitions_of(&consumer.fetch(&mut machine, &[])), [2]);
    assert_eq!(
        partitions_of(&consumer.fetch(&mut machine, &[("t", 2, 1)])),
        [0; 0]
    );
    assert_eq!(consumer.fetch(&mut machine, &[]).session_id, consumer.id);
}

#[test]
fn a_partition_taken_back_right_after_it_was_forgotten_is_watched() {
    let mut machine = Machine::new(3, 2);
    machine.create("t", 4, &[]);
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL);
    consumer.fetch(&mut machine, &[]);
    for (place, all) in ALL.iter().enumerate() {
        let partition = all.1;
        let mut forgets = consumer.request(&[]);
        forgets.forgotten = vec![(TopicKey::Name("t".into()), partition)];
        let takes_back = consumer.request(&[*all]);
        // One after the other, and nothing else in between.
        machine.on(0, |broker| async move {
            broker.fetch(forgets).await;
            broker.fetch(takes_back).await;
        });
        machine
            .produce(1, "t", partition, -1, batch(&["x"]))
            .unwrap();
        let outcome = consumer.fetch(&mut machine, &[]);
        assert!(partitions_of(&outcome).contains(&partition), "{place}");
        consumer.fetch(&mut machine, &[("t", partition, 1)]);
    }
}

#[test]
fn a_moved_log_start_is_news() {
    let mut machine = Machine::new(2, 2);
    machine.create("t", 4, &[]);
    machine.produce(1, "t", 3, -1, batch(&["x"])).unwrap();
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL);
    consumer.fetch(&mut machine, &[("t", 3, 1)]);
    machine.on(0, |broker| async move {
        let topic = broker.image().resolve_name("t");
        let part = crate::offsets::DeleteRecords {
            topic,
            partition: 3,
            offset: 1,
        };
        broker
            .delete_records(vec![part], SECOND)
            .await
            .remove(0)
            .unwrap()
    });
    let outcome = consumer.fetch(&mut machine, &[]);
    assert_eq!(partitions_of(&outcome), [3]);
    assert_eq!(outcome.partitions[0].log_start_offset, 1);
}

#[test]
fn partitions_are_added_and_forgotten() {
    let mut machine = Machine::new(3, 2);
    machine.create("t", 4, &[]);
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL[..2]);
    assert_eq!(
        partitions_of(&consumer.fetch(&mut machine, &ALL[2..])),
        [2, 3]
    );
    let forget = |partition: i32| (TopicKey::Name("t".into()), partition);
    let request = FetchRequest {
        forgotten: vec![forget(0), forget(2)],
        ..consumer.request(&[])
    };
    assert_eq!(partitions_of(&machine.fetch(0, request)), [0; 0]);
    for partition in 0..4 {
        machine
            .produce(1, "t", partition, -1, batch(&["x"]))
            .unwrap();
    }
    assert_eq!(partitions_of(&consumer.fetch(&mut machine, &[])), [1, 3]);
    // Without partitions the session is over.
    let request = FetchRequest {
        forgotten: vec![forget(1), forget(3)],
        ..consumer.request(&[])
    };
    assert_eq!(machine.fetch(0, request).session_id, 0);
    assert_eq!(
        code_of(&consumer.fetch(&mut machine, &[])),
        code::FETCH_SESSION_ID_NOT_FOUND
    );
}

#[test]
fn a_session_is_served_from_every_shard() {
    let mut machine = Machine::new(4, 3);
    machine.create("t", 4, &[]);
    for home in 0..3 {
        let (mut consumer, _) = Consumer::begin(&mut machine, home, &ALL);
        assert_eq!(SessionCache::home(consumer.id, 3).0, home);
        for shard in 0..3 {
            consumer.shard = shard;
            assert_eq!(consumer.fetch(&mut machine, &[]).session_id, consumer.id);
        }
        // A full fetch elsewhere ends it.
        let request = FetchRequest {
            session_id: consumer.id,
            session_epoch: -1,
            ..fetch_request(&ALL)
        };
        let outcome = machine.fetch((home + 1) % 3, request);
        assert_eq!((outcome.session_id, partitions_of(&outcome).len()), (0, 4));
        assert_eq!(
            code_of(&consumer.fetch(&mut machine, &[])),
            code::FETCH_SESSION_ID_NOT_FOUND
        );
    }
}

#[test]
fn a_parked_session_wakes_for_each_partition_again_and_again() {
    let mut machine = Machine::new(5, 2);
    machine.create("t", 4, &[]);
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL);
    for round in 0..3 {
        for partition in 0..4 {
            let request = FetchRequest {
                max_wait: 60 * SECOND,
                ..consumer.request(&[])
            };
            let call = machine.begin_fetch(0, request);
            machine.sim.run_for(SECOND);
            assert!(!call.is_done());
            let before = machine.sim.now();
            machine
                .produce(1, "t", partition, -1, batch(&["x"]))
                .unwrap();
            let outcome = machine.finish(call);
            assert!(machine.sim.now() - before < SECOND);
            assert_eq!(partitions_of(&outcome), [partition]);
            assert_eq!(
                partitions_of(&consumer.fetch(&mut machine, &[("t", partition, round + 1)])),
                [0; 0]
            );
        }
    }
}

#[test]
fn a_wrong_epoch_or_id_is_refused() {
    let mut machine = Machine::new(6, 2);
    machine.create("t", 4, &[]);
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL);
    consumer.epoch = 5;
    assert_eq!(
        code_of(&consumer.fetch(&mut machine, &[])),
        code::INVALID_FETCH_SESSION_EPOCH
    );
    consumer.id += 2;
    assert_eq!(
        code_of(&consumer.fetch(&mut machine, &[])),
        code::FETCH_SESSION_ID_NOT_FOUND
    );
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL);
    let request = FetchRequest {
        uses_topic_ids: true,
        ..consumer.request(&[])
    };
    assert_eq!(
        code_of(&machine.fetch(0, request)),
        code::FETCH_SESSION_TOPIC_ID_ERROR
    );
}

#[test]
fn a_deleted_topic_is_told_again_and_again_and_its_successor_is_found_by_name() {
    let mut machine = Machine::new(7, 2);
    machine.create("t", 4, &[]);
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL[..1]);
    let request = FetchRequest {
        max_wait: 60 * SECOND,
        ..consumer.request(&[])
    };
    let call = machine.begin_fetch(0, request);
    machine.sim.run_for(SECOND);
    machine.delete("t").unwrap();
    for outcome in [machine.finish(call), consumer.fetch(&mut machine, &[])] {
        assert_eq!(
            outcome.partitions[0].error.as_ref().unwrap().code(),
            code::UNKNOWN_TOPIC_OR_PARTITION
        );
    }
    machine.create("t", 4, &[]);
    assert_eq!(consumer.fetch(&mut machine, &[]).partitions[0].error, None);
    let request = FetchRequest {
        max_wait: 60 * SECOND,
        ..consumer.request(&[])
    };
    let call = machine.begin_fetch(0, request);
    machine.sim.run_for(SECOND);
    assert!(!call.is_done());
    machine.produce(1, "t", 0, -1, batch(&["x"])).unwrap();
    assert_eq!(
        values_of(&machine.finish(call).partitions[0].records),
        ["x"]
    );
}

#[test]
fn with_little_room_every_partition_gets_its_turn() {
    let mut machine = Machine::new(8, 2);
    machine.create("t", 4, &[]);
    for partition in 0..4 {
        machine
            .produce(0, "t", partition, -1, batch(&["x"]))
            .unwrap();
    }
    let one = FetchRequest {
        session_epoch: 0,
        max_bytes: 1,
        ..fetch_request(&ALL)
    };
    let outcome = machine.fetch(0, one);
    let mut consumer = Consumer {
        shard: 0,
        id: outcome.session_id,
        epoch: 1,
    };
    let mut turns = Vec::new();
    for _ in 0..4 {
        let request = FetchRequest {
            max_bytes: 1,
            ..consumer.request(&[])
        };
        let outcome = machine.fetch(0, request);
        turns.extend(
            outcome
                .partitions
                .iter()
                .filter(|fetched| fetched.bytes() > 0)
                .map(|fetched| fetched.partition),
        );
    }
    assert_eq!(turns, [1, 2, 3, 0]);
}

#[test]
fn a_new_process_knows_no_session() {
    let mut machine = Machine::new(9, 2);
    machine.create("t", 4, &[]);
    let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL);
    machine.restart_after_kill(2);
    assert_eq!(
        code_of(&consumer.fetch(&mut machine, &[])),
        code::FETCH_SESSION_ID_NOT_FOUND
    );
}

#[test]
fn more_forwarded_fetches_than_the_mesh_shall_hold_begin_anew() {
    let mut machine = Machine::new(10, 2);
    machine.create("t", 4, &[]);
    let bound = usize::try_from(FORWARDED_FETCHES_MAX).unwrap();
    let mut calls = Vec::new();
    for _ in 0..=bound {
        let (mut consumer, _) = Consumer::begin(&mut machine, 0, &ALL);
        let request = FetchRequest {
            max_wait: 60 * SECOND,
            ..consumer.request(&[])
        };
        calls.push(machine.begin_fetch(1, request));
    }
    machine.sim.run_for(SECOND);
    let refused = calls.pop().unwrap();
    assert_eq!(
        code_of(&machine.finish(refused)),
        code::FETCH_SESSION_ID_NOT_FOUND
    );
    assert!(calls.iter().all(|call| !call.is_done()));
    // What is not a fetch still finds room.
    for partition in 0..4 {
        machine
            .produce(1, "t", partition, -1, batch(&["x"]))
            .unwrap();
    }
    for call in calls {
        assert_eq!(code_of(&machine.finish(call)), 0);
    }
}

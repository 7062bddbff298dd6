//! Where requests go: to each owner with one message, or nowhere else at all on a shard's own port.

use super::groups::{ask, commit};
use super::harness::*;
use crate::fetch::{FetchOutcome, FetchRequest};
use crate::metadata::{CreatePartitions, CreateTopic};
use crate::nodes::Nodes;
use crate::offsets::{DeleteRecords, EpochQuery, Isolation, OffsetQuery};
use crate::{Broker, BrokerError, error_code as code};
use std::sync::Arc;
use tailwater_group::{GroupError, ListGroups, Request};
use tailwater_shards::{Counter, counters};

const SHARDS: u16 = 3;
const PARTITIONS: i32 = 9;

fn all() -> Vec<(&'static str, i32, i64)> {
    (0..PARTITIONS).map(|index| ("t", index, 0)).collect()
}

fn batches() -> Vec<(i32, bytes::Bytes)> {
    let all = 0..PARTITIONS;
    all.map(|index| (index, batch(&["x"]))).collect()
}

fn groups() -> Vec<Arc<str>> {
    let names = (0..20).map(|number| Arc::from(format!("group-{number}")));
    names.collect()
}

/// Messages that each shard has sent, and requests of clients that went over.
fn sent(machine: &mut Machine) -> (Vec<u64>, u64) {
    let mut messages = Vec::new();
    for shard in 0..SHARDS {
        messages.push(machine.on(shard, |broker| async move {
            broker.inner.mesh.stats().messages_sent
        }));
    }
    let requests = machine.on(0, |_| async { counters().total(Counter::MeshRequests) });
    (messages, requests)
}

/// What `call` sends, as [`sent`].
fn sent_by(machine: &mut Machine, call: impl FnOnce(&mut Machine)) -> (Vec<u64>, u64) {
    let before = sent(machine);
    call(machine);
    let after = sent(machine);
    let messages = after.0.iter().zip(before.0);
    let messages = messages.map(|(after, before)| after - before);
    (messages.collect(), after.1 - before.1)
}

/// A machine with a topic, coordinators that have loaded, and a record in each partition.
fn prepared(seed: u64) -> Machine {
    let mut machine = Machine::with(seed, SHARDS, &[("offsets.topic.num.partitions", "6")]);
    machine.create("t", PARTITIONS, &[]);
    machine.on(0, |broker| async move {
        broker.ensure_group_coordinators().await.unwrap();
        for group in groups() {
            let answer = ask(&broker, &group, commit(&group, -1, "", 7)).await;
            assert!(answer.is_ok(), "{answer:?}");
        }
    });
    machine
}

async fn ask_all_groups(broker: &Broker) -> Vec<Result<(), GroupError>> {
    let asks = groups().into_iter().map(|group| {
        let request = Request::Describe(group.clone());
        (group, request)
    });
    let answers = broker.ask_groups(asks.collect()).await;
    answers.into_iter().map(|answer| answer.map(drop)).collect()
}

fn queries(broker: &Broker) -> Vec<OffsetQuery> {
    let topic = broker.image().resolve_name("t");
    let query = |partition| OffsetQuery {
        topic,
        partition,
        current_leader_epoch: -1,
        timestamp: -1,
    };
    (0..PARTITIONS).map(query).collect()
}

#[test]
fn a_request_costs_one_message_each_way_for_each_other_shard() {
    let mut machine = prepared(1);
    // From shard 0: a request to each other shard, a reply from each.
    let once = (vec![2, 1, 1], 2);
    let cost = sent_by(&mut machine, |machine| {
        let call = machine.begin_produce(0, "t", -1, batches());
        let outcome = machine.finish(call);
        assert!(outcome.parts.iter().all(Result::is_ok));
    });
    assert_eq!(cost, once, "produce");
    let cost = sent_by(&mut machine, |machine| {
        let outcome = machine.fetch(0, fetch_request(&all()));
        assert!(outcome.partitions.iter().all(|found| found.bytes() > 0));
    });
    assert_eq!(cost, once, "fetch");
    let cost = sent_by(&mut machine, |machine| {
        let found = machine.on(0, |broker| async move {
            let queries = queries(&broker);
            broker
                .list_offsets(Isolation::ReadUncommitted, queries)
                .await
        });
        assert!(
            found
                .iter()
                .all(|found| found.as_ref().unwrap().offset == 1)
        );
    });
    assert_eq!(cost, once, "offsets");
    let cost = sent_by(&mut machine, |machine| {
        let answers = machine.on(0, |broker| async move { ask_all_groups(&broker).await });
        assert!(answers.iter().all(Result::is_ok));
    });
    assert_eq!(cost, once, "groups");
}

/// Own partitions of a shard: the index of each.
fn own(machine: &mut Machine, shard: u16) -> Vec<i32> {
    let own = machine.on(shard, move |broker| async move {
        let image = broker.image();
        let topic = image.topic("t").unwrap();
        let all = 0..topic.partitions;
        all.filter(|index| broker.owner(topic, *index).0 == shard)
            .collect::<Vec<_>>()
    });
    assert_eq!(own.len(), 3, "partitions are dealt round the shards");
    own
}

fn errors(outcome: &FetchOutcome) -> Vec<(i32, i16)> {
    assert_eq!(outcome.error, None);
    let code = |error: &Option<BrokerError>| error.as_ref().map_or(0, BrokerError::code);
    let each = outcome.partitions.iter();
    each.map(|found| (found.partition, code(&found.error)))
        .collect()
}

/// What is answered of each partition on that shard's own port.
fn expected(own: &[i32]) -> Vec<(i32, i16)> {
    let code = |index| {
        if own.contains(&index) {
            code::NONE
        } else {
            code::NOT_LEADER_OR_FOLLOWER
        }
    };
    (0..PARTITIONS).map(|index| (index, code(index))).collect()
}

#[test]
fn records_on_a_shards_own_port_are_that_shards_and_nothing_crosses() {
    let mut machine = prepared(2);
    let shard = 1;
    let own = own(&mut machine, shard);
    let cost = sent_by(&mut machine, |machine| {
        let outcome = machine.on(shard, |broker| async move {
            let topic = broker.image().resolve_name("t");
            let request = produce_request(topic, -1, batches());
            broker.direct().submit_produce(request).await.await
        });
        let parts = (0..).zip(&outcome.parts);
        let codes = parts.map(|(index, part)| {
            let code = part.as_ref().map_or_else(|e| e.error.code(), |_| 0);
            (index, code)
        });
        assert_eq!(codes.collect::<Vec<_>>(), expected(&own));

        // A fetch without a session, then one with: nobody is watched at other shards.
        let fetch = |machine: &mut Machine, request: FetchRequest| {
            machine.on(shard, |broker| async move {
                broker.direct().fetch(request).await
            })
        };
        let outcome = fetch(machine, fetch_request(&all()));
        assert_eq!(errors(&outcome), expected(&own));
        for found in &outcome.partitions {
            let is_own = own.contains(&found.partition);
            assert_eq!(found.bytes() > 0, is_own);
            assert_eq!(
                found.leader_epoch.is_some(),
                !is_own,
                "who is told where to go"
            );
        }
        let begun = fetch(
            machine,
            FetchRequest {
                session_epoch: 0,
                ..fetch_request(&all())
            },
        );
        assert_eq!(errors(&begun), expected(&own));
        let foreign = expected(&own).into_iter().filter(|(_, code)| *code != 0);
        let foreign: Vec<_> = foreign.collect();
        let next = FetchRequest {
            session_id: begun.session_id,
            session_epoch: 1,
            ..fetch_request(&[])
        };
        let told: Vec<_> = errors(&fetch(machine, next)).into_iter().collect();
        assert!(foreign.iter().all(|each| told.contains(each)), "{told:?}");
        // The end of it.
        let last = FetchRequest {
            session_id: begun.session_id,
            session_epoch: -1,
            ..fetch_request(&[])
        };
        assert_eq!(errors(&fetch(machine, last)), []);
    });
    assert_eq!(cost, (vec![0; 3], 0));
}

#[test]
fn a_session_is_found_on_its_own_shards_port_only() {
    let mut machine = prepared(3);
    let begun = machine.fetch(
        0,
        FetchRequest {
            session_epoch: 0,
            ..fetch_request(&all())
        },
    );
    let next = FetchRequest {
        session_id: begun.session_id,
        session_epoch: 1,
        ..fetch_request(&[])
    };
    let outcome = machine.on(2, |broker| async move { broker.direct().fetch(next).await });
    let id = begun.session_id;
    assert_eq!(
        outcome.error,
        Some(BrokerError::FetchSessionIdNotFound { id })
    );
}

#[test]
fn offsets_groups_and_lists_on_a_shards_own_port_are_that_shards() {
    let mut machine = prepared(4);
    let shard = 2;
    let own = own(&mut machine, shard);
    let outcome = machine.begin_produce(0, "t", -1, batches());
    machine.finish(outcome);
    let all_listed = machine.on(shard, |broker| async move {
        broker.describe_log_dirs(None).await.unwrap()
    });
    let cost = sent_by(&mut machine, |machine| {
        let expected = expected(&own);
        machine.on(shard, move |broker| async move {
            let broker = broker.direct();
            let coded = |codes: Vec<i16>| (0..).zip(codes).collect::<Vec<(i32, i16)>>();
            let topic = broker.image().resolve_name("t");
            let queries = queries(&broker);
            let found = broker
                .list_offsets(Isolation::ReadUncommitted, queries)
                .await;
            let codes = found.iter().map(crate::code_of).collect();
            assert_eq!(coded(codes), expected, "ListOffsets");
            let query = |partition| EpochQuery {
                topic,
                partition,
                current_leader_epoch: -1,
                leader_epoch: 0,
            };
            let found = broker
                .epoch_ends((0..PARTITIONS).map(query).collect())
                .await;
            let codes = found.iter().map(crate::code_of).collect();
            assert_eq!(coded(codes), expected, "OffsetForLeaderEpoch");
            let part = |partition| DeleteRecords {
                topic,
                partition,
                offset: 0,
            };
            let parts = (0..PARTITIONS).map(part).collect();
            let found = broker.delete_records(parts, SECOND).await;
            let codes = found.iter().map(crate::code_of).collect();
            assert_eq!(coded(codes), expected, "DeleteRecords");

            let answers = ask_all_groups(&broker).await;
            for (group, answer) in groups().iter().zip(answers) {
                let here = broker.coordinator(group).unwrap() == broker.inner.shard;
                let refused = answer == Err(GroupError::NotCoordinator);
                assert_eq!(refused, !here, "{group}");
                let request = Request::Describe(group.clone());
                let answer = broker.ask_group_and_wait(group, request).await;
                assert_eq!(answer.is_err(), !here, "{group}, waiting");
            }
        });
    });
    assert_eq!(cost, (vec![0; 3], 0));
    // Lists of all shards' ports together are what any shard says of all.
    let mut parts = Vec::new();
    let mut listed = Vec::new();
    for shard in 0..SHARDS {
        let (dir, groups) = machine.on(shard, |broker| async move {
            let filters = ListGroups {
                states: Vec::new(),
                types: Vec::new(),
            };
            let broker = broker.direct();
            let dir = broker.describe_log_dirs(None).await.unwrap();
            (dir, broker.list_groups(filters).await.unwrap())
        });
        for (name, sizes) in dir.topics {
            parts.extend(sizes.into_iter().map(|size| (name.clone(), size)));
        }
        listed.extend(groups.into_iter().map(|listed| listed.group));
    }
    let each = all_listed.topics.into_iter();
    let mut all: Vec<_> = each
        .flat_map(|(name, sizes)| sizes.into_iter().map(move |size| (name.clone(), size)))
        .collect();
    all.sort();
    parts.sort();
    assert_eq!(parts, all, "each partition once, with its size");
    listed.sort();
    let mut groups = groups();
    groups.sort();
    assert_eq!(listed, groups, "each group once");
}

#[test]
fn no_layout_is_promised_that_shards_cannot_keep() {
    let mut machine = Machine::with_nodes(5, SHARDS, Nodes::each_shard(1, vec![Vec::new(); 3]));
    let topic = |factor, assignments| CreateTopic {
        name: "t".to_owned(),
        num_partitions: if factor == -1 { -1 } else { 1 },
        replication_factor: factor,
        assignments,
        configs: Vec::new(),
    };
    let create = |machine: &mut Machine, topic: CreateTopic| {
        let outcomes = machine.on(1, |broker| async move {
            broker
                .direct()
                .create_topics(vec![topic], false, SECOND)
                .await
        });
        crate::code_of(&outcomes[0].1)
    };
    let factor = create(&mut machine, topic(2, Vec::new()));
    assert_eq!(factor, code::INVALID_REPLICATION_FACTOR);
    for brokers in [vec![1000], vec![1000, 1001], vec![1], vec![1003]] {
        let by_hand = create(&mut machine, topic(-1, vec![(0, brokers)]));
        assert_eq!(by_hand, code::INVALID_REPLICA_ASSIGNMENT);
    }
    assert_eq!(create(&mut machine, topic(1, Vec::new())), code::NONE);
    let more = CreatePartitions {
        name: "t".to_owned(),
        count: 2,
        assignments: Some(vec![vec![1001]]),
    };
    let outcomes = machine.on(2, |broker| async move {
        broker
            .direct()
            .create_partitions(vec![more], false, SECOND)
            .await
    });
    let by_hand = crate::code_of(&outcomes[0].1);
    assert_eq!(by_hand, code::INVALID_REPLICA_ASSIGNMENT);
}

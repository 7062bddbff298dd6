//! Groups: their coordinators find them again after every kind of end, and are asked over shards.

use super::harness::{DISK_RESERVE_BYTES, Machine, batch};
use crate::metadata::OFFSETS_TOPIC;
use crate::{Broker, BrokerError};
use bytes::Bytes;
use futures_util::future::{Either, select};
use std::cell::Cell;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tailwater_group::{
    CommitOffsets, FetchOffsets, GroupError, Heartbeat, Identity, JoinGroup, Joined, ListGroups,
    OffsetToCommit, Reply, Request, SyncGroup, TopicRef, WantedOffsets,
};
use tailwater_shards::{Counter, counters, now, sleep, timeout, yield_now};

const SETTINGS: &[(&str, &str)] = &[("offsets.topic.num.partitions", "8")];

pub(super) fn join(group: &str, member: &str) -> Request {
    Request::Join(JoinGroup {
        group: group.into(),
        identity: Identity {
            client_id: "test".into(),
            client_host: "/127.0.0.1".into(),
        },
        member: member.into(),
        instance: None,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), Bytes::from_static(b"m"))],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        needs_known_member: false,
        can_skip_assignment: false,
        reason: None,
    })
}

pub(super) fn commit(group: &str, generation: i32, member: &str, offset: i64) -> Request {
    Request::Commit(CommitOffsets {
        group: group.into(),
        generation_or_epoch: generation,
        member: member.into(),
        instance: None,
        retention_ms: None,
        knows_epochs: true,
        offsets: vec![OffsetToCommit {
            topic: TopicRef::Name("t".into()),
            partition: 0,
            offset,
            leader_epoch: -1,
            metadata: Some("note".into()),
        }],
    })
}

pub(super) fn fetch(group: &str) -> Request {
    Request::Fetch(FetchOffsets {
        group: group.into(),
        member: None,
        member_epoch: -1,
        wanted: WantedOffsets::All,
        require_stable: true,
    })
}

/// Asks one coordinator, and again while it loads.
pub(super) async fn ask(
    broker: &Broker,
    group: &str,
    request: Request,
) -> Result<Reply, GroupError> {
    loop {
        let asks = vec![(Arc::from(group), request.clone())];
        match broker.ask_groups(asks).await.pop().unwrap() {
            Err(GroupError::CoordinatorLoadInProgress) => sleep(Duration::from_millis(1)).await,
            answer => return answer,
        }
    }
}

pub(super) async fn joined(broker: &Broker, group: &str) -> Joined {
    let answer = broker.ask_group_and_wait(group, join(group, "")).await;
    let Ok(Reply::Joined(Ok(joined))) = answer else {
        panic!("{answer:?}")
    };
    joined
}

/// The group's one committed offset; -1 for none.
pub(super) async fn committed(broker: &Broker, group: &str) -> i64 {
    let answer = ask(broker, group, fetch(group)).await;
    let Ok(Reply::Fetched(Ok(fetched))) = answer else {
        panic!("{answer:?}")
    };
    let mut offsets = fetched.topics.iter().flat_map(|(_, offsets)| offsets);
    offsets.next().map_or(-1, |offset| offset.offset)
}

/// A group of one member that has joined, synced and committed.
pub(super) async fn settled(broker: &Broker, group: &str, offset: i64) -> Joined {
    let joined = joined(broker, group).await;
    let sync = Request::Sync(SyncGroup {
        group: group.into(),
        generation: joined.generation,
        member: joined.member.clone(),
        instance: None,
        protocol_type: None,
        protocol_name: None,
        assignments: vec![(joined.member.clone(), Bytes::from_static(b"all"))],
    });
    let answer = broker.ask_group_and_wait(group, sync).await;
    assert!(
        matches!(&answer, Ok(Reply::Synced(Ok(synced))) if synced.assignment == "all"),
        "{answer:?}"
    );
    let commit = commit(group, joined.generation, &joined.member, offset);
    let answer = ask(broker, group, commit).await;
    assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
    joined
}

pub(super) fn with_coordinators(seed: u64, shards: u16, settings: &[(&str, &str)]) -> Machine {
    let settings = [SETTINGS, settings].concat();
    let mut machine = Machine::with(seed, shards, &settings);
    machine.create("t", 1, &[]);
    let ensured = machine.on(shards - 1, |broker| async move {
        broker.ensure_group_coordinators().await
    });
    ensured.unwrap();
    machine
}

/// Groups whose coordinators are on that shard.
fn groups_of(machine: &mut Machine, shard: u16, count: usize) -> Vec<String> {
    machine.on(0, move |broker| async move {
        let image = broker.image();
        let topic = image.topic(OFFSETS_TOPIC).unwrap();
        let here = |group: &String| {
            let partition = crate::group::partition_of(group, topic.partitions);
            let tp = tailwater_storage::TopicPartition::new(topic.id, partition);
            broker.inner.owner(tp).0 == shard
        };
        let names = (0..).map(|index| format!("group-{index}"));
        names.filter(here).take(count).collect()
    })
}

#[test]
fn groups_and_offsets_outlive_every_kind_of_end_and_another_number_of_shards() {
    for (seed, shards, after) in [(1, 1, 2), (2, 2, 1), (3, 2, 3)] {
        let mut machine = with_coordinators(seed, shards, &[]);
        let mut member = machine.on(0, |broker| async move { settled(&broker, "g", 5).await });
        for (round, offset) in (6..9).enumerate() {
            match round {
                0 => machine.restart_after_power_cut(after),
                1 => machine.restart_after_kill(shards),
                _ => machine.restart_cleanly(after),
            }
            member = machine.on(0, move |broker| async move {
                assert_eq!(committed(&broker, "g").await, offset - 1);
                let heartbeat = Request::Heartbeat(Heartbeat {
                    group: "g".into(),
                    generation: member.generation,
                    member: member.member.clone(),
                    instance: None,
                });
                let answer = ask(&broker, "g", heartbeat).await;
                assert_eq!(answer, Ok(Reply::Heartbeat(Ok(()))), "it is still a member");
                let commit = commit("g", member.generation, &member.member, offset);
                let answer = ask(&broker, "g", commit).await;
                assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
                member
            });
        }
    }
}

#[test]
fn joins_that_wait_for_another_shard_hold_no_credit_of_the_mesh() {
    let delay = &[("group.initial.rebalance.delay.ms", "3000")];
    let mut machine = with_coordinators(7, 2, delay);
    let groups = groups_of(&mut machine, 1, 300);
    let joins: Vec<_> = groups
        .iter()
        .map(|group| {
            let group = group.clone();
            machine.begin(
                0,
                move |broker| async move { joined(&broker, &group).await },
            )
        })
        .collect();
    let group = groups[0].clone();
    let took = machine.on(0, move |broker| async move {
        let began = now();
        assert_eq!(committed(&broker, &group).await, -1);
        began.elapsed()
    });
    assert!(took < Duration::from_secs(1), "others go on: {took:?}");
    assert!(joins.iter().all(|join| !join.is_done()));
    for join in joins {
        assert_eq!(machine.finish(join).generation, 1);
    }
}

#[test]
fn who_goes_away_is_forgotten_on_both_sides() {
    let delay = &[("group.initial.rebalance.delay.ms", "3000")];
    for seed in 0..3 {
        let mut machine = with_coordinators(seed, 2, delay);
        let group = groups_of(&mut machine, 1, 1).remove(0);
        machine.on(0, move |broker| async move {
            let wait = broker.ask_group_and_wait(&group, join(&group, ""));
            let gone = timeout(Duration::from_millis(50), wait).await;
            assert!(gone.is_err(), "it waits for others");
            sleep(Duration::from_millis(50)).await;
            assert_eq!(broker.inner.groups.waits(), 0);
            let filters = ListGroups::default();
            let listed = broker.list_groups(filters).await.unwrap();
            assert_eq!(listed.len(), 1, "its member stays until its session ends");
        });
        let waits = machine.on(1, |broker| async move { broker.inner.groups.waits() });
        assert_eq!(waits, 0);
    }
}

#[test]
fn a_commit_that_cannot_be_written_is_neither_acknowledged_nor_shown() {
    let mut machine = with_coordinators(11, 2, &[]);
    machine.on(0, |broker| async move {
        let answer = ask(&broker, "g", commit("g", -1, "", 5)).await;
        assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
    });
    let used = machine.sim.disk_used_bytes();
    let faults = machine.sim.faults();
    faults.disk_bytes(used + DISK_RESERVE_BYTES / 2);
    machine.on(0, |broker| async move {
        // The broker notices by and by that the disk is full.
        let mut offset = 6;
        let refused = loop {
            match ask(&broker, "g", commit("g", -1, "", offset)).await {
                Ok(Reply::Committed(results)) => assert_eq!(results, [Ok(())]),
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
            sleep(Duration::from_millis(500)).await;
            offset += 1;
        };
        assert_eq!(refused, GroupError::CoordinatorNotAvailable);
        // Read anew, it shows what was acknowledged last.
        assert_eq!(committed(&broker, "g").await, offset - 1);
    });
}

#[test]
fn a_coordinator_whose_log_lost_all_to_damage_says_nothing_of_its_groups() {
    let mut machine = with_coordinators(12, 1, &[]);
    machine.on(0, |broker| async move {
        let answer = ask(&broker, "g", commit("g", -1, "", 5)).await;
        assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
        // At rest what is durable is told beside the WAL, too.
        sleep(Duration::from_millis(200)).await;
    });
    machine.sim.power_cut();
    let wal = Path::new("/data/wal/0000000001-00000-0000000001.wal");
    let bytes = machine.sim.read_file(wal).unwrap();
    let at = bytes.windows(4).position(|found| found == b"note").unwrap();
    machine.sim.faults().unreadable(wal, at as u64).unwrap();
    machine.start(1);
    machine.on(0, |broker| async move {
        for _ in 0..10 {
            // Not that nothing was committed.
            let answer = ask(&broker, "g", fetch("g")).await;
            assert_eq!(answer, Err(GroupError::NotCoordinator));
            sleep(Duration::from_millis(300)).await;
        }
        assert!(counters().total(Counter::FailedGroupLoads) > 0);
        // The others are listed all the same.
        let other = settled(&broker, "other", 1).await;
        assert_eq!(other.generation, 1);
        let listed = broker.list_groups(ListGroups::default()).await.unwrap();
        let names: Vec<&str> = listed.iter().map(|listed| &*listed.group).collect();
        assert_eq!(names, ["other"]);
    });
}

#[test]
fn clients_may_not_write_the_offsets_topic() {
    let mut machine = with_coordinators(3, 2, &[]);
    let refused = machine.produce(0, OFFSETS_TOPIC, 0, -1, batch(&["x"]));
    let error = refused.unwrap_err().error;
    assert!(matches!(error, BrokerError::InvalidTopic(_)), "{error:?}");
}

#[test]
fn groups_of_all_shards_are_listed() {
    let mut machine = with_coordinators(5, 3, &[]);
    let mut groups: Vec<String> = (0..3)
        .flat_map(|shard| groups_of(&mut machine, shard, 2))
        .collect();
    groups.sort();
    for group in groups.clone() {
        machine.on(1, move |broker| async move {
            settled(&broker, &group, 1).await;
        });
    }
    let mut listed = machine.on(2, |broker| async move {
        broker.list_groups(ListGroups::default()).await.unwrap()
    });
    listed.sort_by(|a, b| a.group.cmp(&b.group));
    let names: Vec<&str> = listed.iter().map(|listed| &*listed.group).collect();
    assert_eq!(names, groups);
    assert!(listed.iter().all(|listed| listed.state == "Stable"));
}

#[test]
fn a_list_of_groups_lets_others_go_on_between_its_coordinators() {
    let mut machine = with_coordinators(15, 1, &[]);
    let turns = machine.on(0, |broker| async move {
        settled(&broker, "g", 5).await;
        let turns = Cell::new(0);
        let others = async {
            loop {
                yield_now().await;
                turns.set(turns.get() + 1);
            }
        };
        let listing = broker.list_groups(ListGroups::default());
        let listed = match select(pin!(listing), pin!(others)).await {
            Either::Left((listed, _)) => listed.unwrap(),
            Either::Right(((), _)) => unreachable!("others never end"),
        };
        assert_eq!(listed.len(), 1);
        turns.get()
    });
    assert!(turns >= 7, "between eight coordinators: {turns}");
}

/// The topic's own configurations.
fn offsets_topic_configs(broker: &Broker) -> Vec<(String, String)> {
    let image = broker.image();
    let topic = image.topic(OFFSETS_TOPIC).unwrap();
    topic.overrides.clone().into_iter().collect()
}

#[test]
fn the_offsets_topic_is_compacted_also_one_of_before_there_was_compaction() {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let kafkas = [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", "104857600"),
    ];
    let mut machine = with_coordinators(13, 2, &[]);
    let configs = machine.on(1, |broker| async move { offsets_topic_configs(&broker) });
    assert_eq!(configs, kafkas.map(pair));

    let before = [
        ("compression.type", "producer"),
        ("retention.ms", "-1"),
        ("segment.bytes", "104857600"),
    ];
    let set = [("cleanup.policy", "delete"), ("retention.ms", "-1")];
    for (found, becomes) in [(&before[..], &kafkas[..]), (&set[..], &set[..])] {
        let mut machine = Machine::with(14, 2, SETTINGS);
        machine.create(OFFSETS_TOPIC, 8, found);
        machine.on(1, |broker| async move {
            assert_eq!(broker.ensure_group_coordinators().await, Ok(()));
            assert_eq!(broker.ensure_group_coordinators().await, Ok(()));
        });
        machine.restart_after_power_cut(2);
        let configs = machine.on(0, |broker| async move { offsets_topic_configs(&broker) });
        let becomes: Vec<_> = becomes.iter().copied().map(pair).collect();
        assert_eq!(configs, becomes);
    }
}

#[test]
fn without_its_topic_nobody_coordinates_and_a_new_one_begins_empty() {
    let mut machine = with_coordinators(9, 2, &[]);
    machine.on(0, |broker| async move {
        settled(&broker, "g", 5).await;
    });
    machine.delete(OFFSETS_TOPIC).unwrap();
    machine.on(1, |broker| async move {
        let answer = ask(&broker, "g", fetch("g")).await;
        assert_eq!(answer, Err(GroupError::NotCoordinator));
        broker.ensure_group_coordinators().await.unwrap();
        assert_eq!(committed(&broker, "g").await, -1);
    });
}

//! What one step of a coordinator writes, where it is more than the log takes as one batch.

use super::groups::{ask, fetch};
use super::harness::Machine;
use std::sync::Arc;
use std::time::Duration;
use tailwater_group::{CommitOffsets, GroupError, OffsetToCommit, Reply, Request, TopicRef};
use tailwater_shards::timeout;

const PARTITIONS: i32 = 48;

/// Each record of the group has its name.
fn group() -> Arc<str> {
    "g".repeat(30_000).into()
}

fn commit(partitions: std::ops::Range<i32>) -> Request {
    let offsets = partitions.map(|partition| OffsetToCommit {
        topic: TopicRef::Name("wide".into()),
        partition,
        offset: 7,
        leader_epoch: -1,
        metadata: None,
    });
    Request::Commit(CommitOffsets {
        group: group(),
        generation_or_epoch: -1,
        member: "".into(),
        instance: None,
        retention_ms: None,
        knows_epochs: true,
        offsets: offsets.collect(),
    })
}

/// A group whose offsets, taken away all at once, are more than a batch.
fn with_large_group() -> Machine {
    let mut machine = Machine::bounded(3, 1);
    let ensured = machine.on(0, |broker| async move {
        broker.ensure_group_coordinators().await
    });
    ensured.unwrap();
    machine.create("wide", PARTITIONS, &[]);
    machine.on(0, |broker| async move {
        for from in (0..PARTITIONS).step_by(4) {
            let answer = ask(&broker, &group(), commit(from..from + 4)).await;
            assert_eq!(answer, Ok(Reply::Committed(vec![Ok(()); 4])));
        }
    });
    machine
}

/// How many offsets the group has, on a coordinator that has to answer.
fn offsets(machine: &mut Machine) -> usize {
    machine.on(0, |broker| async move {
        let asked = timeout(Duration::from_secs(600), async {
            ask(&broker, &group(), fetch(&group())).await
        });
        match asked.await {
            Ok(Ok(Reply::Fetched(Ok(fetched)))) => fetched
                .topics
                .iter()
                .map(|(_, offsets)| offsets.len())
                .sum(),
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_topic_that_goes_with_many_offsets_takes_no_coordinator_with_it() {
    let mut machine = with_large_group();
    machine.delete("wide").unwrap();
    assert_eq!(offsets(&mut machine), 0);
    machine.restart_after_power_cut(1);
    assert_eq!(offsets(&mut machine), 0);
}

#[test]
fn a_group_with_many_offsets_can_be_deleted() {
    let mut machine = with_large_group();
    let answer = machine.on(0, |broker| async move {
        ask(&broker, &group(), Request::Delete(group())).await
    });
    assert_eq!(answer, Ok(Reply::Deleted(Ok(()))));
    assert_eq!(offsets(&mut machine), 0);
    machine.restart_after_power_cut(1);
    assert_eq!(offsets(&mut machine), 0);
}

#[test]
fn a_commit_that_would_not_fit_a_batch_is_refused_and_the_coordinator_serves_on() {
    let mut machine = with_large_group();
    let answer = machine.on(0, |broker| async move {
        ask(&broker, &group(), commit(0..PARTITIONS)).await
    });
    let refused = vec![Err(GroupError::RecordsTooLarge); PARTITIONS as usize];
    assert_eq!(answer, Ok(Reply::Committed(refused)));
    assert_eq!(offsets(&mut machine), PARTITIONS as usize);
}

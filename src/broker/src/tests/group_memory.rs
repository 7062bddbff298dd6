//! The memory of groups: one budget for all coordinators of a shard.

use super::groups::{ask, commit, committed, with_coordinators};
use super::harness::Machine;
use crate::Broker;
use crate::metadata::TopicKey;
use std::time::Duration;
use tailwater_group::{GroupError, OffsetToCommit, Reply, Request, TopicRef};
use tailwater_shards::{Counter, counters, sleep, yield_now};

const BUDGET: u64 = 100_000;

/// Commits for one group; whether there was room for it.
async fn try_commit(broker: &Broker, group: &str, offset: i64) -> bool {
    match ask(broker, group, commit(group, -1, "", offset)).await {
        Ok(Reply::Committed(results)) => match &results[..] {
            [Ok(())] => true,
            [Err(GroupError::CommitLimitReached(_))] => false,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn group(number: usize) -> String {
    format!("group-{number}")
}

#[test]
fn the_coordinators_of_a_shard_share_one_budget_and_a_start_reads_what_is_there() {
    let mut machine = with_coordinators(21, 1, &[]);
    let taken = machine.on(0, |broker| async move {
        broker.bound_groups(BUDGET);
        let mut taken = 0;
        while try_commit(&broker, &group(taken), 1).await {
            taken += 1;
            assert!(broker.group_bytes() <= BUDGET);
        }
        taken
    });
    // Eight coordinators, and any of them refuses.
    assert!((20..60).contains(&taken), "{taken}");
    let refused = move |broker: Broker| async move {
        broker.bound_groups(BUDGET);
        for number in taken..taken + 16 {
            assert!(!try_commit(&broker, &group(number), 1).await);
        }
        for number in 0..taken {
            assert!(try_commit(&broker, &group(number), 2).await, "it goes on");
        }
        assert_eq!(counters().total(Counter::RefusedGroupMemory), 17);
    };
    machine.on(0, refused);
    machine.restart_after_kill(1);
    machine.on(0, move |broker| async move {
        // Less than what the log has: all of it is read.
        broker.bound_groups(BUDGET / 10);
        for number in 0..taken {
            assert_eq!(committed(&broker, &group(number)).await, 2);
        }
        assert!(broker.group_bytes() > BUDGET / 2);
        assert!(!try_commit(&broker, &group(taken), 1).await);
        assert!(try_commit(&broker, &group(0), 3).await);
        broker.bound_groups(2 * BUDGET);
        assert!(try_commit(&broker, &group(taken), 1).await);
    });
}

#[test]
fn what_goes_gives_its_memory_back() {
    let mut machine = with_coordinators(22, 2, &[]);
    machine.on(0, |broker| async move {
        for number in 0..20 {
            assert!(try_commit(&broker, &group(number), 1).await);
        }
    });
    let taken = |machine: &mut Machine| -> u64 {
        let bytes = |broker: Broker| async move { broker.group_bytes() };
        machine.on(0, bytes) + machine.on(1, bytes)
    };
    assert!(taken(&mut machine) > 20 * 1_000);
    machine.delete("t").unwrap();
    machine.on(0, |_| sleep(Duration::from_secs(1)));
    assert_eq!(taken(&mut machine), 0);
}

#[test]
fn a_walk_over_many_offsets_lets_the_shard_look_around_after_each_step() {
    const PARTITIONS: i32 = 1_000;
    const GROUPS: usize = 8;
    let mut machine = Machine::with(23, 1, &[("offsets.topic.num.partitions", "1")]);
    machine.create("wide", PARTITIONS, &[]);
    let seen = machine.on(0, |broker| async move {
        broker.ensure_group_coordinators().await.unwrap();
        for number in 0..GROUPS {
            let Request::Commit(mut all) = commit(&group(number), -1, "", 1) else {
                panic!("a commit");
            };
            let one = all.offsets.pop().unwrap();
            all.offsets = (0..PARTITIONS)
                .map(|partition| OffsetToCommit {
                    topic: TopicRef::Name("wide".into()),
                    partition,
                    ..one.clone()
                })
                .collect();
            let answer = ask(&broker, &group(number), Request::Commit(all)).await;
            assert!(matches!(answer, Ok(Reply::Committed(_))), "{answer:?}");
        }
        let full = broker.group_bytes();
        let key = TopicKey::Name("wide".into());
        let deleted = broker.delete_topics(vec![key], Duration::from_secs(1));
        deleted.await.remove(0).result.unwrap();
        // One pass of the shard after another.
        let mut seen = vec![full];
        for _ in 0..10_000 {
            let bytes = broker.group_bytes();
            if seen.last() != Some(&bytes) {
                seen.push(bytes);
            }
            yield_now().await;
        }
        seen
    });
    assert!(seen.len() > GROUPS - 3, "steps seen from beside: {seen:?}");
    assert!(seen[seen.len() - 1] < seen[0] / 10, "{seen:?}");
}

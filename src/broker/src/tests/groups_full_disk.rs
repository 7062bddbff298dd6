//! Groups on a full disk: what is there is told, what would be written is refused, and no
//! coordinator is read anew for it.

use super::groups::{ask, commit, fetch, join, joined, settled, with_coordinators};
use super::harness::{DISK_RESERVE_BYTES, Machine};
use crate::Broker;
use std::sync::Arc;
use std::time::Duration;
use tailwater_group::{
    ConsumerHeartbeat, DeleteOffsets, GroupError, Heartbeat, Identity, LeaveGroup, LeavingMember,
    ListGroups, Reply, Request, TopicRef,
};
use tailwater_shards::{sleep, timeout};

/// Leaves less than the reserve, and lets the broker notice.
fn fill(machine: &mut Machine) {
    let used = machine.sim.disk_used_bytes();
    let faults = machine.sim.faults();
    faults.disk_bytes(used + DISK_RESERVE_BYTES / 2);
    machine.sim.run_for(Duration::from_secs(5));
}

fn free(machine: &mut Machine) {
    machine.sim.faults().disk_bytes(u64::MAX);
    machine.sim.run_for(Duration::from_secs(5));
}

fn beat(epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "n".into(),
        identity: Identity {
            client_id: "test".into(),
            client_host: "/127.0.0.1".into(),
        },
        member: "m".into(),
        member_epoch: epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: if epoch == 0 { 30_000 } else { -1 },
        topic_names: (epoch == 0).then(|| vec!["t".into()]),
        topic_regex: None,
        assignor: None,
        owned: (epoch == 0).then(Vec::new),
        may_lack_member: false,
    }
}

async fn beats(broker: &Broker, beat: ConsumerHeartbeat) -> Result<i32, GroupError> {
    let group = beat.group.clone();
    match ask(broker, &group, Request::ConsumerHeartbeat(beat)).await {
        Ok(Reply::ConsumerHeartbeat(result)) => result.map(|reply| reply.member_epoch),
        other => panic!("{other:?}"),
    }
}

fn leave(group: &str, member: &Arc<str>) -> Request {
    Request::Leave(LeaveGroup {
        group: group.into(),
        members: vec![LeavingMember {
            member: member.clone(),
            instance: None,
            reason: None,
        }],
    })
}

#[test]
fn on_a_full_disk_whoever_would_write_is_refused_and_no_coordinator_is_read_anew() {
    let delay = &[("group.initial.rebalance.delay.ms", "20000")];
    let mut machine = with_coordinators(31, 1, delay);
    let member = machine.on(0, |broker| async move {
        assert_eq!(beats(&broker, beat(0)).await, Ok(1));
        settled(&broker, "g", 5).await
    });
    let waits = machine.begin(0, |broker| async move { joined(&broker, "h").await });
    machine.sim.run_for(Duration::from_millis(500));
    fill(&mut machine);
    let heartbeat = Request::Heartbeat(Heartbeat {
        group: "g".into(),
        generation: member.generation,
        member: member.member.clone(),
        instance: None,
    });
    let id = member.member.clone();
    let beating = heartbeat.clone();
    machine.on(0, move |broker| async move {
        let machines = broker.inner.groups.machines();
        let writing = [
            commit("g", member.generation, &id, 6),
            commit("new", -1, "", 6),
            join("g", &id),
            join("new", ""),
            leave("g", &id),
            Request::Delete("g".into()),
            Request::DeleteOffsets(DeleteOffsets {
                group: "g".into(),
                topics: vec![("t".into(), vec![0])],
            }),
        ];
        // Longer than sessions last.
        for _ in 0..60 {
            for request in writing.clone() {
                let answer = ask(&broker, "g", request).await;
                assert_eq!(answer, Err(GroupError::CoordinatorNotAvailable));
            }
            let answer = ask(&broker, "g", beating.clone()).await;
            assert_eq!(answer, Ok(Reply::Heartbeat(Ok(()))));
            assert_eq!(beats(&broker, beat(1)).await, Ok(1), "it stays where it is");
            for epoch in [0, -1] {
                let refused = beats(&broker, beat(epoch)).await;
                assert_eq!(refused, Err(GroupError::CoordinatorNotAvailable));
            }
            let tells = ConsumerHeartbeat {
                topic_names: Some(vec!["other".into()]),
                ..beat(1)
            };
            let refused = beats(&broker, tells).await;
            assert_eq!(refused, Err(GroupError::CoordinatorNotAvailable));
            let answer = ask(&broker, "g", fetch("g")).await;
            assert!(matches!(answer, Ok(Reply::Fetched(Ok(_)))), "{answer:?}");
            let listed = broker.list_groups(ListGroups::default()).await.unwrap();
            assert_eq!(listed.len(), 3);
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(broker.inner.groups.machines(), machines, "read anew");
    });
    assert!(!waits.is_done(), "nothing can be written for who joins");
    free(&mut machine);
    assert_eq!(machine.finish(waits).generation, 1);
    machine.on(0, move |broker| async move {
        let answer = ask(&broker, "g", heartbeat).await;
        assert_eq!(answer, Ok(Reply::Heartbeat(Ok(()))), "a member still");
        assert_eq!(beats(&broker, beat(1)).await, Ok(1));
        let commit = commit("g", member.generation, &member.member, 7);
        let answer = ask(&broker, "g", commit).await;
        assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
    });
}

#[test]
fn on_a_full_disk_groups_are_served_though_topics_of_theirs_were_deleted() {
    let mut machine = with_coordinators(12, 1, &[]);
    machine.create("u", 1, &[]);
    let of_u = |offset| match commit("g", -1, "", offset) {
        Request::Commit(mut commit) => {
            commit.offsets[0].topic = TopicRef::Name("u".into());
            Request::Commit(commit)
        }
        other => other,
    };
    machine.on(0, move |broker| async move {
        for request in [commit("g", -1, "", 5), of_u(6)] {
            let answer = ask(&broker, "g", request).await;
            assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
        }
    });
    fill(&mut machine);
    machine.delete("t").unwrap();
    let shown = |machine: &mut Machine| {
        let asked = machine.on(0, |broker| async move {
            timeout(Duration::from_secs(60), ask(&broker, "g", fetch("g"))).await
        });
        match asked {
            Ok(Ok(Reply::Fetched(Ok(fetched)))) => fetched.topics,
            other => panic!("{other:?}"),
        }
    };
    for _ in 0..2 {
        let topics = shown(&mut machine);
        assert_eq!(topics.len(), 1, "{topics:?}");
        assert_eq!(topics[0].0, TopicRef::Name("u".into()));
        assert_eq!(topics[0].1[0].offset, 6);
        machine.restart_after_kill(1);
        machine.sim.run_for(Duration::from_secs(5));
    }
    free(&mut machine);
    assert_eq!(shown(&mut machine).len(), 1);
    machine.on(0, |broker| async move {
        let answer = ask(&broker, "g", Request::Delete("g".into())).await;
        assert_eq!(answer, Ok(Reply::Deleted(Ok(()))));
        assert_eq!(broker.group_bytes(), 0);
    });
}

use std::sync::Arc;

use bytes::Bytes;

use crate::testing::{Rig, join, simple_commit, static_join, sync, to_commit};
use crate::{
    ConsumerHeartbeat, GroupConfig, GroupError, JoinGroup, OffsetToCommit, Reply, Request,
};

const MAX: usize = 10_000;

fn rig() -> Rig {
    Rig::new(GroupConfig {
        batch_bytes_max: MAX as u64,
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    })
}

fn with_metadata(join: JoinGroup, bytes: usize) -> JoinGroup {
    JoinGroup {
        protocols: vec![("range".into(), Bytes::from(vec![0; bytes]))],
        ..join
    }
}

#[test]
fn a_group_that_would_not_fit_a_batch_is_refused_and_nothing_of_it_is_lost() {
    let mut rig = rig();
    let (ids, generation) = rig.stable("g", 2);
    let log = rig.log.clone();
    let (error, _) = rig.refused_join(with_metadata(join("g", &ids[0]), MAX));
    assert_eq!((error.code(), error), (-1, GroupError::RecordsTooLarge));
    let mut share = sync("g", generation, &ids[0], &[]);
    share.assignments = vec![(ids[0].clone(), Bytes::from(vec![0; MAX + 1]))];
    let reply = rig.ask(Request::Sync(share));
    assert_eq!(reply, Reply::Synced(Err(GroupError::RecordsTooLarge)));
    assert_eq!(rig.beat("g", generation, &ids[1]), Ok(()));
    assert_eq!(rig.log, log);
}

#[test]
fn who_joins_again_is_not_counted_twice() {
    let mut rig = rig();
    let first = with_metadata(static_join("s", "", "i"), MAX * 2 / 3);
    let to = rig.send(Request::Join(first.clone()));
    rig.pass(0);
    let joined = rig.joined(to);
    let again = JoinGroup {
        member: joined.member,
        ..first.clone()
    };
    let to = rig.send(Request::Join(again));
    rig.pass(0);
    rig.joined(to);
    // It comes back without its id.
    let to = rig.send(Request::Join(first));
    rig.pass(0);
    rig.joined(to);
}

#[test]
fn a_commit_that_would_not_fit_a_batch_is_refused_as_a_whole() {
    let mut rig = rig();
    let noted = |partition| OffsetToCommit {
        metadata: Some("m".repeat(4_000).into()),
        ..to_commit("alpha", partition, 1)
    };
    let all = rig.commit(simple_commit("g", (0..3).map(noted).collect()));
    assert_eq!(all, vec![Err(GroupError::RecordsTooLarge); 3]);
    let some = rig.commit(simple_commit("g", (0..2).map(noted).collect()));
    assert_eq!(some, [Ok(()), Ok(())]);
}

#[test]
fn a_subscription_that_would_not_fit_a_batch_is_refused() {
    let mut rig = rig();
    let heartbeat = |names: usize, epoch| ConsumerHeartbeat {
        group: "c".into(),
        identity: join("c", "").identity,
        member: "m".into(),
        member_epoch: epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: 30_000,
        topic_names: Some(
            (0..names)
                .map(|it| Arc::from(format!("{it:0100}")))
                .collect(),
        ),
        topic_regex: None,
        assignor: None,
        owned: Some(Vec::new()),
        may_lack_member: false,
    };
    let mut beat = |request| match rig.ask(Request::ConsumerHeartbeat(request)) {
        Reply::ConsumerHeartbeat(result) => result.map(|reply| reply.member_epoch),
        other => panic!("no heartbeat: {other:?}"),
    };
    assert_eq!(beat(heartbeat(101, 0)), Err(GroupError::RecordsTooLarge));
    assert_eq!(beat(heartbeat(60, 0)), Ok(1));
    assert_eq!(beat(heartbeat(60, 1)), Ok(1), "it is not counted twice");
}

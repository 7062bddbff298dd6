use std::sync::Arc;

use bytes::Bytes;

use crate::testing::{Rig, heartbeat, join, leave, old_join, static_join, subscription, sync};
use crate::{GroupConfig, GroupError, JoinGroup, Reply, ReplyTo, Request, SyncGroup};

mod limits;

fn synced(rig: &mut Rig, to: ReplyTo) -> Bytes {
    match rig.replies.remove(&to) {
        Some(Reply::Synced(Ok(synced))) => synced.assignment,
        other => panic!("no sync: {other:?}"),
    }
}

fn sync_error(rig: &mut Rig, request: SyncGroup) -> GroupError {
    match rig.ask(Request::Sync(request)) {
        Reply::Synced(Err(error)) => error,
        other => panic!("no refusal: {other:?}"),
    }
}

#[test]
fn a_dynamic_member_joins_with_the_id_it_was_given() {
    let mut rig = Rig::eager();
    let id = rig.member_id("g");
    assert!(id.starts_with("client-"));
    let to = rig.send(Request::Join(join("g", &id)));
    assert!(
        rig.replies.is_empty(),
        "an empty group waits for more members"
    );
    rig.pass(0);
    let joined = rig.joined(to);
    assert_eq!((joined.generation, &joined.leader), (1, &id));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(rig.state("g"), "CompletingRebalance");
    let to = rig.send(Request::Sync(sync("g", 1, &id, &[&id])));
    assert_eq!(synced(&mut rig, to), id.as_bytes());
    assert_eq!(rig.state("g"), "Stable");
    assert_eq!(rig.beat("g", 1, &id), Ok(()));
}

#[test]
fn an_id_that_nobody_joins_with_is_forgotten_after_its_session_timeout() {
    let mut rig = Rig::eager();
    let id = rig.member_id("g");
    rig.pass(9_999);
    let other = rig.member_id("g");
    rig.pass(1);
    let (error, _) = rig.refused_join(join("g", &id));
    assert_eq!(error, GroupError::UnknownMemberId);
    let to = rig.send(Request::Join(join("g", &other)));
    rig.pass(0);
    assert_eq!(rig.joined(to).generation, 1);
}

#[test]
fn the_first_rebalance_waits_longer_for_each_member_up_to_the_rebalance_timeout() {
    let mut rig = Rig::new(GroupConfig {
        initial_rebalance_delay_ms: 3_000,
        ..GroupConfig::default()
    });
    let short = || JoinGroup {
        rebalance_timeout_ms: 7_000,
        ..old_join("g")
    };
    let mut asked = vec![rig.send(Request::Join(short()))];
    for _ in 0..2 {
        rig.pass(2_500);
        asked.push(rig.send(Request::Join(short())));
        assert!(rig.replies.is_empty());
    }
    // 3 s, 3 s more, and the last of the 7 s.
    rig.pass(1_999);
    assert!(rig.replies.is_empty());
    rig.pass(1);
    for to in asked {
        assert_eq!(rig.joined(to).generation, 1);
    }
}

#[test]
fn a_member_that_comes_later_makes_the_others_join_again() {
    let mut rig = Rig::eager();
    let (ids, generation) = rig.stable("g", 2);
    let new = rig.member_id("g");
    assert_eq!(rig.beat("g", generation, &ids[0]), Ok(()));
    let new = rig.send(Request::Join(join("g", &new)));
    for id in &ids {
        let error = Err(GroupError::RebalanceInProgress);
        assert_eq!(rig.beat("g", generation, id), error);
    }
    let error = sync_error(&mut rig, sync("g", generation, &ids[0], &[]));
    assert_eq!(error, GroupError::RebalanceInProgress);
    let again: Vec<ReplyTo> = ids
        .iter()
        .map(|id| rig.send(Request::Join(join("g", id))))
        .collect();
    assert_eq!(rig.joined(new).generation, generation + 1);
    let leaders: usize = again
        .into_iter()
        .map(|to| rig.joined(to).members.len())
        .sum();
    assert_eq!(leaders, 3, "the old leader leads, and sees three members");
}

#[test]
fn who_does_not_join_in_time_is_out() {
    let mut rig = Rig::eager();
    let (ids, generation) = rig.stable("g", 3);
    let to = rig.send(Request::Join(join("g", &ids[0])));
    // The others show themselves, but do not join.
    for _ in 0..4 {
        rig.pass(7_000);
        for id in &ids[1..] {
            assert_eq!(
                rig.beat("g", generation, id),
                Err(GroupError::RebalanceInProgress)
            );
        }
    }
    rig.pass(2_000);
    let joined = rig.joined(to);
    assert_eq!(
        (joined.generation, joined.members.len()),
        (generation + 1, 1)
    );
    assert_eq!(
        rig.beat("g", generation, &ids[1]),
        Err(GroupError::UnknownMemberId)
    );
}

#[test]
fn a_leader_that_does_not_join_is_followed_by_one_that_did() {
    let mut rig = Rig::eager();
    let (ids, _) = rig.stable("g", 2);
    let changed = JoinGroup {
        protocols: vec![("range".into(), subscription(&["beta"]))],
        ..join("g", &ids[1])
    };
    let to = rig.send(Request::Join(changed));
    rig.pass(10_000);
    let joined = rig.joined(to);
    assert_eq!(joined.leader, ids[1]);
    assert_eq!(joined.members.len(), 1);
}

#[test]
fn who_does_not_sync_in_time_is_out_and_the_others_join_again() {
    let mut rig = Rig::eager();
    let asked = [(); 2].map(|()| rig.send(Request::Join(old_join("g"))));
    rig.pass(0);
    let joined = asked.map(|to| rig.joined(to));
    let leader = joined[0].leader.clone();
    let other = joined
        .iter()
        .find(|j| j.member != leader)
        .unwrap()
        .member
        .clone();
    let to = rig.send(Request::Sync(sync("g", 1, &leader, &[&leader, &other])));
    assert_eq!(synced(&mut rig, to), leader.as_bytes());
    for _ in 0..5 {
        rig.pass(5_000);
        assert_eq!(rig.beat("g", 1, &leader), Ok(()));
        assert_eq!(rig.beat("g", 1, &other), Ok(()));
    }
    rig.pass(5_000);
    assert_eq!(rig.beat("g", 1, &other), Err(GroupError::UnknownMemberId));
    assert_eq!(
        rig.beat("g", 1, &leader),
        Err(GroupError::RebalanceInProgress)
    );
}

#[test]
fn a_follower_waits_for_the_leader_and_is_told_to_join_again_if_it_leaves() {
    let mut rig = Rig::eager();
    let asked = [(); 2].map(|()| rig.send(Request::Join(old_join("g"))));
    rig.pass(0);
    let joined = asked.map(|to| rig.joined(to));
    let leader = joined[0].leader.clone();
    let other = joined
        .iter()
        .find(|j| j.member != leader)
        .unwrap()
        .member
        .clone();
    let waits = rig.send(Request::Sync(sync("g", 1, &other, &[])));
    assert!(rig.replies.is_empty());
    rig.ask(Request::Leave(leave("g", &leader, None)));
    let reply = rig.replies.remove(&waits);
    assert_eq!(
        reply,
        Some(Reply::Synced(Err(GroupError::RebalanceInProgress)))
    );
}

#[test]
fn a_session_ends_without_heartbeats_and_the_last_leaves_an_empty_group() {
    let mut rig = Rig::eager();
    let (ids, generation) = rig.stable("g", 2);
    rig.pass(6_000);
    assert_eq!(rig.beat("g", generation, &ids[0]), Ok(()));
    rig.pass(4_000);
    assert_eq!(
        rig.beat("g", generation, &ids[1]),
        Err(GroupError::UnknownMemberId)
    );
    assert_eq!(
        rig.beat("g", generation, &ids[0]),
        Err(GroupError::RebalanceInProgress)
    );
    rig.pass(10_000);
    assert_eq!(rig.state("g"), "Empty");
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut rig = Rig::eager();
    let asked = ["a", "b"].map(|i| rig.send(Request::Join(static_join("g", "", i))));
    rig.pass(0);
    let joined = asked.map(|to| rig.joined(to));
    let leader = joined[0].leader.clone();
    let all = joined.each_ref().map(|j| &*j.member);
    let to = rig.send(Request::Sync(sync("g", 1, &leader, &all)));
    synced(&mut rig, to);
    let (at, old) = if joined[0].member == leader {
        ("a", 0)
    } else {
        ("b", 1)
    };
    let to = rig.send(Request::Join(static_join("g", "", at)));
    let back = rig.joined(to);
    assert_eq!(back.generation, 1, "no rebalance");
    assert!(
        back.skip_assignment && back.members.len() == 2,
        "it leads, and need not assign"
    );
    assert_ne!(back.member, joined[old].member);
    let to = rig.send(Request::Sync(sync("g", 1, &back.member, &[])));
    assert_eq!(
        synced(&mut rig, to),
        joined[old].member.as_bytes(),
        "what it had"
    );
    // Its other self is fenced.
    let fenced = crate::Heartbeat {
        instance: Some(at.into()),
        ..heartbeat("g", 1, &joined[old].member)
    };
    let reply = rig.ask(Request::Heartbeat(fenced));
    assert_eq!(reply, Reply::Heartbeat(Err(GroupError::FencedInstanceId)));
    let (error, _) = rig.refused_join(static_join("g", &joined[old].member, at));
    assert_eq!(error, GroupError::FencedInstanceId);
    // A client that cannot skip the assignment is told that its other self leads.
    let plain = JoinGroup {
        can_skip_assignment: false,
        ..static_join("g", "", at)
    };
    let to = rig.send(Request::Join(plain));
    let again = rig.joined(to);
    assert_eq!(again.leader, back.member);
    assert!(!again.skip_assignment && again.members.is_empty());
}

#[test]
fn a_static_member_that_joins_twice_at_once_fences_its_other_self() {
    let mut rig = Rig::eager();
    let first = rig.send(Request::Join(static_join("g", "", "a")));
    let second = rig.send(Request::Join(static_join("g", "", "a")));
    let refused = rig.replies.remove(&first);
    assert!(matches!(
        refused,
        Some(Reply::Joined(Err((GroupError::FencedInstanceId, _))))
    ));
    rig.pass(0);
    assert_eq!(rig.joined(second).members.len(), 1);
}

#[test]
fn a_static_member_that_came_back_is_not_fenced_if_the_rebalance_is_lost_in_a_restart() {
    let mut rig = Rig::eager();
    let to = rig.send(Request::Join(static_join("g", "", "a")));
    rig.pass(0);
    let old = rig.joined(to).member;
    let to = rig.send(Request::Sync(sync("g", 1, &old, &[&old])));
    synced(&mut rig, to);
    let other = rig.send(Request::Join(old_join("g")));
    let to = rig.send(Request::Join(static_join("g", "", "a")));
    let new = rig.joined(to).member;
    rig.joined(other);
    rig.restart(rig.log.len());
    let sync = |member: &str| SyncGroup {
        instance: Some("a".into()),
        ..sync("g", 2, member, &[])
    };
    assert_eq!(
        sync_error(&mut rig, sync(&new)),
        GroupError::IllegalGeneration
    );
    assert_eq!(
        sync_error(&mut rig, sync(&old)),
        GroupError::FencedInstanceId
    );
    let to = rig.send(Request::Join(static_join("g", &new, "a")));
    assert_eq!(rig.joined(to).generation, 2);
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance_alone() {
    let mut rig = Rig::eager();
    let to = rig.send(Request::Join(static_join("g", "", "a")));
    rig.pass(0);
    rig.joined(to);
    let Reply::Left(Ok(left)) = rig.ask(Request::Leave(leave("g", "", Some("a")))) else {
        panic!("no leave");
    };
    assert_eq!(left[0].result, Ok(()));
    assert_eq!(rig.state("g"), "Empty");
    let Reply::Left(Ok(left)) = rig.ask(Request::Leave(leave("g", "", Some("a")))) else {
        panic!("no leave");
    };
    assert_eq!(left[0].result, Err(GroupError::UnknownMemberId));
}

#[test]
fn the_assignor_with_most_votes_among_those_of_all_is_chosen() {
    let mut rig = Rig::eager();
    let named = |names: &[&str]| JoinGroup {
        protocols: names.iter().map(|n| ((*n).into(), Bytes::new())).collect(),
        protocol_type: "connect".into(),
        ..old_join("g")
    };
    let all = [&["b", "a", "c"][..], &["a", "b"], &["c", "b", "a"]];
    let asked = all.map(|names| rig.send(Request::Join(named(names))));
    let (error, _) = rig.refused_join(named(&["c"]));
    assert_eq!(error, GroupError::InconsistentGroupProtocol);
    rig.pass(0);
    for to in asked {
        // Two vote for b: c is not everybody's.
        let joined = rig.joined(to);
        assert_eq!(joined.protocol_name.as_deref(), Some("b"));
        assert_eq!(joined.protocol_type.as_deref(), Some("connect"));
    }
}

#[test]
fn bad_input_is_refused_as_kafka_does_and_changes_nothing() {
    let mut rig = Rig::eager();
    let refused = |rig: &mut Rig, join: JoinGroup| rig.refused_join(join).0;
    assert_eq!(refused(&mut rig, join("", "")), GroupError::InvalidGroupId);
    assert_eq!(
        refused(&mut rig, join("none", "x")),
        GroupError::UnknownMemberId
    );
    for session_timeout_ms in [5_999, 1_800_001, -1] {
        let join = JoinGroup {
            session_timeout_ms,
            ..join("none", "")
        };
        assert_eq!(refused(&mut rig, join), GroupError::InvalidSessionTimeout);
    }
    let untyped = JoinGroup {
        protocol_type: "".into(),
        ..join("none", "")
    };
    assert_eq!(
        refused(&mut rig, untyped),
        GroupError::InconsistentGroupProtocol
    );
    let without = JoinGroup {
        protocols: Vec::new(),
        ..join("none", "")
    };
    assert_eq!(
        refused(&mut rig, without),
        GroupError::InconsistentGroupProtocol
    );
    assert_eq!(rig.beat("none", 0, "x"), Err(GroupError::UnknownMemberId));
    assert_eq!(rig.beat("", 0, "x"), Err(GroupError::InvalidGroupId));
    assert_eq!(
        sync_error(&mut rig, sync("none", 0, "x", &[])),
        GroupError::UnknownMemberId
    );
    let reply = rig.ask(Request::Leave(leave("none", "x", None)));
    assert_eq!(reply, Reply::Left(Err(GroupError::UnknownMemberId)));
    assert!(rig.log.is_empty());
}

#[test]
fn bad_input_to_a_stable_group_is_refused_as_kafka_does_and_changes_nothing() {
    let mut rig = Rig::eager();
    let refused = |rig: &mut Rig, join: JoinGroup| rig.refused_join(join).0;
    let (ids, generation) = rig.stable("g", 2);
    let log = rig.log.len();
    let other_type = JoinGroup {
        protocol_type: "connect".into(),
        ..join("g", "")
    };
    assert_eq!(
        refused(&mut rig, other_type),
        GroupError::InconsistentGroupProtocol
    );
    let longest = JoinGroup {
        instance: Some("i".repeat(40_000).into()),
        ..join("g", "")
    };
    assert!(matches!(
        refused(&mut rig, longest),
        GroupError::InvalidRequest(_)
    ));
    assert_eq!(
        refused(&mut rig, join("g", "x")),
        GroupError::UnknownMemberId
    );
    assert_eq!(
        rig.beat("g", generation + 1, &ids[0]),
        Err(GroupError::IllegalGeneration)
    );
    assert_eq!(
        rig.beat("g", generation, "x"),
        Err(GroupError::UnknownMemberId)
    );
    let error = sync_error(&mut rig, sync("g", generation - 1, &ids[0], &[]));
    assert_eq!(error, GroupError::IllegalGeneration);
    let renamed = SyncGroup {
        protocol_name: Some("sticky".into()),
        ..sync("g", generation, &ids[0], &[])
    };
    assert_eq!(
        sync_error(&mut rig, renamed),
        GroupError::InconsistentGroupProtocol
    );
    assert_eq!(rig.log.len(), log);
    assert_eq!(rig.state("g"), "Stable");
}

#[test]
fn an_asker_that_has_gone_gets_no_reply_and_its_member_stays_until_its_session_ends() {
    let mut rig = Rig::eager();
    let gone = rig.send(Request::Join(old_join("g")));
    let here = rig.send(Request::Join(old_join("g")));
    rig.machine.cancel(gone);
    rig.machine.check_invariants();
    rig.pass(0);
    let joined = rig.joined(here);
    assert!(!rig.replies.contains_key(&gone));
    rig.pass(9_999);
    let to = rig.send(Request::Sync(sync("g", 1, &joined.member, &[])));
    rig.machine.cancel(to);
    rig.pass(1);
    assert!(rig.replies.is_empty());
}

#[test]
fn a_restart_keeps_the_last_generation_that_was_assigned() {
    let mut rig = Rig::eager();
    let (ids, generation) = rig.stable("g", 2);
    let to = rig.send(Request::Join(join("g", &ids[0])));
    rig.restart(rig.log.len());
    assert!(!rig.replies.contains_key(&to));
    assert_eq!(rig.state("g"), "Stable");
    for id in &ids {
        assert_eq!(rig.beat("g", generation, id), Ok(()));
    }
    rig.pass(9_999);
    assert_eq!(
        rig.beat("g", generation, &ids[0]),
        Ok(()),
        "sessions begin anew"
    );
    rig.pass(1);
    assert_eq!(
        rig.beat("g", generation, &ids[1]),
        Err(GroupError::UnknownMemberId)
    );
}

#[test]
fn a_group_larger_than_now_allowed_rebalances_when_it_is_loaded() {
    let mut rig = Rig::eager();
    let (ids, generation) = rig.stable("g", 3);
    let small = Arc::new(GroupConfig {
        classic_members_max: 2,
        ..GroupConfig::default()
    });
    let mut machine = crate::Coordinator::new(small);
    for record in &rig.log {
        machine.replay(record).unwrap();
    }
    let moment = rig.moment();
    machine.loaded(&moment, &rig.topics);
    let beat = Request::Heartbeat(heartbeat("g", generation, &ids[0]));
    let outcome = machine.handle(&moment, &rig.topics, ReplyTo(1), beat);
    let error = GroupError::RebalanceInProgress;
    assert_eq!(
        outcome.replies,
        [(ReplyTo(1), Reply::Heartbeat(Err(error)))]
    );
}

#[test]
fn listing_and_describing_show_what_kafka_shows() {
    let mut rig = Rig::eager();
    let (ids, _) = rig.stable("g", 1);
    rig.member_id("h");
    let Reply::Described(Ok(group)) = rig.ask(Request::Describe("g".into())) else {
        panic!("no description");
    };
    assert_eq!(
        (group.state, &*group.protocol, &*group.protocol_type),
        ("Stable", "range", "consumer")
    );
    assert_eq!(group.members[0].assignment, ids[0].as_bytes());
    assert_eq!(group.members[0].metadata, subscription(&["alpha"]));
    let list = |rig: &mut Rig, states: &[&str], types: &[&str]| {
        let texts = |texts: &[&str]| texts.iter().map(|t| Arc::from(*t)).collect();
        let filters = crate::ListGroups {
            states: texts(states),
            types: texts(types),
        };
        match rig.ask(Request::List(filters)) {
            Reply::Listed(groups) => groups.into_iter().map(|g| g.group).collect::<Vec<_>>(),
            other => panic!("no list: {other:?}"),
        }
    };
    let all: [Arc<str>; 2] = ["g".into(), "h".into()];
    assert_eq!(list(&mut rig, &[], &[]), all);
    assert_eq!(list(&mut rig, &["stable"], &["CLASSIC"]), all[..1]);
    assert_eq!(list(&mut rig, &["Empty", "Dead"], &[]), all[1..]);
    assert!(list(&mut rig, &[], &["consumer"]).is_empty());
}

#[test]
fn a_group_is_deleted_once_it_is_empty() {
    let mut rig = Rig::eager();
    let (ids, _) = rig.stable("g", 1);
    let delete = || Request::Delete("g".into());
    assert_eq!(
        rig.ask(delete()),
        Reply::Deleted(Err(GroupError::NonEmptyGroup))
    );
    rig.ask(Request::Leave(leave("g", &ids[0], None)));
    assert_eq!(rig.ask(delete()), Reply::Deleted(Ok(())));
    assert!(matches!(
        rig.ask(delete()),
        Reply::Deleted(Err(GroupError::GroupIdNotFound(_)))
    ));
    assert_eq!((rig.live(), rig.state("g")), (0, "Dead"));
}

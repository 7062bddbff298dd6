//! What a group may take, and what it refuses where there is no room.

use std::sync::Arc;

use uuid::Uuid;

use crate::testing::{Rig, join};
use crate::{ConsumerHeartbeat, GroupError, Reply, Request, TopicInfo};

fn beat(
    rig: &mut Rig,
    group: &str,
    member: &str,
    epoch: i32,
    change: impl FnOnce(&mut ConsumerHeartbeat),
) -> Result<i32, GroupError> {
    let mut request = ConsumerHeartbeat {
        group: group.into(),
        identity: join(group, "").identity,
        member: member.into(),
        member_epoch: epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: 30_000,
        topic_names: None,
        topic_regex: None,
        assignor: None,
        owned: (epoch == 0).then(Vec::new),
        may_lack_member: false,
    };
    change(&mut request);
    match rig.ask(Request::ConsumerHeartbeat(request)) {
        Reply::ConsumerHeartbeat(result) => result.map(|reply| reply.member_epoch),
        other => panic!("no heartbeat: {other:?}"),
    }
}

fn reads(topics: &[&str]) -> impl FnOnce(&mut ConsumerHeartbeat) {
    let names = topics.iter().map(|name| Arc::from(*name)).collect();
    |request| request.topic_names = Some(names)
}

#[test]
fn what_is_new_is_refused_and_what_is_there_goes_on() {
    let mut rig = Rig::eager();
    assert_eq!(beat(&mut rig, "g", "m", 0, reads(&["alpha"])), Ok(1));
    rig.budget = rig.machine.bytes() * 8 / 7 + 100;
    for (group, member) in [("g", "n"), ("h", "m")] {
        let refused = beat(&mut rig, group, member, 0, reads(&["alpha"]));
        let error = refused.unwrap_err();
        assert!(matches!(error, GroupError::LimitReached(_)));
        assert_eq!(error.code(), 81);
    }
    assert_eq!(beat(&mut rig, "g", "m", 1, |_| {}), Ok(1));
    let longer = vec![Arc::from("x".repeat(5_000))];
    let refused = beat(&mut rig, "g", "m", 1, |it| it.topic_names = Some(longer));
    assert!(matches!(refused, Err(GroupError::LimitReached(_))));
    assert_eq!(beat(&mut rig, "g", "m", 1, reads(&["alpha"])), Ok(1));
}

#[test]
fn the_partitions_that_a_group_would_read_are_counted_before_it_does() {
    let mut rig = Rig::eager();
    for (name, id) in [("wide", 7), ("wider", 8)] {
        let id = Uuid::from_u128(id);
        let partitions = 10_000;
        rig.topics
            .0
            .insert(name.into(), TopicInfo { id, partitions });
    }
    assert_eq!(beat(&mut rig, "g", "m", 0, reads(&["wide"])), Ok(1));
    assert!(rig.machine.bytes() > 10_000 * 100);
    rig.budget = rig.machine.bytes() + 500_000;
    // One more member of theirs needs no more for partitions.
    assert_eq!(beat(&mut rig, "g", "n", 0, reads(&["wide"])), Ok(2));
    let taken = rig.machine.bytes();
    for (group, member) in [("g", "o"), ("h", "m")] {
        let refused = beat(&mut rig, group, member, 0, reads(&["wider"]));
        assert!(matches!(refused, Err(GroupError::LimitReached(_))));
        let regex = |it: &mut ConsumerHeartbeat| it.topic_regex = Some("wid.+".into());
        let refused = beat(&mut rig, group, member, 0, regex);
        assert!(matches!(refused, Err(GroupError::LimitReached(_))));
    }
    assert_eq!(rig.machine.bytes(), taken);
}

#[test]
fn topics_that_grow_are_read_when_there_is_room_for_them() {
    let mut rig = Rig::eager();
    let add = |rig: &mut Rig, name: &str, id: u128, partitions| {
        let id = Uuid::from_u128(id);
        rig.topics
            .0
            .insert(name.into(), TopicInfo { id, partitions });
    };
    add(&mut rig, "wide", 7, 10);
    let names = reads(&["wide", "later"]);
    assert_eq!(beat(&mut rig, "g", "m", 0, names), Ok(1));
    let regex = |it: &mut ConsumerHeartbeat| it.topic_regex = Some("wi.+|more.*".into());
    assert_eq!(beat(&mut rig, "h", "m", 0, regex), Ok(1));
    rig.budget = rig.machine.bytes() + 20_000;
    add(&mut rig, "later", 8, 10_000);
    add(&mut rig, "more", 9, 10_000);
    let taken = rig.machine.bytes();
    for group in ["g", "h"] {
        assert_eq!(beat(&mut rig, group, "m", 1, |_| {}), Ok(1), "it goes on");
    }
    assert_eq!(rig.machine.bytes(), taken);
    // Another member, and the one before goes: what they read is shared anew, and no more.
    assert_eq!(beat(&mut rig, "g", "m", -1, |_| {}), Ok(-1));
    let again = beat(&mut rig, "g", "n", 0, reads(&["wide"]));
    assert_eq!(again, Ok(3));
    assert!(rig.machine.bytes() < taken + 10_000);
    rig.budget = u64::MAX;
    assert_eq!(beat(&mut rig, "h", "m", 1, |_| {}), Ok(2));
    assert!(rig.machine.bytes() > taken + 10_000 * 100);
}

#[test]
fn more_topics_than_may_be_named_are_refused() {
    let mut rig = Rig::eager();
    let names: Vec<Arc<str>> = (0..100_001).map(|at| at.to_string().into()).collect();
    let refused = beat(&mut rig, "g", "m", 0, |it| it.topic_names = Some(names));
    assert!(matches!(refused, Err(GroupError::InvalidRequest(_))));
}

//! What a full group and a full machine refuse.

use std::sync::Arc;

use bytes::Bytes;

use crate::testing::{Rig, join, leave, old_join, simple_commit, subscription, sync, to_commit};
use crate::{GroupConfig, GroupError, JoinGroup, Reply, Request};

#[test]
fn a_full_group_turns_new_members_away() {
    let mut rig = Rig::new(GroupConfig {
        classic_members_max: 2,
        initial_rebalance_delay_ms: 0,
        ..GroupConfig::default()
    });
    let (ids, generation) = rig.stable("g", 2);
    let (error, _) = rig.refused_join(join("g", ""));
    assert_eq!(error, GroupError::GroupMaxSizeReached);
    assert_eq!(rig.beat("g", generation, &ids[1]), Ok(()));
    // Ids alone fill an empty group too.
    rig.member_id("h");
    rig.member_id("h");
    let (error, _) = rig.refused_join(join("h", ""));
    assert_eq!(error, GroupError::GroupMaxSizeReached);
}

#[test]
fn a_full_machine_takes_no_further_group_and_no_further_bytes() {
    let mut rig = Rig::new(GroupConfig {
        groups_max: 1,
        ..GroupConfig::default()
    });
    rig.budget = 10_000;
    rig.member_id("g");
    let (error, _) = rig.refused_join(join("h", ""));
    assert!(matches!(error, GroupError::LimitReached(_)));
    let large = JoinGroup {
        protocols: vec![("range".into(), Bytes::from(vec![0; 10_000]))],
        ..join("g", "")
    };
    let (error, _) = rig.refused_join(large);
    assert!(matches!(error, GroupError::LimitReached(_)));
}

#[test]
fn members_of_today_rebalance_where_no_other_finds_room() {
    let mut rig = Rig::eager();
    let (ids, generation) = rig.stable("g", 2);
    // New ones find no room; those of today may still grow a little.
    rig.budget = rig.machine.bytes() * 8 / 7;
    for group in ["g", "h"] {
        let (error, _) = rig.refused_join(join(group, ""));
        assert!(matches!(error, GroupError::LimitReached(_)));
        assert_eq!(error.code(), 81);
    }
    assert_eq!(rig.beat("g", generation, &ids[0]), Ok(()));
    let again = |id: &str| JoinGroup {
        protocols: vec![("range".into(), Bytes::from(vec![0; 100]))],
        ..join("g", id)
    };
    let waiting: Vec<_> = ids
        .iter()
        .map(|id| rig.send(Request::Join(again(id))))
        .collect();
    rig.pass(0);
    let joined: Vec<_> = waiting.into_iter().map(|to| rig.joined(to)).collect();
    assert!(
        joined
            .iter()
            .all(|joined| joined.generation == generation + 1)
    );
    // What is far beyond its room is refused, and the group is as it was.
    let mut share = sync("g", generation + 1, &joined[0].leader, &[]);
    share.assignments = vec![(ids[0].clone(), Bytes::from(vec![0; 100_000]))];
    let reply = rig.ask(Request::Sync(share));
    assert!(matches!(
        reply,
        Reply::Synced(Err(GroupError::LimitReached(_)))
    ));
    assert_eq!(rig.beat("g", generation + 1, &ids[1]), Ok(()));
}

#[test]
fn ids_that_were_given_out_and_names_of_assignors_fill_a_machine() {
    let mut rig = Rig::new(GroupConfig::default());
    rig.budget = 100_000;
    let ids = (0..1_000).take_while(|_| {
        let (error, _) = rig.refused_join(join("g", ""));
        error == GroupError::MemberIdRequired
    });
    let ids = ids.count();
    assert!((50..100).contains(&ids), "{ids}");
    // Late, they make room.
    rig.pass(10_000);
    rig.member_id("g");
    let names = |number: usize| JoinGroup {
        protocols: vec![(number.to_string().repeat(30_000).into(), Bytes::new())],
        ..old_join(&format!("n{number}"))
    };
    for number in 0..3 {
        rig.send(Request::Join(names(number)));
    }
    let (error, _) = rig.refused_join(names(3));
    assert!(matches!(error, GroupError::LimitReached(_)));
}

#[test]
fn names_of_topics_are_counted_as_what_they_take_before_anybody_notes_them() {
    // Three bytes each, and far more when noted.
    let metadata = |names: i32| {
        let mut bytes = vec![0, 1];
        bytes.extend(names.to_be_bytes());
        for name in 0..names {
            bytes.extend(3_u16.to_be_bytes());
            bytes.extend(format!("{:03}", name % 1_000).as_bytes());
        }
        bytes.extend((-1_i32).to_be_bytes());
        Bytes::from(bytes)
    };
    let mut rig = Rig::eager();
    rig.budget = 50_000;
    let member = |group: &str, names| JoinGroup {
        protocols: vec![("range".into(), metadata(names))],
        ..old_join(group)
    };
    let (error, _) = rig.refused_join(member("g", 1_000));
    assert!(matches!(error, GroupError::LimitReached(_)));
    let before = rig.machine.bytes();
    let waits = rig.send(Request::Join(member("g", 100)));
    assert!(rig.machine.bytes() > before + 100 * 64, "while it waits");
    rig.pass(0);
    rig.joined(waits);
    assert!(rig.machine.bytes() > before + 100 * 64, "and afterwards");
    assert!(rig.machine.bytes() < rig.budget);
}

/// Members join again, and all their joins are answered.
fn join_again(rig: &mut Rig, joins: Vec<JoinGroup>) -> Vec<crate::Joined> {
    let joins = joins.into_iter();
    let waiting: Vec<_> = joins.map(|join| rig.send(Request::Join(join))).collect();
    rig.pass(0);
    waiting.into_iter().map(|to| rig.joined(to)).collect()
}

/// The leader gives each of these a share.
fn assign(rig: &mut Rig, joined: &crate::Joined, shares: Vec<(Arc<str>, Bytes)>) -> Reply {
    let mut all = sync("g", joined.generation, &joined.leader, &[]);
    all.assignments = shares;
    rig.ask(Request::Sync(all))
}

#[test]
fn what_a_group_had_is_kept_for_its_next_generation() {
    let mut rig = Rig::eager();
    rig.commit(simple_commit("other", vec![to_commit("alpha", 0, 1)]));
    let (ids, _) = rig.stable("g", 3);
    // Nothing is left.
    rig.budget = rig.machine.bytes();
    rig.ask(Request::Leave(leave("g", &ids[2], None)));
    assert_eq!(rig.machine.bytes(), rig.budget, "kept");
    let mut longer = to_commit("alpha", 0, 2);
    longer.metadata = Some("m".repeat(900).into());
    let results = rig.commit(simple_commit("other", vec![longer]));
    assert!(
        matches!(results[..], [Err(GroupError::CommitLimitReached(_))]),
        "nobody else takes it: {results:?}"
    );
    let joined = join_again(&mut rig, ids[..2].iter().map(|id| join("g", id)).collect());
    // Two have what three had.
    let share = |id: &Arc<str>| (id.clone(), Bytes::from(vec![7; 3 * id.len() / 2]));
    let shares = ids[..2].iter().map(share).collect();
    let reply = assign(&mut rig, &joined[0], shares);
    assert!(matches!(reply, Reply::Synced(Ok(_))), "{reply:?}");
    assert!(
        rig.machine.bytes() < rig.budget,
        "the next generation is smaller"
    );
    // A rebalance that is begun again in its midst takes no more than the one before.
    rig.budget = rig.machine.bytes();
    let again = || ids[..2].iter().map(|id| join("g", id));
    let leads = |joined: &[crate::Joined]| joined[0].clone();
    for _ in 0..2 {
        let mut changed: Vec<JoinGroup> = again().collect();
        changed[0].protocols = vec![("range".into(), subscription(&["omega"]))];
        let joined = join_again(&mut rig, changed);
        let joined = leads(&joined);
        let back = join_again(&mut rig, again().collect());
        assert_eq!(back[0].generation, joined.generation + 1);
        let shares = ids[..2].iter().map(share).collect();
        let reply = assign(&mut rig, &back[0], shares);
        assert!(matches!(reply, Reply::Synced(Ok(_))), "{reply:?}");
        assert_eq!(rig.machine.bytes(), rig.budget);
    }
}

#[test]
fn members_join_again_after_a_start_with_less_memory() {
    let two = |id: &str| JoinGroup {
        protocols: vec![
            ("range".into(), subscription(&["alpha"])),
            ("cooperative-sticky".into(), subscription(&["alpha"])),
        ],
        ..join("g", id)
    };
    let mut rig = Rig::eager();
    let ids: Vec<Arc<str>> = (0..2).map(|_| rig.member_id("g")).collect();
    let joins = |ids: &[Arc<str>]| ids.iter().map(|id| two(id)).collect::<Vec<_>>();
    let joined = join_again(&mut rig, joins(&ids));
    let share = |id: &Arc<str>| (id.clone(), Bytes::from(vec![7; 100]));
    let shares = || ids.iter().map(share).collect::<Vec<_>>();
    let reply = assign(&mut rig, &joined[0], shares());
    assert!(matches!(reply, Reply::Synced(Ok(_))), "{reply:?}");
    rig.restart(rig.log.len());
    rig.budget = rig.machine.bytes() / 2;
    let (error, _) = rig.refused_join(join("g", ""));
    assert!(matches!(error, GroupError::LimitReached(_)));
    for _ in 0..3 {
        let joined = join_again(&mut rig, joins(&ids));
        let reply = assign(&mut rig, &joined[0], shares());
        assert!(matches!(reply, Reply::Synced(Ok(_))), "{reply:?}");
    }
}

#[test]
fn more_assignors_than_anybody_has_are_refused() {
    let mut rig = Rig::eager();
    let with = |count: usize| JoinGroup {
        protocols: (0..count)
            .map(|number| (number.to_string().into(), Bytes::new()))
            .collect(),
        ..join("g", "")
    };
    let (error, _) = rig.refused_join(with(100));
    assert_eq!(error, GroupError::MemberIdRequired);
    let (error, _) = rig.refused_join(with(101));
    assert!(matches!(error, GroupError::InvalidRequest(_)), "{error}");
}

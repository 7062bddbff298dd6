//! What a full group and a full machine refuse.

use bytes::Bytes;

use crate::testing::{Rig, join, old_join, sync};
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

//! What a full group and a full machine refuse.

use bytes::Bytes;

use crate::testing::{Rig, join, old_join};
use crate::{GroupConfig, GroupError, JoinGroup, Request};
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
        bytes_max: 1_000,
        ..GroupConfig::default()
    });
    rig.member_id("g");
    let (error, _) = rig.refused_join(join("h", ""));
    assert!(matches!(error, GroupError::LimitReached(_)));
    let large = JoinGroup {
        protocols: vec![("range".into(), Bytes::from(vec![0; 1_000]))],
        ..join("g", "")
    };
    let (error, _) = rig.refused_join(large);
    assert!(matches!(error, GroupError::LimitReached(_)));
}

#[test]
fn ids_that_were_given_out_and_names_of_assignors_fill_a_machine() {
    let mut rig = Rig::new(GroupConfig {
        bytes_max: 100_000,
        ..GroupConfig::default()
    });
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

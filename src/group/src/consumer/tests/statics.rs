//! Static members that come back speaking the other protocol.

use super::*;

fn static_classic_join(member: &str, owned: &[i32]) -> JoinGroup {
    JoinGroup {
        instance: Some("i".into()),
        ..classic_join(member, owned)
    }
}

/// A stable classic group of one static member with all four partitions of alpha.
fn static_group(rig: &mut Rig) -> (Arc<str>, i32) {
    let to = rig.send(Request::Join(static_classic_join("", &[])));
    rig.pass(0);
    let joined = rig.joined(to);
    let all: NamedPartitions = vec![("alpha".into(), vec![0, 1, 2, 3])];
    let mut request = sync("g", joined.generation, &joined.member, &[]);
    request.instance = Some("i".into());
    request.assignments = vec![(joined.member.clone(), EmbeddedAssignment::encode(1, &all))];
    assert!(matches!(
        rig.ask(Request::Sync(request)),
        Reply::Synced(Ok(_))
    ));
    (joined.member, joined.generation)
}

#[test]
fn a_static_member_takes_its_group_over_to_the_new_protocol_and_back() {
    let mut rig = Rig::eager();
    let (old, generation) = static_group(&mut rig);
    let commit = CommitOffsets {
        generation_or_epoch: generation,
        member: old.clone(),
        instance: Some("i".into()),
        ..simple_commit("g", vec![to_commit("alpha", 1, 9)])
    };
    assert_eq!(rig.commit(commit), [Ok(())]);
    // It comes back as a member of the new protocol: what it had is its own still.
    let new = of_instance(joining("n", &["alpha"]), "i");
    let reply = rig.heartbeat(new).unwrap();
    assert_eq!(reply.assignment, alpha(&[0, 1, 2, 3]));
    assert_eq!(rig.kind(), "consumer");
    let members = rig.description().members;
    assert_eq!((members.len(), members[0].classic), (1, false));
    // Who it was is not known any more.
    let late = Heartbeat {
        instance: Some("i".into()),
        ..crate::testing::heartbeat("g", generation, &old)
    };
    let answer = rig.ask(Request::Heartbeat(late));
    assert_eq!(answer, Reply::Heartbeat(Err(GroupError::FencedInstanceId)));
    rig.restart(rig.log.len());
    assert_eq!(rig.kind(), "consumer");
    // And back again: nothing else changes, so that its assignment stands.
    let to = rig.send(Request::Join(static_classic_join("", &[0, 1, 2, 3])));
    rig.pass(0);
    let joined = rig.joined(to);
    assert_eq!((rig.kind(), rig.state("g")), ("classic", "Stable"));
    let mut request = sync("g", joined.generation, &joined.member, &[]);
    request.instance = Some("i".into());
    match rig.ask(Request::Sync(request)) {
        Reply::Synced(Ok(synced)) => assert_eq!(partitions(&synced.assignment), [0, 1, 2, 3]),
        other => panic!("no sync: {other:?}"),
    }
    assert_eq!(rig.offset("g", "alpha", 1), 9);
    let fenced = rig.heartbeat(of_instance(request_of_new(joined.generation), "i"));
    assert_eq!(
        fenced.unwrap_err().code(),
        69,
        "it is no group of the new protocol"
    );
}

fn request_of_new(epoch: i32) -> ConsumerHeartbeat {
    request("n", epoch)
}

#[test]
fn a_static_member_that_comes_back_classic_beside_others_leaves_the_group_as_it_is() {
    let mut rig = Rig::eager();
    rig.heartbeat(of_instance(joining("n", &["alpha"]), "i"))
        .unwrap();
    rig.heartbeat(joining("m", &["alpha"])).unwrap();
    let epoch = rig.description().group_epoch;
    let to = rig.send(Request::Join(static_classic_join("", &[0, 1, 2, 3])));
    let joined = rig.joined(to);
    assert_eq!(rig.kind(), "consumer");
    let members = rig.description().members;
    let classic: Vec<bool> = members.iter().map(|member| member.classic).collect();
    assert_eq!(classic.iter().filter(|classic| **classic).count(), 1);
    assert!(members.iter().any(|member| member.member == joined.member));
    assert!(rig.description().group_epoch >= epoch);
}

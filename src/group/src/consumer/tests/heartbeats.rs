//! What a heartbeat costs when nothing has changed.

use super::*;

/// A stable group of so many members with one partition each.
fn stable(members: u64) -> (Rig, crate::Coordinator, i32) {
    let mut rig = Rig::eager();
    let wide = TopicInfo {
        id: Uuid::from_u128(9),
        partitions: members as i32,
    };
    rig.topics.0.insert("wide".into(), wide);
    let mut machine = crate::Coordinator::new(Arc::new(GroupConfig::default()));
    let mut beat = |request| {
        let moment = rig.moment();
        let request = Request::ConsumerHeartbeat(request);
        let outcome = machine.handle(&moment, &rig.topics, crate::ReplyTo(0), request);
        match outcome.replies.into_iter().next() {
            Some((_, Reply::ConsumerHeartbeat(Ok(reply)))) => reply,
            other => panic!("no heartbeat: {other:?}"),
        }
    };
    let mut replies: Vec<_> = (0..members)
        .map(|at| beat(joining(&format!("m{at}"), &["wide"])))
        .collect();
    // Each says what it was told it has, until all are where the group is.
    for _ in 0..3 {
        for reply in &mut replies {
            let says = ConsumerHeartbeat {
                owned: reply.assignment.clone(),
                ..request(&reply.member, reply.member_epoch)
            };
            let next = beat(says);
            reply.member_epoch = next.member_epoch;
            reply.assignment = next.assignment.or_else(|| reply.assignment.take());
        }
    }
    let epoch = replies[0].member_epoch;
    assert!(replies.iter().all(|reply| reply.member_epoch == epoch));
    (rig, machine, epoch)
}

fn allocated(members: u64) -> allocation_counter::AllocationInfo {
    let (mut rig, mut machine, epoch) = stable(members);
    let beat = Request::ConsumerHeartbeat(request("m1", epoch));
    let moment = rig.moment();
    allocation_counter::measure(|| {
        let outcome = machine.handle(&moment, &rig.topics, crate::ReplyTo(1), beat);
        assert!(outcome.records.is_empty());
    })
}

#[test]
fn a_heartbeat_allocates_as_little_in_a_large_group_as_in_a_small_one() {
    let (small, large) = (allocated(10), allocated(200));
    assert!(
        large.count_total <= small.count_total + 4,
        "{small:?} {large:?}"
    );
    assert!(large.count_total < 40, "{large:?}");
    assert!(large.bytes_total < 4_096, "{large:?}");
}

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::testing::{Rig, leave, old_join, simple_commit, subscription, to_commit};
use crate::{
    CommitOffsets, DeleteOffsets, FetchOffsets, FetchedOffsets, GroupError, JoinGroup,
    OffsetToCommit, Reply, Request, TopicInfo, TopicRef, WantedOffsets,
};

const DAY_MS: i64 = 24 * 3_600_000;

fn fetch(rig: &mut Rig, wanted: WantedOffsets) -> FetchedOffsets {
    let fetch = FetchOffsets {
        group: "g".into(),
        member: None,
        member_epoch: -1,
        wanted,
        require_stable: false,
    };
    match rig.ask(Request::Fetch(fetch)) {
        Reply::Fetched(Ok(fetched)) => fetched,
        other => panic!("no offsets: {other:?}"),
    }
}

fn member_commit(member: &str, generation: i32, offset: i64) -> CommitOffsets {
    CommitOffsets {
        member: member.into(),
        generation_or_epoch: generation,
        ..simple_commit("g", vec![to_commit("alpha", 0, offset)])
    }
}

#[test]
fn what_was_committed_is_fetched_by_name_by_id_and_all_of_it() {
    let mut rig = Rig::eager();
    let by_id = OffsetToCommit {
        topic: TopicRef::Id(Uuid::from_u128(2)),
        leader_epoch: 3,
        metadata: Some("m".into()),
        ..to_commit("", 1, 8)
    };
    let commit = simple_commit("g", vec![to_commit("alpha", 0, 7), by_id]);
    assert_eq!(rig.commit(commit), [Ok(()), Ok(())]);
    let all = fetch(&mut rig, WantedOffsets::All);
    let names: Vec<_> = all.topics.iter().map(|(topic, _)| topic.clone()).collect();
    assert_eq!(
        names,
        ["alpha", "beta"].map(|name| TopicRef::Name(name.into()))
    );
    let wanted = vec![
        (TopicRef::Id(Uuid::from_u128(2)), vec![1, 0]),
        (TopicRef::Id(Uuid::from_u128(9)), vec![0]),
    ];
    let some = fetch(&mut rig, WantedOffsets::Of(wanted));
    let found = &some.topics[0].1;
    assert_eq!((found[0].offset, found[0].leader_epoch), (8, 3));
    assert_eq!(found[0].metadata.as_deref(), Some("m"));
    assert_eq!(
        (found[1].offset, found[1].leader_epoch, &found[1].error),
        (-1, -1, &None)
    );
    assert_eq!(some.topics[1].1[0].error, Some(GroupError::UnknownTopicId));
    rig.restart(rig.log.len());
    assert_eq!(fetch(&mut rig, WantedOffsets::All), all);
}

#[test]
fn each_offset_is_refused_by_itself() {
    let mut rig = Rig::eager();
    let noted = |text: String| OffsetToCommit {
        metadata: Some(text.into()),
        ..to_commit("alpha", 1, 1)
    };
    let unknown = OffsetToCommit {
        topic: TopicRef::Id(Uuid::from_u128(9)),
        ..to_commit("", 0, 1)
    };
    let offsets = vec![
        to_commit("alpha", 0, 1),
        to_commit("alpha", 4, 1),
        to_commit("none", 0, 1),
        unknown,
        noted("é".repeat(4_097)),
        noted("é".repeat(4_096)),
    ];
    let results = rig.commit(simple_commit("g", offsets));
    let expected = [
        Ok(()),
        Err(GroupError::UnknownTopicOrPartition),
        Err(GroupError::UnknownTopicOrPartition),
        Err(GroupError::UnknownTopicId),
        Err(GroupError::OffsetMetadataTooLarge),
        Ok(()),
    ];
    assert_eq!(results, expected);
    assert_eq!(rig.log.len(), 2);
    let none = rig.commit(simple_commit("h", vec![to_commit("none", 0, 1)]));
    assert_eq!(none, [Err(GroupError::UnknownTopicOrPartition)]);
    assert_eq!(
        rig.state("h"),
        "Dead",
        "nothing was committed, so there is no group"
    );
}

#[test]
fn members_commit_in_their_generation_and_outsiders_while_there_are_none() {
    let mut rig = Rig::eager();
    let missing = rig.commit(member_commit("x", 3, 1));
    assert!(matches!(missing[0], Err(GroupError::GroupIdNotFound(_))));
    assert_eq!(rig.commit(member_commit("", -1, 1)), [Ok(())]);
    let (ids, generation) = rig.stable("g", 2);
    let refused = |rig: &mut Rig, member: &str, generation, error| {
        assert_eq!(
            rig.commit(member_commit(member, generation, 9)),
            [Err(error)]
        );
    };
    refused(&mut rig, "", -1, GroupError::UnknownMemberId);
    refused(&mut rig, "x", generation, GroupError::UnknownMemberId);
    refused(
        &mut rig,
        &ids[0],
        generation - 1,
        GroupError::IllegalGeneration,
    );
    let fenced = CommitOffsets {
        instance: Some("a".into()),
        ..member_commit(&ids[0], generation, 9)
    };
    assert_eq!(rig.commit(fenced), [Err(GroupError::UnknownMemberId)]);
    assert_eq!(rig.offset("g", "alpha", 0), 1);
    assert_eq!(rig.commit(member_commit(&ids[0], generation, 2)), [Ok(())]);
    // While others join again, a member may still commit; once it has joined anew, it may not
    // before it has synced.
    let new = rig.send(Request::Join(old_join("g")));
    assert_eq!(rig.commit(member_commit(&ids[0], generation, 3)), [Ok(())]);
    let again = ids.iter().map(|id| crate::testing::join("g", id));
    let again: Vec<_> = again.map(|join| rig.send(Request::Join(join))).collect();
    rig.joined(new);
    for to in again {
        rig.joined(to);
    }
    refused(&mut rig, &ids[0], generation, GroupError::IllegalGeneration);
    refused(
        &mut rig,
        &ids[0],
        generation + 1,
        GroupError::RebalanceInProgress,
    );
    assert_eq!(rig.offset("g", "alpha", 0), 3);
}

#[test]
fn a_commit_keeps_the_session() {
    let mut rig = Rig::eager();
    let (ids, generation) = rig.stable("g", 1);
    for offset in 0..4 {
        rig.pass(9_000);
        assert_eq!(
            rig.commit(member_commit(&ids[0], generation, offset)),
            [Ok(())]
        );
    }
    assert_eq!(rig.beat("g", generation, &ids[0]), Ok(()));
}

#[test]
fn offsets_of_a_simple_group_expire_after_their_commit() {
    let mut rig = Rig::eager();
    rig.commit(simple_commit("g", vec![to_commit("alpha", 0, 1)]));
    rig.pass(4 * DAY_MS as u64);
    rig.commit(simple_commit("g", vec![to_commit("alpha", 1, 1)]));
    rig.pass(3 * DAY_MS as u64 - 1);
    assert_eq!(rig.offset("g", "alpha", 0), 1);
    rig.pass(600_001);
    assert_eq!(rig.offset("g", "alpha", 0), -1);
    assert_eq!(rig.offset("g", "alpha", 1), 1);
    rig.pass(7 * DAY_MS as u64);
    assert_eq!((rig.state("g"), rig.live()), ("Dead", 0));
}

#[test]
fn offsets_of_a_group_expire_after_it_became_empty_and_those_it_reads_never() {
    let mut rig = Rig::eager();
    rig.commit(simple_commit(
        "g",
        vec![to_commit("alpha", 0, 1), to_commit("beta", 0, 1)],
    ));
    let (ids, generation) = rig.stable("g", 1);
    for _ in 0..(8 * DAY_MS / 9_000) {
        rig.now += std::time::Duration::from_millis(9_000);
        let moment = rig.moment();
        let due = rig
            .machine
            .next_deadline()
            .is_some_and(|due| due <= rig.now);
        if due {
            let outcome = rig.machine.tick(&moment, &rig.topics);
            rig.log.extend(outcome.records);
        }
        let beat = crate::testing::heartbeat("g", generation, &ids[0]);
        let to = crate::ReplyTo(u64::MAX);
        rig.machine
            .handle(&moment, &rig.topics, to, Request::Heartbeat(beat));
    }
    assert_eq!(rig.offset("g", "alpha", 0), 1, "it is read");
    assert_eq!(rig.offset("g", "beta", 0), -1, "nobody reads it");
    rig.ask(Request::Leave(leave("g", &ids[0], None)));
    rig.pass(7 * DAY_MS as u64 - 1);
    assert_eq!(rig.offset("g", "alpha", 0), 1);
    rig.pass(600_001);
    assert_eq!((rig.state("g"), rig.live()), ("Dead", 0));
}

#[test]
fn a_commit_may_say_how_long_to_keep_its_offsets() {
    let mut rig = Rig::eager();
    let retained = |retention_ms, partition| CommitOffsets {
        retention_ms: Some(retention_ms),
        ..simple_commit("g", vec![to_commit("alpha", partition, 1)])
    };
    rig.commit(retained(1_000, 0));
    rig.commit(retained(-1, 1));
    rig.restart(rig.log.len());
    rig.pass(600_000);
    assert_eq!(rig.offset("g", "alpha", 0), -1);
    assert_eq!(rig.offset("g", "alpha", 1), 1);
}

#[test]
fn many_offsets_expire_in_several_steps() {
    let mut rig = Rig::eager();
    let wide = TopicInfo {
        id: Uuid::from_u128(1),
        partitions: 2_500,
    };
    rig.topics.0.insert("alpha".into(), wide);
    let offsets = (0..2_500)
        .map(|partition| to_commit("alpha", partition, 1))
        .collect();
    rig.commit(simple_commit("g", offsets));
    rig.now += std::time::Duration::from_millis(8 * DAY_MS as u64);
    let mut steps = Vec::new();
    while rig
        .machine
        .next_deadline()
        .is_some_and(|due| due <= rig.now)
    {
        let moment = rig.moment();
        let outcome = rig.machine.tick(&moment, &rig.topics);
        steps.push(outcome.records.len());
        rig.take(outcome);
    }
    assert_eq!(steps, [1_000, 1_000, 501]);
    assert_eq!(rig.live(), 0);
}

#[test]
fn offsets_are_deleted_unless_the_group_reads_the_topic() {
    let mut rig = Rig::eager();
    let delete = |rig: &mut Rig, group: &str| {
        let topics = vec![
            ("alpha".into(), vec![0, 1]),
            ("beta".into(), vec![0]),
            ("none".into(), vec![0]),
        ];
        let delete = DeleteOffsets {
            group: group.into(),
            topics,
        };
        match rig.ask(Request::DeleteOffsets(delete)) {
            Reply::OffsetsDeleted(result) => result,
            other => panic!("no deletion: {other:?}"),
        }
    };
    assert!(matches!(
        delete(&mut rig, "g"),
        Err(GroupError::GroupIdNotFound(_))
    ));
    let unknown = || Err(GroupError::UnknownTopicOrPartition);
    rig.commit(simple_commit(
        "g",
        vec![to_commit("alpha", 0, 1), to_commit("beta", 0, 1)],
    ));
    rig.stable("g", 1);
    let read = || Err(GroupError::GroupSubscribedToTopic);
    assert_eq!(
        delete(&mut rig, "g"),
        Ok(vec![read(), read(), Ok(()), unknown()])
    );
    assert_eq!(rig.offset("g", "beta", 0), -1);
    assert_eq!(rig.offset("g", "alpha", 0), 1);
    let connect = JoinGroup {
        protocol_type: "connect".into(),
        protocols: vec![("p".into(), subscription(&[]))],
        ..old_join("c")
    };
    rig.send(Request::Join(connect));
    assert_eq!(delete(&mut rig, "c"), Err(GroupError::NonEmptyGroup));
    rig.commit(simple_commit("s", vec![to_commit("alpha", 0, 1)]));
    assert_eq!(
        delete(&mut rig, "s"),
        Ok(vec![Ok(()), Ok(()), Ok(()), unknown()])
    );
    assert_eq!(rig.state("s"), "Dead", "its offsets alone made it a group");
}

#[test]
fn a_subscription_that_cannot_be_read_counts_as_one_to_everything() {
    let mut rig = Rig::eager();
    rig.commit(simple_commit("g", vec![to_commit("beta", 0, 1)]));
    let garbled = JoinGroup {
        protocols: vec![(
            "range".into(),
            bytes::Bytes::from_static(&[0, 0, 0, 0, 0, 9]),
        )],
        ..old_join("g")
    };
    rig.send(Request::Join(garbled));
    rig.pass(0);
    let delete = DeleteOffsets {
        group: "g".into(),
        topics: vec![("beta".into(), vec![0])],
    };
    let reply = rig.ask(Request::DeleteOffsets(delete));
    let refused = Reply::OffsetsDeleted(Ok(vec![Err(GroupError::GroupSubscribedToTopic)]));
    assert_eq!(reply, refused);
}

#[test]
fn offsets_of_deleted_topics_are_removed_also_if_another_has_the_name() {
    let mut rig = Rig::eager();
    let offsets = || vec![to_commit("alpha", 0, 1), to_commit("beta", 0, 1)];
    rig.commit(simple_commit("g", offsets()));
    rig.topics_changed();
    assert_eq!(rig.offset("g", "alpha", 0), 1);
    rig.topics.0.remove("alpha");
    let another = TopicInfo {
        id: Uuid::from_u128(77),
        partitions: 4,
    };
    rig.topics.0.insert("beta".into(), another);
    rig.topics_changed();
    assert_eq!((rig.live(), rig.state("g")), (0, "Dead"));
}

#[test]
fn a_load_removes_the_offsets_of_topics_that_were_deleted_meanwhile() {
    let mut rig = Rig::eager();
    let offsets = vec![to_commit("alpha", 0, 1), to_commit("beta", 0, 1)];
    rig.commit(simple_commit("g", offsets));
    rig.topics.0.remove("alpha");
    rig.restart(rig.log.len());
    assert_eq!(
        (rig.offset("g", "alpha", 0), rig.offset("g", "beta", 0)),
        (-1, 1)
    );
}

#[test]
fn the_offsets_of_a_deleted_topic_are_removed_a_batch_at_a_time() {
    let mut rig = Rig::eager();
    let wide = TopicInfo {
        id: Uuid::from_u128(78),
        partitions: 2_500,
    };
    rig.topics.0.insert("wide".into(), wide);
    let offsets = (0..2_500).map(|at| to_commit("wide", at, 1)).collect();
    rig.commit(simple_commit("g", offsets));
    rig.topics.0.remove("wide");
    let committed = rig.log.len();
    rig.topics_changed();
    assert_eq!(rig.log.len() - committed, 1_000);
    rig.topics_changed();
    assert_eq!(rig.log.len() - committed, 2_000);
    rig.pass(0);
    assert_eq!((rig.live(), rig.state("g")), (0, "Dead"));
}

#[test]
fn a_full_machine_takes_no_further_offset_and_goes_on_with_those_it_has() {
    let mut rig = Rig::eager();
    rig.budget = 5_000;
    let commit = |group: &str, topic: &str, metadata: &str| {
        let offset = OffsetToCommit {
            metadata: Some(metadata.into()),
            ..to_commit(topic, 0, 1)
        };
        simple_commit(group, vec![offset])
    };
    let all = (0..4).map(|partition| to_commit("alpha", partition, 1));
    let results = rig.commit(simple_commit("g", all.collect()));
    assert_eq!(results, vec![Ok(()); 4]);
    for (group, topic) in [("g", "beta"), ("h", "alpha")] {
        rig.budget = rig.machine.bytes() * 8 / 7 + 500;
        let refused = rig.commit(commit(group, topic, ""));
        let error = refused[0].clone().unwrap_err();
        assert!(matches!(error, GroupError::CommitLimitReached(_)));
        assert_eq!(error.code(), 28);
    }
    let taken = rig.machine.bytes();
    rig.budget = 0;
    for metadata in ["", &"m".repeat(64), "m"] {
        assert_eq!(rig.commit(commit("g", "alpha", metadata)), [Ok(())]);
    }
    let longer = rig.commit(commit("g", "alpha", &"m".repeat(65)));
    assert!(matches!(longer[0], Err(GroupError::CommitLimitReached(_))));
    assert_eq!(rig.machine.bytes(), taken, "what is there goes on");
}

#[test]
fn names_are_counted() {
    let mut rig = Rig::eager();
    let before = rig.machine.bytes();
    let topic = "t".repeat(249);
    let id = Uuid::from_u128(9);
    let info = TopicInfo { id, partitions: 1 };
    rig.topics.0.insert(topic.clone(), info);
    for number in 0..10 {
        let group = format!("{number}").repeat(10_000);
        let results = rig.commit(simple_commit(&group, vec![to_commit(&topic, 0, 1)]));
        assert_eq!(results, [Ok(())]);
    }
    assert!(rig.machine.bytes() - before > 10 * (2 * 10_000 + 249));
    rig.topics.0.remove(&topic);
    rig.topics_changed();
    assert_eq!(rig.machine.bytes(), before, "all of it is given back");
}

#[test]
fn deleting_a_group_deletes_its_offsets() {
    let mut rig = Rig::eager();
    rig.commit(simple_commit("g", vec![to_commit("alpha", 0, 1)]));
    let group: Arc<str> = "g".into();
    assert_eq!(rig.ask(Request::Delete(group)), Reply::Deleted(Ok(())));
    assert_eq!((rig.live(), rig.offset("g", "alpha", 0)), (0, -1));
}

#[test]
fn offsets_of_a_deleted_topic_are_hidden_before_they_are_removed() {
    let mut rig = Rig::eager();
    let wide = TopicInfo {
        id: Uuid::from_u128(9),
        partitions: 2_500,
    };
    rig.topics.0.insert("wide".into(), wide);
    let offsets = (0..2_500).map(|at| to_commit("wide", at, 1)).collect();
    rig.commit(simple_commit("g", offsets));
    rig.topics.0.get_mut("wide").unwrap().id = Uuid::from_u128(10);
    rig.topics_changed();
    assert!(rig.live() > 1_000, "the rest is removed later");
    assert_eq!(rig.offset("g", "wide", 2_499), -1);
    rig.pass(0);
    assert_eq!(rig.live(), 0);
}

#[test]
fn what_nobody_asked_for_waits_until_something_can_be_written() {
    let mut rig = Rig::eager();
    let both = ["alpha", "beta"].map(|topic| to_commit(topic, 0, 1));
    rig.commit(simple_commit("g", both.to_vec()));
    rig.topics.0.remove("alpha");
    rig.is_full = true;
    rig.restart(rig.log.len());
    let written = rig.log.len();
    rig.now += Duration::from_millis(20 * DAY_MS as u64);
    rig.pass(3_000);
    assert_eq!(rig.log.len(), written, "neither removed nor expired");
    let shown = ["alpha", "beta"].map(|topic| rig.offset("g", topic, 0));
    assert_eq!(shown, [-1, 1], "of a deleted topic nothing is shown");
    rig.is_full = false;
    rig.pass(1_000);
    assert_eq!(rig.live(), 0);
}

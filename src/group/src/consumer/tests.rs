use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::embedded::{EmbeddedAssignment, NamedPartitions, Subscription};
use crate::testing::{Rig, join, leave, simple_commit, sync, to_commit};
use crate::topics::{TopicInfo, Topics};
use crate::{
    CommitOffsets, ConsumerDescription, ConsumerHeartbeat, ConsumerHeartbeatReply, FetchOffsets,
    GroupConfig, GroupError, Heartbeat, Identity, JoinGroup, MigrationPolicy, Reply, Request,
    WantedOffsets,
};

/// Topics that tests create.
#[derive(Debug, Default)]
pub(super) struct TestTopics {
    by_name: BTreeMap<String, TopicInfo>,
    version: u64,
    ids: u128,
}

impl TestTopics {
    pub(super) fn create(&mut self, name: &str, partitions: i32) {
        self.ids += 1;
        self.version += 1;
        let id = Uuid::from_u128(self.ids);
        self.by_name
            .insert(name.to_owned(), TopicInfo { id, partitions });
    }

    /// Adds partitions, or creates the topic.
    pub(super) fn grow(&mut self, name: &str, more: i32) {
        match self.by_name.get_mut(name) {
            Some(topic) => {
                topic.partitions += more;
                self.version += 1;
            }
            None => self.create(name, more),
        }
    }
}

impl Topics for TestTopics {
    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.by_name.get(name).copied()
    }

    fn name_of(&self, id: Uuid) -> Option<&str> {
        let found = self.by_name.iter().find(|(_, topic)| topic.id == id);
        found.map(|(name, _)| name.as_str())
    }

    fn each(&self, visit: &mut dyn FnMut(&str, TopicInfo)) {
        for (name, topic) in &self.by_name {
            visit(name, *topic);
        }
    }

    fn version(&self) -> u64 {
        self.version
    }
}

fn request(member: &str, epoch: i32) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        group: "g".into(),
        identity: Identity {
            client_id: "c".into(),
            client_host: "/127.0.0.1".into(),
        },
        member: member.into(),
        member_epoch: epoch,
        instance: None,
        rack: None,
        rebalance_timeout_ms: -1,
        topic_names: None,
        topic_regex: None,
        assignor: None,
        owned: None,
        may_lack_member: false,
    }
}

fn joining(member: &str, topics: &[&str]) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        rebalance_timeout_ms: 30_000,
        topic_names: Some(topics.iter().map(|name| Arc::from(*name)).collect()),
        owned: Some(Vec::new()),
        ..request(member, 0)
    }
}

fn of_instance(request: ConsumerHeartbeat, instance: &str) -> ConsumerHeartbeat {
    ConsumerHeartbeat {
        instance: Some(instance.into()),
        ..request
    }
}

type Beat = Result<ConsumerHeartbeatReply, GroupError>;

impl Rig {
    fn heartbeat(&mut self, request: ConsumerHeartbeat) -> Beat {
        match self.ask(Request::ConsumerHeartbeat(request)) {
            Reply::ConsumerHeartbeat(result) => result,
            other => panic!("no heartbeat: {other:?}"),
        }
    }

    /// Says what the member has, at its epoch.
    fn owning(&mut self, member: &str, epoch: i32, owned: &[(u128, &[i32])]) -> Beat {
        let owned = owned.iter();
        let owned = owned.map(|(topic, list)| (Uuid::from_u128(*topic), list.to_vec()));
        self.heartbeat(ConsumerHeartbeat {
            owned: Some(owned.collect()),
            ..request(member, epoch)
        })
    }

    fn description(&mut self) -> ConsumerDescription {
        match self.ask(Request::ConsumerDescribe("g".into())) {
            Reply::ConsumerDescribed(Ok(description)) => description,
            other => panic!("no description: {other:?}"),
        }
    }

    fn classic_joins(&mut self, member: &str, owned: &[i32]) -> crate::Joined {
        let to = self.send(Request::Join(classic_join(member, owned)));
        self.pass(0);
        self.joined(to)
    }

    fn classic_syncs(&mut self, member: &str, generation: i32) -> Vec<i32> {
        let request = sync("g", generation, member, &[]);
        match self.ask(Request::Sync(request)) {
            Reply::Synced(Ok(synced)) => partitions(&synced.assignment),
            other => panic!("no sync: {other:?}"),
        }
    }

    /// A stable classic group of one member with all four partitions of alpha.
    fn classic_group(&mut self) -> (Arc<str>, i32) {
        let (_, id) = self.refused_join(classic_join("", &[]));
        let joined = self.classic_joins(&id, &[]);
        let all: NamedPartitions = vec![("alpha".into(), vec![0, 1, 2, 3])];
        let mut request = sync("g", joined.generation, &id, &[]);
        request.assignments = vec![(id.clone(), EmbeddedAssignment::encode(1, &all))];
        assert!(matches!(
            self.ask(Request::Sync(request)),
            Reply::Synced(Ok(_))
        ));
        (id, joined.generation)
    }

    fn kind(&mut self) -> &'static str {
        match self.ask(Request::List(crate::ListGroups::default())) {
            Reply::Listed(listed) => listed[0].kind,
            other => panic!("no list: {other:?}"),
        }
    }
}

fn partitions(bytes: &[u8]) -> Vec<i32> {
    let assignment = EmbeddedAssignment::decode(bytes).unwrap();
    let lists = assignment.partitions.into_iter();
    lists.flat_map(|(_, list)| list).collect()
}

fn classic_join(member: &str, owned: &[i32]) -> JoinGroup {
    let owned: NamedPartitions = vec![("alpha".into(), owned.to_vec())];
    let metadata = Subscription::encode(&["alpha".into()], &owned);
    JoinGroup {
        protocols: vec![("range".into(), metadata)],
        ..join("g", member)
    }
}

fn alpha(partitions: &[i32]) -> Option<Vec<(Uuid, Vec<i32>)>> {
    Some(vec![(Uuid::from_u128(1), partitions.to_vec())])
}

#[test]
fn a_member_lets_go_before_another_gets() {
    let mut rig = Rig::eager();
    let first = rig.heartbeat(joining("a", &["alpha"])).unwrap();
    assert_eq!(
        (first.member_epoch, first.assignment),
        (1, alpha(&[0, 1, 2, 3]))
    );
    rig.owning("a", 1, &[(1, &[0, 1, 2, 3])]).unwrap();
    assert_eq!(rig.description().state, "Stable");
    let second = rig.heartbeat(joining("b", &["alpha"])).unwrap();
    assert_eq!((second.member_epoch, second.assignment), (2, Some(vec![])));
    let told = rig.heartbeat(request("a", 1)).unwrap();
    assert_eq!((told.member_epoch, told.assignment), (1, alpha(&[0, 1])));
    assert_eq!(rig.heartbeat(request("b", 2)).unwrap().assignment, None);
    assert_eq!(rig.description().state, "Reconciling");
    let done = rig.owning("a", 1, &[(1, &[0, 1])]).unwrap();
    assert_eq!((done.member_epoch, done.assignment), (2, None));
    assert_eq!(
        rig.heartbeat(request("b", 2)).unwrap().assignment,
        alpha(&[2, 3])
    );
    let description = rig.description();
    assert_eq!((description.state, description.group_epoch), ("Stable", 2));
    assert_eq!(description.members[1].assignment[0].partitions, [2, 3]);
    assert_eq!(rig.heartbeat(request("b", -1)).unwrap().member_epoch, -1);
    assert_eq!(
        rig.heartbeat(request("a", 2)).unwrap().assignment,
        alpha(&[0, 1, 2, 3])
    );
}

#[test]
fn who_is_not_where_the_coordinator_has_it_is_fenced_unless_a_reply_was_lost() {
    let mut rig = Rig::eager();
    let fenced = |beat: Beat| matches!(beat, Err(GroupError::FencedMemberEpoch(_)));
    rig.heartbeat(joining("a", &["alpha"])).unwrap();
    rig.owning("a", 1, &[(1, &[0, 1, 2, 3])]).unwrap();
    rig.heartbeat(joining("b", &["alpha"])).unwrap();
    rig.heartbeat(request("a", 1)).unwrap();
    assert_eq!(rig.owning("a", 1, &[(1, &[0, 1])]).unwrap().member_epoch, 2);
    assert_eq!(rig.owning("a", 1, &[(1, &[0])]).unwrap().member_epoch, 2);
    assert!(fenced(rig.owning("a", 1, &[(1, &[2])])));
    assert!(fenced(rig.heartbeat(request("a", 1))));
    assert!(fenced(rig.heartbeat(request("a", 3))));
    assert_eq!(
        rig.heartbeat(request("c", 1)),
        Err(GroupError::UnknownMemberId)
    );
    let commit = |rig: &mut Rig, epoch: i32, partition: i32| {
        rig.commit(CommitOffsets {
            generation_or_epoch: epoch,
            member: "a".into(),
            ..simple_commit("g", vec![to_commit("alpha", partition, 7)])
        })
    };
    assert_eq!(commit(&mut rig, 2, 0), [Ok(())]);
    assert_eq!(commit(&mut rig, 1, 0), [Ok(())]);
    assert_eq!(commit(&mut rig, 1, 3), [Err(GroupError::StaleMemberEpoch)]);
    assert_eq!(commit(&mut rig, 3, 0), [Err(GroupError::StaleMemberEpoch)]);
    let outsider = simple_commit("g", vec![to_commit("alpha", 0, 7)]);
    assert_eq!(rig.commit(outsider), [Err(GroupError::UnknownMemberId)]);
    let fetch = |epoch| {
        Request::Fetch(FetchOffsets {
            group: "g".into(),
            member: Some("a".into()),
            member_epoch: epoch,
            wanted: WantedOffsets::All,
            require_stable: true,
        })
    };
    assert!(matches!(rig.ask(fetch(2)), Reply::Fetched(Ok(_))));
    let stale = Reply::Fetched(Err(GroupError::StaleMemberEpoch));
    assert_eq!(rig.ask(fetch(1)), stale);
}

#[test]
fn who_does_not_let_go_in_time_or_is_not_heard_of_is_out() {
    let mut rig = Rig::eager();
    rig.heartbeat(joining("a", &["alpha"])).unwrap();
    rig.owning("a", 1, &[(1, &[0, 1, 2, 3])]).unwrap();
    rig.heartbeat(joining("b", &["alpha"])).unwrap();
    rig.heartbeat(request("a", 1)).unwrap();
    for _ in 0..3 {
        rig.pass(10_000);
        rig.heartbeat(request("b", 2)).unwrap();
        let _ = rig.heartbeat(request("a", 1));
    }
    assert_eq!(
        rig.heartbeat(request("a", 1)),
        Err(GroupError::UnknownMemberId)
    );
    assert_eq!(rig.heartbeat(request("b", 3)).unwrap().member_epoch, 3);
    rig.restart(rig.log.len());
    rig.pass(44_999);
    assert_eq!(rig.description().members.len(), 1);
    rig.pass(1);
    assert_eq!(rig.description().state, "Empty");
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut rig = Rig::eager();
    let fenced = Err(GroupError::FencedInstanceId);
    rig.heartbeat(of_instance(joining("a", &["alpha"]), "i"))
        .unwrap();
    let other = rig.heartbeat(of_instance(joining("b", &["alpha"]), "i"));
    assert!(matches!(other, Err(GroupError::UnreleasedInstanceId(_))));
    assert_eq!(rig.heartbeat(of_instance(request("b", 1), "i")), fenced);
    let unknown = rig.heartbeat(of_instance(request("a", 1), "j"));
    assert_eq!(unknown, Err(GroupError::UnknownMemberId));
    assert_eq!(rig.heartbeat(of_instance(request("b", -2), "i")), fenced);
    let away = rig.heartbeat(of_instance(request("a", -2), "i")).unwrap();
    assert_eq!(away.member_epoch, -2);
    rig.restart(rig.log.len());
    let back = rig
        .heartbeat(of_instance(joining("b", &["alpha"]), "i"))
        .unwrap();
    assert_eq!(
        (back.member_epoch, back.assignment),
        (1, alpha(&[0, 1, 2, 3]))
    );
    assert_eq!(rig.heartbeat(of_instance(request("a", 1), "i")), fenced);
    let description = rig.description();
    assert_eq!((description.group_epoch, description.members.len()), (1, 1));
}

#[test]
fn topics_by_regular_expression_come_as_they_are_made() {
    let mut rig = Rig::eager();
    let by_regex = |regex: &str| ConsumerHeartbeat {
        topic_names: None,
        topic_regex: Some(regex.into()),
        ..joining("a", &[])
    };
    let refused = rig.heartbeat(by_regex("(")).unwrap_err();
    assert_eq!(refused.code(), 128);
    assert!(rig.log.is_empty(), "a refused request leaves no trace");
    assert_eq!(rig.state("g"), "Dead");
    let joined = rig.heartbeat(by_regex("al.*|gamma")).unwrap();
    assert_eq!(joined.assignment, alpha(&[0, 1, 2, 3]));
    let refused = rig.heartbeat(ConsumerHeartbeat {
        topic_regex: Some("[".into()),
        ..request("a", 1)
    });
    assert_eq!(refused.unwrap_err().code(), 128);
    let id = Uuid::from_u128(9);
    let gamma = TopicInfo { id, partitions: 1 };
    rig.topics.0.insert("gamma".into(), gamma);
    let grown = rig.heartbeat(request("a", 1)).unwrap();
    assert_eq!(grown.member_epoch, 2);
    assert_eq!(grown.assignment.unwrap().len(), 2);
    rig.restart(rig.log.len());
    assert_eq!(rig.heartbeat(request("a", 2)).unwrap().member_epoch, 2);
    rig.heartbeat(request("a", -1)).unwrap();
    assert_eq!(rig.ask(Request::Delete("g".into())), Reply::Deleted(Ok(())));
    assert_eq!(rig.live(), 0);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let mut rig = Rig::new(GroupConfig {
        consumer_members_max: 1,
        ..GroupConfig::default()
    });
    let bad = [
        joining("", &["alpha"]),
        request("", 1),
        ConsumerHeartbeat {
            group: "".into(),
            ..joining("a", &[])
        },
        ConsumerHeartbeat {
            rack: Some("".into()),
            ..joining("a", &[])
        },
        ConsumerHeartbeat {
            rebalance_timeout_ms: -1,
            ..joining("a", &[])
        },
        ConsumerHeartbeat {
            owned: None,
            ..joining("a", &[])
        },
        ConsumerHeartbeat {
            topic_names: None,
            ..joining("a", &[])
        },
        of_instance(joining("a", &[]), ""),
        request("a", -2),
        request("a", -3),
        joining(&"a".repeat(40_000), &[]),
    ];
    for request in bad {
        assert_eq!(rig.heartbeat(request).unwrap_err().code(), 42);
    }
    let with = |assignor: &str| ConsumerHeartbeat {
        assignor: Some(assignor.into()),
        ..joining("a", &["alpha"])
    };
    assert_eq!(rig.heartbeat(with("sticky")).unwrap_err().code(), 112);
    assert_eq!(rig.heartbeat(request("a", 1)).unwrap_err().code(), 69);
    rig.heartbeat(with("range")).unwrap();
    assert_eq!(&*rig.description().assignor, "range");
    let full = rig.heartbeat(joining("b", &["alpha"]));
    assert_eq!(full, Err(GroupError::GroupMaxSizeReached));
    assert_eq!(
        rig.ask(Request::Delete("g".into())),
        Reply::Deleted(Err(GroupError::NonEmptyGroup))
    );
    let lacks = ConsumerHeartbeat {
        group: "other".into(),
        may_lack_member: true,
        ..joining("", &["alpha"])
    };
    assert!(!rig.heartbeat(lacks).unwrap().member.is_empty());
}

#[test]
fn a_group_crosses_over_and_back_with_its_members_and_offsets() {
    let mut rig = Rig::eager();
    let (old, generation) = rig.classic_group();
    let committed = CommitOffsets {
        generation_or_epoch: generation,
        member: old.clone(),
        ..simple_commit("g", vec![to_commit("alpha", 3, 7)])
    };
    assert_eq!(rig.commit(committed), [Ok(())]);
    // The first member of the new protocol comes: it gets what the classic one lets go of.
    let new = rig.heartbeat(joining("n", &["alpha"])).unwrap();
    assert_eq!(
        (new.member_epoch, new.assignment),
        (generation + 1, Some(vec![]))
    );
    assert_eq!(rig.kind(), "consumer");
    rig.restart(rig.log.len());
    let rejoin = Err(GroupError::RebalanceInProgress);
    assert_eq!(rig.beat("g", generation, &old), rejoin);
    let joined = rig.classic_joins(&old, &[0, 1, 2, 3]);
    assert_eq!(joined.generation, generation, "it has to let go first");
    assert_eq!(rig.classic_syncs(&old, generation), [0, 1]);
    assert_eq!(
        rig.heartbeat(request("n", generation + 1))
            .unwrap()
            .assignment,
        None
    );
    assert_eq!(rig.beat("g", generation, &old), rejoin);
    let joined = rig.classic_joins(&old, &[0, 1]);
    assert_eq!(joined.generation, generation + 1);
    assert_eq!(rig.classic_syncs(&old, joined.generation), [0, 1]);
    assert_eq!(rig.beat("g", joined.generation, &old), Ok(()));
    let got = rig.heartbeat(request("n", generation + 1)).unwrap();
    assert_eq!(got.assignment, alpha(&[2, 3]));
    assert!(
        rig.description()
            .members
            .iter()
            .any(|member| member.classic)
    );
    assert_eq!(rig.offset("g", "alpha", 3), 7);
    // It goes, and the group is a classic one again, which rebalances.
    rig.heartbeat(request("n", -1)).unwrap();
    assert_eq!(
        (rig.kind(), rig.state("g")),
        ("classic", "PreparingRebalance")
    );
    assert_eq!(rig.beat("g", generation + 1, &old), rejoin);
    let joined = rig.classic_joins(&old, &[0, 1]);
    assert_eq!(
        (joined.generation, joined.members.len()),
        (generation + 2, 1)
    );
    assert_eq!(rig.offset("g", "alpha", 3), 7);
    rig.restart(rig.log.len());
    assert_eq!((rig.kind(), rig.offset("g", "alpha", 3)), ("classic", 7));
}

#[test]
fn a_group_that_rebalances_crosses_over_and_who_waits_joins_again() {
    let mut rig = Rig::eager();
    let (old, generation) = rig.classic_group();
    let (_, second) = rig.refused_join(classic_join("", &[]));
    let waits = rig.send(Request::Join(classic_join(&second, &[])));
    assert_eq!(rig.state("g"), "PreparingRebalance");
    rig.heartbeat(joining("n", &["alpha"])).unwrap();
    let refused = Reply::Joined(Err((GroupError::RebalanceInProgress, second.clone())));
    assert_eq!(rig.replies.remove(&waits), Some(refused));
    rig.classic_joins(&old, &[0, 1, 2, 3]);
    assert_eq!(rig.classic_syncs(&old, generation).len(), 2);
    let joined = rig.classic_joins(&second, &[]);
    assert_eq!(rig.classic_syncs(&second, joined.generation), [0; 0]);
    // A classic member that was fenced and still reads has to let go before it comes in.
    let (error, _) = rig.refused_join(classic_join("gone", &[0]));
    assert_eq!(error, GroupError::UnknownMemberId);
    let left = rig.ask(Request::Leave(leave("g", &second, None)));
    assert!(matches!(left, Reply::Left(Ok(results)) if results[0].result == Ok(())));
    assert_eq!(rig.description().members.len(), 2);
}

#[test]
fn a_group_crosses_only_where_the_policy_lets_it() {
    let rig = |consumer_migration| {
        Rig::new(GroupConfig {
            consumer_migration,
            initial_rebalance_delay_ms: 0,
            ..GroupConfig::default()
        })
    };
    let mut no_way = rig(MigrationPolicy::Downgrade);
    no_way.classic_group();
    let before = no_way.log.len();
    let refused = no_way.heartbeat(joining("n", &["alpha"]));
    assert_eq!(refused.unwrap_err().code(), 69);
    assert_eq!((no_way.log.len(), no_way.kind()), (before, "classic"));
    let mut one_way = rig(MigrationPolicy::Upgrade);
    one_way.classic_group();
    one_way.heartbeat(joining("n", &["alpha"])).unwrap();
    one_way.heartbeat(request("n", -1)).unwrap();
    assert_eq!(one_way.kind(), "consumer");
    let mut others = rig(MigrationPolicy::Bidirectional);
    let connect = JoinGroup {
        protocol_type: "connect".into(),
        ..join("g", "")
    };
    let (_, id) = others.refused_join(connect.clone());
    others.send(Request::Join(JoinGroup {
        member: id,
        ..connect
    }));
    let refused = others.heartbeat(joining("n", &["alpha"]));
    assert_eq!(refused.unwrap_err().code(), 69);
}

#[test]
fn an_empty_group_is_of_whichever_protocol_comes_next() {
    let mut rig = Rig::eager();
    let offsets = vec![to_commit("alpha", 0, 5)];
    assert_eq!(rig.commit(simple_commit("g", offsets)), [Ok(())]);
    rig.heartbeat(joining("n", &["alpha"])).unwrap();
    assert_eq!((rig.kind(), rig.offset("g", "alpha", 0)), ("consumer", 5));
    rig.heartbeat(request("n", -1)).unwrap();
    let (old, _) = rig.classic_group();
    assert_eq!((rig.kind(), rig.offset("g", "alpha", 0)), ("classic", 5));
    rig.ask(Request::Leave(leave("g", &old, None)));
    rig.pass(0);
    rig.heartbeat(joining("n", &["alpha"])).unwrap();
    assert_eq!((rig.kind(), rig.offset("g", "alpha", 0)), ("consumer", 5));
}

mod heartbeats;
mod room;
mod statics;

#[test]
fn a_thousand_members_join_and_the_last_sees_a_balanced_group() {
    let mut rig = Rig::eager();
    let id = Uuid::from_u128(9);
    let wide = TopicInfo {
        id,
        partitions: 1_000,
    };
    rig.topics.0.insert("wide".into(), wide);
    let mut machine = crate::Coordinator::new(std::sync::Arc::new(GroupConfig::default()));
    for at in 0..1_000 {
        let moment = rig.moment();
        let heartbeat = Request::ConsumerHeartbeat(joining(&format!("m{at:04}"), &["wide"]));
        machine.handle(&moment, &rig.topics, crate::ReplyTo(at), heartbeat);
    }
    machine.check_invariants();
    let moment = rig.moment();
    let asked = Request::ConsumerDescribe("g".into());
    let outcome = machine.handle(&moment, &rig.topics, crate::ReplyTo(1_000), asked);
    let Reply::ConsumerDescribed(Ok(description)) = &outcome.replies[0].1 else {
        panic!("no description");
    };
    let targets = description.members.iter();
    assert!(
        targets
            .into_iter()
            .all(|member| member.target[0].partitions.len() == 1)
    );
}

//! A machine with a clock, a log and topics to test it with. After each step the machine must be
//! consistent, and one that is rebuilt from the log must have the same snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    CommitOffsets, Coordinator, FetchOffsets, GroupConfig, GroupError, Heartbeat, Identity,
    JoinGroup, LeaveGroup, LeavingMember, Moment, OffsetToCommit, Outcome, Record, Reply, ReplyTo,
    Request, Room, SnapshotCursor, SyncGroup, TopicInfo, TopicRef, Topics, WantedOffsets,
};

/// Topics by name.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known(pub(crate) BTreeMap<String, TopicInfo>);

impl Topics for Known {
    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.0.get(name).copied()
    }

    fn name_of(&self, id: Uuid) -> Option<&str> {
        let mut topics = self.0.iter();
        topics
            .find(|(_, info)| info.id == id)
            .map(|(name, _)| &**name)
    }

    fn each(&self, visit: &mut dyn FnMut(&str, TopicInfo)) {
        for (name, info) in &self.0 {
            visit(name, *info);
        }
    }

    fn version(&self) -> u64 {
        self.0.len() as u64
    }
}

pub(crate) struct Rig {
    pub(crate) machine: Coordinator,
    pub(crate) topics: Known,
    pub(crate) log: Vec<Record>,
    pub(crate) now: Duration,
    pub(crate) replies: BTreeMap<ReplyTo, Reply>,
    config: Arc<GroupConfig>,
    /// What the machine may take in all.
    pub(crate) budget: u64,
    /// Nothing can be written.
    pub(crate) is_full: bool,
    asked: u64,
    steps: u128,
    snapshot: Sliced,
}

/// A snapshot that is made of one or some records at a time, between the steps.
#[derive(Debug, Default)]
struct Sliced {
    /// How long the log was when it was begun.
    from: usize,
    after: Option<SnapshotCursor>,
    records: Vec<Record>,
}

pub(crate) const WALL_MS: i64 = 1_700_000_000_000;

impl Rig {
    pub(crate) fn new(config: GroupConfig) -> Rig {
        let config = Arc::new(config);
        let mut topics = Known::default();
        for (at, name) in ["alpha", "beta"].iter().enumerate() {
            let id = Uuid::from_u128(at as u128 + 1);
            topics
                .0
                .insert((*name).into(), TopicInfo { id, partitions: 4 });
        }
        let mut rig = Rig {
            machine: Coordinator::new(config.clone()),
            topics,
            log: Vec::new(),
            now: Duration::ZERO,
            replies: BTreeMap::new(),
            config,
            budget: 256 << 20,
            is_full: false,
            asked: 0,
            steps: 0,
            snapshot: Sliced::default(),
        };
        let moment = rig.moment();
        let outcome = rig.machine.loaded(&moment, &rig.topics);
        rig.take(outcome);
        rig
    }

    /// A machine whose groups rebalance at once, when time goes on.
    pub(crate) fn eager() -> Rig {
        Rig::new(GroupConfig {
            initial_rebalance_delay_ms: 0,
            ..GroupConfig::default()
        })
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        WALL_MS + self.now.as_millis() as i64
    }

    pub(crate) fn moment(&mut self) -> Moment {
        self.steps += 1;
        Moment {
            now: self.now,
            wall_ms: self.wall_ms(),
            fresh: Uuid::from_u128(self.steps),
            room: Room::left(self.machine.bytes(), self.budget),
            is_full: self.is_full,
        }
    }

    pub(crate) fn take(&mut self, outcome: Outcome) {
        self.log.extend(outcome.records);
        for (to, reply) in outcome.replies {
            assert!(self.replies.insert(to, reply).is_none(), "answered twice");
        }
        self.machine.check_invariants();
        assert_eq!(
            self.rebuilt(self.log.len()).snapshot(),
            self.machine.snapshot()
        );
        assert_eq!(self.compacted().snapshot(), self.machine.snapshot());
        self.take_snapshot();
    }

    /// Takes the next records into the snapshot. With the last ones it must lead to the machine.
    fn take_snapshot(&mut self) {
        let after = self.snapshot.after.take();
        let bytes = [1, 300, 1 << 20][usize::try_from(self.steps % 3).unwrap()];
        let (records, next) = self.machine.snapshot_after(after.as_ref(), bytes);
        self.snapshot.records.extend(records);
        self.snapshot.after = next;
        if self.snapshot.after.is_some() {
            return;
        }
        let whole = std::mem::take(&mut self.snapshot);
        self.snapshot.from = self.log.len();
        let mut machine = Coordinator::new(self.config.clone());
        for record in whole.records.iter().chain(&self.log[whole.from..]) {
            machine.replay(record).unwrap();
        }
        machine.check_invariants();
        assert_eq!(machine.snapshot(), self.machine.snapshot());
    }

    /// The machine that the first `records` of the log make.
    pub(crate) fn rebuilt(&self, records: usize) -> Coordinator {
        let mut machine = Coordinator::new(self.config.clone());
        for record in &self.log[..records] {
            machine.replay(record).unwrap();
        }
        machine
    }

    /// The machine that the log makes once compaction has left the newest record of each key and no
    /// tombstone.
    fn compacted(&self) -> Coordinator {
        let places = self.log.iter().enumerate();
        let newest: BTreeMap<&Bytes, usize> =
            places.map(|(at, record)| (&record.key, at)).collect();
        let mut machine = Coordinator::new(self.config.clone());
        for (at, record) in self.log.iter().enumerate() {
            if newest[&record.key] == at && record.value.is_some() {
                machine.replay(record).unwrap();
            }
        }
        machine
    }

    /// Starts anew from what is durable: the first `records` of the log. Who waits gets no reply.
    pub(crate) fn restart(&mut self, records: usize) {
        self.machine = self.rebuilt(records);
        self.log.truncate(records);
        self.snapshot = Sliced {
            from: records,
            ..Sliced::default()
        };
        let moment = self.moment();
        let outcome = self.machine.loaded(&moment, &self.topics);
        self.take(outcome);
    }

    pub(crate) fn send(&mut self, request: Request) -> ReplyTo {
        self.asked += 1;
        let to = ReplyTo(self.asked);
        let moment = self.moment();
        let outcome = self.machine.handle(&moment, &self.topics, to, request);
        self.take(outcome);
        to
    }

    pub(crate) fn ask(&mut self, request: Request) -> Reply {
        let to = self.send(request);
        self.replies.remove(&to).expect("a reply at once")
    }

    /// Lets time go on, doing what is due on the way.
    pub(crate) fn pass(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(next) = self.machine.next_deadline().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            let moment = self.moment();
            let outcome = self.machine.tick(&moment, &self.topics);
            self.take(outcome);
        }
        self.now = until;
    }

    pub(crate) fn topics_changed(&mut self) {
        let moment = self.moment();
        let outcome = self.machine.topics_deleted(&moment, &self.topics);
        self.take(outcome);
    }

    pub(crate) fn joined(&mut self, to: ReplyTo) -> crate::Joined {
        match self.replies.remove(&to) {
            Some(Reply::Joined(Ok(joined))) => joined,
            other => panic!("no join: {other:?}"),
        }
    }

    pub(crate) fn refused_join(&mut self, join: JoinGroup) -> (GroupError, Arc<str>) {
        match self.ask(Request::Join(join)) {
            Reply::Joined(Err(error)) => error,
            other => panic!("no refusal: {other:?}"),
        }
    }

    /// The id that a dynamic member is given.
    pub(crate) fn member_id(&mut self, group: &str) -> Arc<str> {
        let (error, id) = self.refused_join(join(group, ""));
        assert_eq!(error, GroupError::MemberIdRequired);
        id
    }

    /// A group of dynamic members that is stable: their ids, the leader first, and the generation.
    pub(crate) fn stable(&mut self, group: &str, count: usize) -> (Vec<Arc<str>>, i32) {
        let ids: Vec<Arc<str>> = (0..count).map(|_| self.member_id(group)).collect();
        let asked: Vec<ReplyTo> = ids
            .iter()
            .map(|id| self.send(Request::Join(join(group, id))))
            .collect();
        self.pass(0);
        let mut joined: Vec<_> = asked.into_iter().map(|to| self.joined(to)).collect();
        joined.sort_by_key(|joined| joined.leader != joined.member);
        let generation = joined[0].generation;
        let ids: Vec<Arc<str>> = joined.into_iter().map(|joined| joined.member).collect();
        let mut waiting = Vec::new();
        for id in ids[1..].iter() {
            waiting.push(self.send(Request::Sync(sync(group, generation, id, &[]))));
        }
        let shares: Vec<&str> = ids.iter().map(|id| &**id).collect();
        waiting.push(self.send(Request::Sync(sync(group, generation, &ids[0], &shares))));
        for to in waiting {
            assert!(matches!(
                self.replies.remove(&to),
                Some(Reply::Synced(Ok(_)))
            ));
        }
        (ids, generation)
    }

    pub(crate) fn beat(
        &mut self,
        group: &str,
        generation: i32,
        member: &str,
    ) -> Result<(), GroupError> {
        match self.ask(Request::Heartbeat(heartbeat(group, generation, member))) {
            Reply::Heartbeat(result) => result,
            other => panic!("no heartbeat: {other:?}"),
        }
    }

    pub(crate) fn state(&mut self, group: &str) -> &'static str {
        match self.ask(Request::Describe(group.into())) {
            Reply::Described(Ok(description)) => description.state,
            Reply::Described(Err(GroupError::GroupIdNotFound(_))) => "Dead",
            other => panic!("no description: {other:?}"),
        }
    }

    pub(crate) fn commit(&mut self, commit: CommitOffsets) -> Vec<Result<(), GroupError>> {
        match self.ask(Request::Commit(commit)) {
            Reply::Committed(results) => results,
            other => panic!("no commit: {other:?}"),
        }
    }

    /// The committed offset, or -1.
    pub(crate) fn offset(&mut self, group: &str, topic: &str, partition: i32) -> i64 {
        let fetch = FetchOffsets {
            group: group.into(),
            member: None,
            member_epoch: -1,
            wanted: WantedOffsets::Of(vec![(TopicRef::Name(topic.into()), vec![partition])]),
            require_stable: true,
        };
        match self.ask(Request::Fetch(fetch)) {
            Reply::Fetched(Ok(fetched)) => fetched.topics[0].1[0].offset,
            other => panic!("no offsets: {other:?}"),
        }
    }

    /// Keys of the log that are tombstones at last, or values: how many live records there are.
    pub(crate) fn live(&self) -> usize {
        let mut live = BTreeSet::new();
        for record in &self.log {
            match record.value {
                Some(_) => live.insert(record.key.clone()),
                None => live.remove(&record.key),
            };
        }
        live.len()
    }
}

/// What a consumer tells: the topics it subscribes to.
pub(crate) fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 1];
    bytes.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend_from_slice(&(topic.len() as i16).to_be_bytes());
        bytes.extend_from_slice(topic.as_bytes());
    }
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    Bytes::from(bytes)
}

pub(crate) fn join(group: &str, member: &str) -> JoinGroup {
    JoinGroup {
        group: group.into(),
        identity: Identity {
            client_id: "client".into(),
            client_host: "/127.0.0.1".into(),
        },
        member: member.into(),
        instance: None,
        protocol_type: "consumer".into(),
        protocols: vec![("range".into(), subscription(&["alpha"]))],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 30_000,
        needs_known_member: true,
        can_skip_assignment: true,
        reason: None,
    }
}

/// A first join of the protocol before KIP-394: it waits.
pub(crate) fn old_join(group: &str) -> JoinGroup {
    JoinGroup {
        needs_known_member: false,
        ..join(group, "")
    }
}

pub(crate) fn static_join(group: &str, member: &str, instance: &str) -> JoinGroup {
    JoinGroup {
        instance: Some(instance.into()),
        ..join(group, member)
    }
}

/// A sync that gives each of `shares` its own name as its assignment.
pub(crate) fn sync(group: &str, generation: i32, member: &str, shares: &[&str]) -> SyncGroup {
    let shares = shares.iter();
    SyncGroup {
        group: group.into(),
        generation,
        member: member.into(),
        instance: None,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: shares
            .map(|id| ((*id).into(), Bytes::copy_from_slice(id.as_bytes())))
            .collect(),
    }
}

pub(crate) fn heartbeat(group: &str, generation: i32, member: &str) -> Heartbeat {
    Heartbeat {
        group: group.into(),
        generation,
        member: member.into(),
        instance: None,
    }
}

pub(crate) fn leave(group: &str, member: &str, instance: Option<&str>) -> LeaveGroup {
    LeaveGroup {
        group: group.into(),
        members: vec![LeavingMember {
            member: member.into(),
            instance: instance.map(Arc::from),
            reason: None,
        }],
    }
}

pub(crate) fn to_commit(topic: &str, partition: i32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: TopicRef::Name(topic.into()),
        partition,
        offset,
        leader_epoch: -1,
        metadata: None,
    }
}

/// A commit from who is in no group.
pub(crate) fn simple_commit(group: &str, offsets: Vec<OffsetToCommit>) -> CommitOffsets {
    CommitOffsets {
        group: group.into(),
        generation_or_epoch: -1,
        member: "".into(),
        instance: None,
        retention_ms: None,
        knows_epochs: true,
        offsets,
    }
}

//! Members of groups. Each remembers what it was told over restarts of the broker, as a consumer
//! does.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tailwater_broker::Broker;
use tailwater_broker::metadata::Topic;
use tailwater_group::{
    CommitOffsets, ConsumerHeartbeat, GroupError, Heartbeat, Identity, JoinGroup, Joined,
    LeaveGroup, LeavingMember, OffsetToCommit, Reply, Request, SyncGroup, TopicRef,
};

use super::{Client, name};
use crate::event::Event;
use crate::groups::{Act, GroupStep, Protocol, TOPIC, read_offsets};

/// The shortest that a broker allows.
const SESSION_MS: i32 = 6_000;
const REBALANCE_MS: i32 = 400;

/// What a member was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Membership {
    /// Empty before it joins.
    id: String,
    /// Of the group when it was given what it has; 0 if it has to join.
    epoch: i32,
    owned: BTreeSet<i32>,
    /// How often it has begun anew, and how often it has committed.
    lives: u32,
    commits: usize,
}

pub(super) type Memberships = BTreeMap<Protocol, Membership>;

/// One step of a member.
struct Turn<'a> {
    broker: &'a Broker,
    client: &'a Rc<Client>,
    topic: Arc<Topic>,
    protocol: Protocol,
}

pub(super) async fn carry_out(broker: &Broker, client: &Rc<Client>, step: GroupStep) {
    let Some(topic) = client.topic(broker, TOPIC) else {
        return;
    };
    if broker.ensure_group_coordinators().await.is_err() {
        return;
    }
    let turn = Turn {
        broker,
        client,
        topic,
        protocol: step.protocol,
    };
    match step.act {
        Act::Beat if step.protocol == Protocol::Classic => turn.beat_classic().await,
        Act::Beat => turn.beat_consumer().await,
        Act::Commit => turn.commit(0).await,
        Act::CommitLate if step.protocol == Protocol::Classic => turn.commit(1).await,
        // An epoch before is taken for what the member has had since.
        Act::CommitLate => {}
        Act::Read => drop(read_offsets(broker, &client.world(), step.protocol).await),
        Act::Leave => turn.leave().await,
        Act::Vanish => turn.begin_anew(),
    }
}

fn identity() -> Identity {
    Identity {
        client_id: Arc::from("sim"),
        client_host: Arc::from("/127.0.0.1"),
    }
}

impl Turn<'_> {
    fn has(&self) -> Membership {
        let memberships = self.client.memberships.borrow();
        memberships.get(&self.protocol).cloned().unwrap_or_default()
    }

    fn set(&self, change: impl FnOnce(&mut Membership)) {
        let mut memberships = self.client.memberships.borrow_mut();
        change(memberships.entry(self.protocol).or_default());
    }

    /// Has nothing any more, and is nobody.
    fn begin_anew(&self) {
        self.release();
        self.set(|member| {
            member.id = String::new();
            member.lives += 1;
        });
    }

    fn release(&self) {
        self.set(|member| {
            member.epoch = 0;
            member.owned.clear();
        });
        self.client.world().tell(Event::GroupReleased {
            protocol: self.protocol,
            client: self.client.index,
        });
    }

    /// It has these from now on.
    fn take(&self, floor: i32, epoch: i32, owned: BTreeSet<i32>) {
        let world = self.client.world();
        world.told.borrow_mut().reach(self.protocol, epoch);
        world.tell(Event::GroupAssigned {
            protocol: self.protocol,
            client: self.client.index,
            floor,
            epoch,
            partitions: owned.iter().copied().collect(),
        });
        self.set(|member| {
            member.epoch = epoch;
            member.owned = owned;
        });
    }

    async fn ask(&self, request: Request) -> Option<Reply> {
        let asks = vec![(self.protocol.group(), request)];
        self.broker.ask_groups(asks).await.pop()?.ok()
    }

    async fn beat_classic(&self) {
        let member = self.has();
        if member.epoch > 0 {
            let heartbeat = Request::Heartbeat(Heartbeat {
                group: self.protocol.group(),
                generation: member.epoch,
                member: Arc::from(&*member.id),
                instance: None,
            });
            match self.ask(heartbeat).await {
                Some(Reply::Heartbeat(Err(GroupError::RebalanceInProgress))) => {}
                Some(Reply::Heartbeat(Err(_))) => self.begin_anew(),
                _ => return,
            }
        }
        // Eager: who joins has given up everything.
        self.release();
        let floor = self.client.world().told.borrow().epoch(self.protocol);
        if let Some(joined) = self.join_classic().await {
            self.sync_classic(floor, &joined).await;
        }
    }

    async fn join_classic(&self) -> Option<Joined> {
        let group = self.protocol.group();
        let join = Request::Join(JoinGroup {
            group: group.clone(),
            identity: identity(),
            member: Arc::from(&*self.has().id),
            instance: None,
            protocol_type: Arc::from("consumer"),
            protocols: vec![(Arc::from("sim"), Bytes::from_static(b"m"))],
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            needs_known_member: false,
            can_skip_assignment: false,
            reason: None,
        });
        match self.broker.ask_group_and_wait(&group, join).await {
            Ok(Reply::Joined(Ok(joined))) => {
                self.set(|member| member.id = joined.member.to_string());
                Some(joined)
            }
            Ok(_) => {
                self.begin_anew();
                None
            }
            Err(_) => None,
        }
    }

    async fn sync_classic(&self, floor: i32, joined: &Joined) {
        let group = self.protocol.group();
        let mut assignments = Vec::new();
        let members = joined.members.len();
        for (at, member) in joined.members.iter().enumerate() {
            let all = 0..u8::try_from(self.topic.partitions).expect("few");
            let share: Vec<u8> = all.filter(|it| usize::from(*it) % members == at).collect();
            assignments.push((member.member.clone(), Bytes::from(share)));
        }
        let sync = Request::Sync(SyncGroup {
            group: group.clone(),
            generation: joined.generation,
            member: joined.member.clone(),
            instance: None,
            protocol_type: None,
            protocol_name: None,
            assignments,
        });
        match self.broker.ask_group_and_wait(&group, sync).await {
            Ok(Reply::Synced(Ok(synced))) => {
                let owned = synced.assignment.iter().map(|it| i32::from(*it)).collect();
                self.take(floor, joined.generation, owned);
            }
            Ok(Reply::Synced(Err(GroupError::RebalanceInProgress))) | Err(_) => {}
            Ok(_) => self.begin_anew(),
        }
    }

    async fn beat_consumer(&self) {
        let member = self.has();
        let joins = member.epoch == 0;
        let id = format!("member-{}-{}", self.client.index, member.lives);
        let owned: Vec<i32> = member.owned.iter().copied().collect();
        let owned = if owned.is_empty() {
            Vec::new()
        } else {
            vec![(self.topic.id, owned)]
        };
        let floor = match joins {
            true => self.client.world().told.borrow().epoch(self.protocol),
            false => member.epoch,
        };
        let beat = Request::ConsumerHeartbeat(ConsumerHeartbeat {
            group: self.protocol.group(),
            identity: identity(),
            member: Arc::from(&*id),
            member_epoch: member.epoch,
            instance: None,
            rack: None,
            rebalance_timeout_ms: 60_000,
            topic_names: Some(vec![Arc::from(name(TOPIC))]),
            topic_regex: None,
            assignor: None,
            owned: Some(owned),
            may_lack_member: false,
        });
        match self.ask(beat).await {
            Some(Reply::ConsumerHeartbeat(Ok(reply))) => {
                self.set(|member| member.id = id);
                let owned = match reply.assignment {
                    None => member.owned,
                    Some(topics) => topics.into_iter().flat_map(|(_, list)| list).collect(),
                };
                self.take(floor, reply.member_epoch, owned);
            }
            Some(Reply::ConsumerHeartbeat(Err(_))) => self.begin_anew(),
            _ => {}
        }
    }

    /// Commits the next offset of a partition, in a generation that is over by `late`.
    async fn commit(&self, late: i32) {
        let member = self.has();
        let epoch = member.epoch - late;
        let at = member.commits.checked_rem(member.owned.len());
        let Some(partition) = at.and_then(|at| member.owned.iter().nth(at).copied()) else {
            return;
        };
        if epoch <= 0 {
            return;
        }
        self.set(|member| member.commits += 1);
        let world = self.client.world();
        let offset = world.told.borrow_mut().begin(self.protocol, partition);
        let commit = Request::Commit(CommitOffsets {
            group: self.protocol.group(),
            generation_or_epoch: epoch,
            member: Arc::from(&*member.id),
            instance: None,
            retention_ms: None,
            knows_epochs: true,
            offsets: vec![OffsetToCommit {
                topic: TopicRef::Name(Arc::from(name(TOPIC))),
                partition,
                offset,
                leader_epoch: -1,
                metadata: None,
            }],
        });
        let Some(Reply::Committed(results)) = self.ask(commit).await else {
            return;
        };
        if results != [Ok(())] {
            return;
        }
        world
            .told
            .borrow_mut()
            .commit(self.protocol, partition, offset);
        world.tell(Event::GroupCommitted {
            protocol: self.protocol,
            epoch,
            late: late > 0,
        });
    }

    async fn leave(&self) {
        let member = self.has();
        self.begin_anew();
        let leave = match self.protocol {
            _ if member.id.is_empty() => return,
            Protocol::Classic => Request::Leave(LeaveGroup {
                group: self.protocol.group(),
                members: vec![LeavingMember {
                    member: Arc::from(&*member.id),
                    instance: None,
                    reason: None,
                }],
            }),
            Protocol::Consumer => Request::ConsumerHeartbeat(ConsumerHeartbeat {
                group: self.protocol.group(),
                identity: identity(),
                member: Arc::from(&*member.id),
                member_epoch: -1,
                instance: None,
                rack: None,
                rebalance_timeout_ms: -1,
                topic_names: None,
                topic_regex: None,
                assignor: None,
                owned: None,
                may_lack_member: false,
            }),
        };
        self.ask(leave).await;
    }
}

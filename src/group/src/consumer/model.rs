//! Random histories of a group against what its members believe: joins, leaves, lost and repeated
//! heartbeats, members that vanish, topics that grow, and starts from what was durable.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::embedded::{EmbeddedAssignment, Subscription};
use super::group::ConsumerGroup;
use super::heartbeat::{Aftermath, Context, check_heartbeat};
use super::tests::TestTopics;
use crate::config::{GroupConfig, MigrationPolicy};
use crate::error::GroupError;
use crate::outcome::{Moment, Record};
use crate::records::Key;
use crate::request::{ConsumerHeartbeat, Heartbeat, Identity, JoinGroup, SyncGroup};
use crate::topics::Topics;

/// A deterministic source of chance (SplitMix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }
}

type Held = BTreeSet<(Uuid, i32)>;

/// A consumer as it sees itself.
#[derive(Debug, Clone, Default)]
struct Client {
    member: String,
    instance: Option<String>,
    classic: bool,
    running: bool,
    epoch: i32,
    topics: Vec<Arc<str>>,
    regex: Option<Arc<str>>,
    /// What it reads.
    held: Held,
    /// What it was told to read.
    assigned: Held,
    /// What it last said it has.
    said: Option<Held>,
    /// Whether its next heartbeat has to tell everything.
    full: bool,
    /// The number of the request that is under way.
    waits: Option<u64>,
    /// A classic member that has to join, or to sync.
    must_join: bool,
    must_sync: bool,
}

impl Client {
    /// What it must do when it is told that it is no member any more.
    fn start_over(&mut self) {
        self.held.clear();
        self.assigned.clear();
        self.epoch = 0;
        self.said = None;
        self.full = true;
        self.must_join = true;
        self.must_sync = false;
        if self.classic && self.instance.is_some() {
            self.member.clear();
        }
    }
}

#[derive(Debug)]
enum Answer {
    Beat(Result<crate::reply::ConsumerHeartbeatReply, GroupError>),
    Join(Result<(i32, Arc<str>), GroupError>),
    Sync(Result<Held, GroupError>),
    Classic(Result<(), GroupError>),
    Left,
}

/// A client and the number of its request; none of who does not wait.
type Asker = Option<(usize, u64)>;

struct World {
    dice: Dice,
    topics: TestTopics,
    config: GroupConfig,
    group: ConsumerGroup,
    durable: Vec<Record>,
    pending: VecDeque<(Vec<Record>, Asker, Answer)>,
    clients: Vec<Client>,
    now: Duration,
    names: u64,
    requests: u64,
    top_epoch: i32,
    epochs: BTreeMap<Arc<str>, i32>,
}

fn held(topics: &dyn Topics, bytes: &[u8]) -> Held {
    let assignment = EmbeddedAssignment::decode(bytes).unwrap();
    let lists = assignment.partitions.into_iter();
    lists
        .flat_map(|(name, list)| {
            let id = topics.by_name(&name).unwrap().id;
            list.into_iter().map(move |partition| (id, partition))
        })
        .collect()
}

fn lists(held: &Held) -> Vec<(Uuid, Vec<i32>)> {
    let mut lists: BTreeMap<Uuid, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in held {
        lists.entry(*topic).or_default().push(*partition);
    }
    lists.into_iter().collect()
}

impl World {
    fn new(seed: u64, classic: bool) -> World {
        let mut dice = Dice(seed);
        let mut topics = TestTopics::default();
        for name in ["a", "b", "c"] {
            topics.create(name, dice.below(7) as i32);
        }
        let clients = (0..2 + dice.below(5))
            .map(|at| Client {
                instance: (at % 3 == 2).then(|| format!("i{at}")),
                classic: classic && at % 2 == 1,
                ..Client::default()
            })
            .collect();
        World {
            dice,
            topics,
            config: GroupConfig {
                consumer_migration: MigrationPolicy::Disabled,
                ..GroupConfig::default()
            },
            group: ConsumerGroup::new(Arc::from("g")),
            durable: Vec::new(),
            pending: VecDeque::new(),
            clients,
            now: Duration::ZERO,
            names: 0,
            requests: 0,
            top_epoch: 0,
            epochs: BTreeMap::new(),
        }
    }

    /// Gives the group an event; what it answers waits until it is durable.
    fn ask(
        &mut self,
        asker: Asker,
        event: impl FnOnce(&mut ConsumerGroup, &Context<'_>, &mut Vec<Record>) -> Answer,
    ) {
        self.names += 1;
        let moment = Moment::at(self.now, self.names);
        let context = Context {
            moment: &moment,
            config: &self.config,
            topics: &self.topics,
        };
        let mut records = Vec::new();
        let answer = event(&mut self.group, &context, &mut records);
        self.pending.push_back((records, asker, answer));
        self.check();
    }

    fn subscribe(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let all = ["a", "b", "c", "d"];
        let mut topics: Vec<Arc<str>> = Vec::new();
        for name in all {
            if self.dice.one_in(2) {
                topics.push(Arc::from(name));
            }
        }
        if !client.classic && self.dice.one_in(3) {
            let regexes = ["[ab]", "d.*|a", ".*"];
            let regex = regexes[self.dice.below(3) as usize];
            client.regex = Some(Arc::from(regex));
        } else {
            client.regex = Some(Arc::from(""));
        }
        client.topics = topics;
        client.full = true;
        client.must_join = true;
    }

    fn start(&mut self, at: usize) {
        self.names += 1;
        let name = format!("m{:04}", self.names);
        let client = &mut self.clients[at];
        client.start_over();
        client.running = true;
        client.waits = None;
        // A static member of the classic protocol begins without an id.
        if !client.classic || client.instance.is_none() {
            client.member = name;
        }
        self.subscribe(at);
    }

    fn heartbeat(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.waits.is_some() || !client.running {
            return;
        }
        self.requests += 1;
        client.waits = Some(self.requests);
        if client.classic {
            return self.classic_turn(at);
        }
        let tells = client.full || client.epoch == 0;
        let says = tells || client.said.as_ref() != Some(&client.held);
        let request = ConsumerHeartbeat {
            group: Arc::from("g"),
            identity: Identity {
                client_id: Arc::from("c"),
                client_host: Arc::from("/127.0.0.1"),
            },
            member: Arc::from(&*client.member),
            member_epoch: client.epoch,
            instance: client.instance.as_deref().map(Arc::from),
            rack: None,
            rebalance_timeout_ms: if tells { 60_000 } else { -1 },
            topic_names: tells.then(|| client.topics.clone()),
            topic_regex: client.regex.clone().filter(|_| tells),
            assignor: None,
            owned: says.then(|| lists(&client.held)),
            may_lack_member: false,
        };
        client.said = Some(client.held.clone());
        check_heartbeat(&request, &self.config).unwrap();
        for _ in 0..1 + u64::from(self.dice.one_in(10)) {
            let request = request.clone();
            self.ask(Some((at, self.requests)), move |group, context, out| {
                let reply = group.heartbeat(context, &request, out);
                Answer::Beat(reply.map(|(reply, aftermath)| {
                    assert_eq!(aftermath, Aftermath::Stays);
                    reply
                }))
            });
        }
    }

    fn classic_turn(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let group: Arc<str> = Arc::from("g");
        let member: Arc<str> = Arc::from(&*client.member);
        let instance: Option<Arc<str>> = client.instance.as_deref().map(Arc::from);
        let generation = client.epoch;
        if client.must_sync {
            let request = SyncGroup {
                group,
                generation,
                member,
                instance,
                protocol_type: None,
                protocol_name: None,
                assignments: Vec::new(),
            };
            return self.ask(Some((at, self.requests)), move |group, context, _| {
                let synced = group.sync(context, &request);
                Answer::Sync(synced.map(|synced| held(context.topics, &synced.assignment)))
            });
        }
        if !client.must_join {
            let request = Heartbeat {
                group,
                generation,
                member,
                instance,
            };
            return self.ask(Some((at, self.requests)), move |group, context, out| {
                Answer::Classic(group.classic_heartbeat(context, &request, out))
            });
        }
        let owned = lists(&client.held).into_iter();
        let owned = owned
            .map(|(topic, list)| (Arc::from(self.topics.name_of(topic).unwrap()), list))
            .collect();
        let metadata = Subscription::encode(&client.topics, &owned);
        let request = JoinGroup {
            group,
            identity: Identity {
                client_id: Arc::from("c"),
                client_host: Arc::from("/127.0.0.1"),
            },
            member,
            instance,
            protocol_type: Arc::from("consumer"),
            protocols: vec![(Arc::from("cooperative-sticky"), metadata)],
            session_timeout_ms: 45_000,
            rebalance_timeout_ms: 60_000,
            needs_known_member: true,
            can_skip_assignment: true,
            reason: None,
        };
        self.ask(Some((at, self.requests)), move |group, context, out| {
            let joined = group.join(context, &request, out);
            Answer::Join(match joined {
                Ok((joined, aftermath)) => {
                    assert_eq!(aftermath, Aftermath::Stays);
                    Ok((joined.generation, joined.member))
                }
                Err((error, _)) => Err(error),
            })
        });
    }

    fn leave(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if client.waits.is_some() || !client.running || client.classic || client.epoch <= 0 {
            return;
        }
        let away = client.instance.is_some() && self.dice.one_in(2);
        let request = ConsumerHeartbeat {
            group: Arc::from("g"),
            identity: Identity {
                client_id: Arc::from("c"),
                client_host: Arc::from("/127.0.0.1"),
            },
            member: Arc::from(&*client.member),
            member_epoch: if away { -2 } else { -1 },
            instance: client.instance.as_deref().map(Arc::from),
            rack: None,
            rebalance_timeout_ms: -1,
            topic_names: None,
            topic_regex: None,
            assignor: None,
            owned: None,
            may_lack_member: false,
        };
        client.start_over();
        client.running = false;
        self.ask(None, move |group, context, out| {
            let _ = group.heartbeat(context, &request, out);
            Answer::Left
        });
    }

    /// Makes the oldest step durable, and lets its answer go: perhaps it is lost.
    fn commit(&mut self, losses: bool) {
        let Some((records, asker, answer)) = self.pending.pop_front() else {
            return;
        };
        self.durable.extend(records);
        let lost = losses && self.dice.one_in(8);
        let Some((at, number)) = asker else {
            return;
        };
        let client = &mut self.clients[at];
        if client.waits != Some(number) {
            return;
        }
        client.waits = None;
        if lost {
            client.full = true;
            client.said = None;
            // A classic member whose join or sync is not answered joins again.
            client.must_join |= client.must_sync;
            client.must_sync = false;
            return;
        }
        match answer {
            Answer::Left => {}
            Answer::Beat(Ok(reply)) => {
                client.epoch = reply.member_epoch;
                client.full = false;
                if let Some(lists) = reply.assignment {
                    let lists = lists.into_iter();
                    client.assigned = lists
                        .flat_map(|(topic, list)| list.into_iter().map(move |it| (topic, it)))
                        .collect();
                }
            }
            Answer::Beat(Err(GroupError::UnreleasedInstanceId(_))) => {}
            Answer::Beat(Err(_)) => client.start_over(),
            Answer::Join(Ok((generation, member))) => {
                client.epoch = generation;
                client.member = member.to_string();
                client.must_join = false;
                client.must_sync = true;
            }
            Answer::Sync(Ok(assignment)) => {
                client.held.clone_from(&assignment);
                client.assigned = assignment;
                client.must_sync = false;
            }
            Answer::Classic(Ok(())) => {}
            Answer::Sync(Err(GroupError::RebalanceInProgress))
            | Answer::Classic(Err(GroupError::RebalanceInProgress)) => {
                client.must_join = true;
                client.must_sync = false;
            }
            Answer::Join(Err(_)) | Answer::Sync(Err(_)) | Answer::Classic(Err(_)) => {
                client.start_over();
            }
        }
    }

    /// A consumer lets go first, and takes up afterwards: not while the coordinator may have been
    /// told, by a request whose answer it does not know, that it has not.
    fn apply(&mut self, at: usize) {
        let client = &mut self.clients[at];
        if !client.classic && client.running {
            if client.held.is_subset(&client.assigned) {
                if client.waits.is_none() && !client.full {
                    client.held.clone_from(&client.assigned);
                }
            } else {
                let kept = client.held.intersection(&client.assigned);
                client.held = kept.copied().collect();
            }
        }
    }

    fn rebuilt(&self, records: &mut dyn Iterator<Item = &Record>) -> ConsumerGroup {
        let mut group = ConsumerGroup::new(Arc::from("g"));
        for record in records {
            let key = Key::decode(&record.key).unwrap().unwrap();
            group.replay(&key, record.value.as_deref()).unwrap();
        }
        group
    }

    /// The broker dies: what was not durable is gone, and no answer to it was sent.
    fn crash(&mut self) {
        for (_, asker, _) in std::mem::take(&mut self.pending) {
            let Some((at, number)) = asker else {
                continue;
            };
            let client = &mut self.clients[at];
            if client.waits != Some(number) {
                continue;
            }
            client.waits = None;
            client.full = true;
            client.said = None;
            client.must_join |= client.must_sync;
            client.must_sync = false;
        }
        self.group = self.rebuilt(&mut self.durable.iter());
        let moment = Moment::at(self.now, 0_u64);
        self.group.loaded(&moment, &self.config);
        self.top_epoch = self.group.epoch;
        self.epochs.clear();
        self.check();
    }

    fn time_passes(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.ask(None, |group, context, out| {
            assert_eq!(group.on_deadline(context, out), Aftermath::Stays);
            assert!(
                group
                    .next_deadline()
                    .is_none_or(|at| at > context.moment.now)
            );
            Answer::Left
        });
    }

    fn check(&mut self) {
        self.group.check_invariants();
        assert!(
            self.group.epoch >= self.top_epoch,
            "the group's epoch went back"
        );
        self.top_epoch = self.group.epoch;
        for member in self.group.members.values() {
            let before = self.epochs.insert(member.id.clone(), member.epoch);
            let before = before.unwrap_or(0);
            let (stays, away) = (member.epoch >= before, member.epoch == -2);
            assert!(stays || away, "{} went back from {before}", member.id);
        }
        let members = &self.group.members;
        self.epochs.retain(|id, _| members.contains_key(id));
        let mut readers: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
        for client in &self.clients {
            let live = client.running && members.contains_key(&*client.member);
            for at in client.held.iter().filter(|_| live) {
                let other = readers.insert(*at, &client.member);
                assert_eq!(other, None, "{at:?} is read by {} too", client.member);
            }
        }
        if !self.dice.one_in(8) {
            return;
        }
        let records = self.pending.iter().flat_map(|(records, _, _)| records);
        let again = self.rebuilt(&mut self.durable.iter().chain(records));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        self.group.snapshot(&mut one);
        again.snapshot(&mut other);
        assert_eq!(one, other, "replay makes another group");
    }

    fn step(&mut self) {
        let at = self.dice.below(self.clients.len() as u64) as usize;
        match self.dice.below(40) {
            0..=13 => self.heartbeat(at),
            14..=25 => self.commit(true),
            26..=32 => self.apply(at),
            33 if !self.clients[at].running => self.start(at),
            34 => self.leave(at),
            35 if self.clients[at].running && self.clients[at].waits.is_none() => {
                self.subscribe(at)
            }
            36 if self.dice.one_in(2) => {
                let name = ["a", "b", "c", "d"][self.dice.below(4) as usize];
                self.topics.grow(name, 1 + self.dice.below(3) as i32);
            }
            37 if self.dice.one_in(3) => self.crash(),
            38 => {
                let ms = self.dice.below(30_000);
                self.time_passes(ms);
            }
            39 if self.dice.one_in(3) => self.clients[at].running = false,
            _ if !self.clients[at].running => self.start(at),
            _ => {}
        }
    }

    /// Everybody heartbeats, nothing is lost: all come to have what they are to have.
    fn settle(&mut self) {
        self.time_passes(100_000);
        for at in 0..self.clients.len() {
            if !self.clients[at].running {
                self.start(at);
            }
        }
        for _ in 0..60 {
            for at in 0..self.clients.len() {
                self.heartbeat(at);
                while !self.pending.is_empty() {
                    self.commit(false);
                }
                self.apply(at);
                self.apply(at);
            }
            self.time_passes(1_000);
        }
        self.commit(false);
        assert_eq!(self.group.state(), "Stable");
        for client in &self.clients {
            assert!(self.group.members.contains_key(&*client.member));
            // Who is subscribed to nothing from the start has no target.
            let target = self.group.targets.get(&*client.member);
            let target: Held = target
                .into_iter()
                .flatten()
                .flat_map(|(topic, list)| list.iter().map(|it| (*topic, *it)))
                .collect();
            assert_eq!(client.held, target, "{}", client.member);
        }
    }
}

fn run(seeds: std::ops::Range<u64>, classic: bool) {
    for seed in seeds {
        let mut world = World::new(seed, classic);
        for _ in 0..250 {
            world.step();
        }
        world.settle();
    }
}

#[test]
fn members_share_partitions_whatever_is_lost_repeated_or_begun_again() {
    run(0..60, false);
}

#[test]
fn members_of_both_protocols_share_partitions() {
    run(1_000..1_060, true);
}

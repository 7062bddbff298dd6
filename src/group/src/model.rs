//! Random members, timeouts and crashes against the promises of a group.
//!
//! Clients join, sync, show themselves, commit, vanish and come back; what the machine records
//! becomes durable later, replies leave only then, and at any time the machine may be rebuilt from
//! what is durable and a part of what is not. Always: each partition is owned by at most one member
//! of a generation; a generation that was assigned is never followed by an older one; no offset
//! whose commit was answered is lost; and (with [`Rig`]) the machine that the records make is the
//! machine. At last, when nothing fails any more, all clients share all partitions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::testing::{Rig, heartbeat, join, leave, simple_commit, sync, to_commit};
use crate::{
    CommitOffsets, GroupConfig, GroupError, JoinGroup, Reply, ReplyTo, Request, SyncGroup,
};

const PARTITIONS: u8 = 4;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Join,
    Sync,
    Heartbeat,
    Commit { partition: u8, offset: i64 },
}

#[derive(Debug)]
struct Client {
    instance: Option<Arc<str>>,
    id: Arc<str>,
    old: bool,
    waits: Option<(ReplyTo, Asked)>,
    /// Generation, and the members to assign to, if it leads.
    joined: Option<(i32, Vec<Arc<str>>)>,
    owned: Option<Vec<u8>>,
}

struct World {
    rig: Rig,
    dice: Dice,
    clients: Vec<Client>,
    /// How many records are durable, and where each batch ends.
    durable: usize,
    batches: Vec<usize>,
    /// Replies, each with how many records must be durable before it leaves.
    held: VecDeque<(usize, ReplyTo, Reply)>,
    /// Who owned what in each generation.
    owners: BTreeMap<(i32, u8), Arc<str>>,
    assigned: i32,
    committed: BTreeMap<u8, i64>,
    next_offset: i64,
    instances: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut dice = Dice(seed);
        let rig = Rig::new(GroupConfig {
            initial_rebalance_delay_ms: (dice.below(3) * 1_000) as i32,
            ..GroupConfig::default()
        });
        World {
            rig,
            dice,
            clients: Vec::new(),
            durable: 0,
            batches: Vec::new(),
            held: VecDeque::new(),
            owners: BTreeMap::new(),
            assigned: 0,
            committed: BTreeMap::new(),
            next_offset: 0,
            instances: 0,
        }
    }

    fn start_client(&mut self) {
        let is_static = self.dice.below(3) == 0;
        self.instances += u64::from(is_static);
        let instance = is_static.then(|| format!("i{}", self.instances).into());
        self.clients.push(Client {
            instance,
            id: "".into(),
            old: self.dice.below(3) == 0,
            waits: None,
            joined: None,
            owned: None,
        });
    }

    /// Holds what the machine answered until its records are durable.
    fn collect(&mut self) {
        let len = self.rig.log.len();
        if self.batches.last() != Some(&len) {
            self.batches.push(len);
        }
        for (to, reply) in std::mem::take(&mut self.rig.replies) {
            self.held.push_back((len, to, reply));
        }
    }

    fn flush(&mut self) {
        self.durable = self.rig.log.len();
        while let Some((_, to, reply)) = self.held.pop_front() {
            self.deliver(to, reply);
        }
    }

    fn crash(&mut self) {
        let ends = self
            .batches
            .iter()
            .filter(|end| **end >= self.durable)
            .copied();
        let ends: Vec<usize> = ends.chain([self.durable]).collect();
        let end = ends[self.dice.below(ends.len() as u64) as usize];
        self.held.clear();
        self.rig.replies.clear();
        self.batches.retain(|batch| *batch <= end);
        self.rig.restart(end);
        self.durable = end;
        for client in &mut self.clients {
            client.waits = None;
        }
        self.collect();
    }

    fn deliver(&mut self, to: ReplyTo, reply: Reply) {
        let waits = |client: &&mut Client| client.waits.is_some_and(|(asked, _)| asked == to);
        let Some(client) = self.clients.iter_mut().find(waits) else {
            return;
        };
        let Some((_, asked)) = client.waits.take() else {
            return;
        };
        let error = match (asked, reply) {
            (Asked::Join, Reply::Joined(Ok(joined))) => {
                client.id = joined.member.clone();
                let leads = joined.leader == joined.member && !joined.skip_assignment;
                let members = joined.members.into_iter().map(|m| m.member);
                let members = if leads { members.collect() } else { Vec::new() };
                client.joined = Some((joined.generation, members));
                client.owned = None;
                return;
            }
            (Asked::Join, Reply::Joined(Err((error, id)))) => {
                if error == GroupError::MemberIdRequired {
                    client.id = id;
                    return;
                }
                error
            }
            (Asked::Sync, Reply::Synced(Ok(synced))) => {
                let (generation, _) = client.joined.clone().unwrap();
                assert!(
                    generation >= self.assigned,
                    "generation {generation} goes back"
                );
                self.assigned = generation;
                for partition in &synced.assignment {
                    let owner = self.owners.entry((generation, *partition));
                    let owner = owner.or_insert_with(|| client.id.clone());
                    let instance = client.instance.as_deref();
                    let same = instance.is_some_and(|i| owner.starts_with(&format!("{i}-")));
                    assert!(same || *owner == client.id, "{partition} has two owners");
                }
                client.owned = Some(synced.assignment.to_vec());
                return;
            }
            (Asked::Heartbeat, Reply::Heartbeat(Ok(()))) => return,
            (Asked::Commit { partition, offset }, Reply::Committed(results))
                if results == [Ok(())] =>
            {
                self.committed.insert(partition, offset);
                return;
            }
            (_, Reply::Synced(Err(error)) | Reply::Heartbeat(Err(error))) => error,
            (_, Reply::Committed(results)) => results[0].clone().unwrap_err(),
            (asked, reply) => panic!("{asked:?} was answered with {reply:?}"),
        };
        match error {
            GroupError::RebalanceInProgress | GroupError::IllegalGeneration => client.joined = None,
            GroupError::UnknownMemberId | GroupError::GroupIdNotFound(_) => {
                client.id = "".into();
                client.joined = None;
            }
            error => panic!("{asked:?} was refused: {error:?}"),
        }
        client.owned = None;
    }

    /// Lets a client do what it would do next.
    fn act(&mut self, at: usize) {
        let client = &self.clients[at];
        if client.waits.is_some() {
            return;
        }
        let (request, asked) = match (&client.joined, &client.owned) {
            (None, _) => (self.join(client), Asked::Join),
            (Some((generation, members)), None) => {
                (self.sync(client, *generation, members), Asked::Sync)
            }
            (Some((generation, _)), Some(owned)) => {
                let (generation, owned) = (*generation, owned.clone());
                self.work(at, generation, &owned)
            }
        };
        let to = self.rig.send(request);
        self.clients[at].waits = Some((to, asked));
        self.collect();
    }

    fn join(&self, client: &Client) -> Request {
        Request::Join(JoinGroup {
            instance: client.instance.clone(),
            needs_known_member: !client.old,
            can_skip_assignment: !client.old,
            ..join("g", &client.id)
        })
    }

    fn sync(&self, client: &Client, generation: i32, members: &[Arc<str>]) -> Request {
        let mut shares = vec![Vec::new(); members.len()];
        for partition in 0..PARTITIONS {
            if let Some(share) = shares.get_mut(usize::from(partition) % members.len().max(1)) {
                share.push(partition);
            }
        }
        let members = members.iter().cloned();
        Request::Sync(SyncGroup {
            instance: client.instance.clone(),
            assignments: members.zip(shares.into_iter().map(Bytes::from)).collect(),
            ..sync("g", generation, &client.id, &[])
        })
    }

    fn work(&mut self, at: usize, generation: i32, owned: &[u8]) -> (Request, Asked) {
        let commits = self.dice.below(2) == 0;
        let client = &self.clients[at];
        match owned.first() {
            Some(partition) if commits => {
                self.next_offset += 1;
                let (partition, offset) = (*partition, self.next_offset);
                let offsets = vec![to_commit("alpha", i32::from(partition), offset)];
                let commit = CommitOffsets {
                    generation_or_epoch: generation,
                    member: client.id.clone(),
                    instance: client.instance.clone(),
                    ..simple_commit("g", offsets)
                };
                (Request::Commit(commit), Asked::Commit { partition, offset })
            }
            _ => {
                let beat = crate::Heartbeat {
                    instance: client.instance.clone(),
                    ..heartbeat("g", generation, &client.id)
                };
                (Request::Heartbeat(beat), Asked::Heartbeat)
            }
        }
    }

    /// A client vanishes, without a word or with one; a static one may come back at once.
    fn stop_client(&mut self, at: usize) {
        let client = self.clients.remove(at);
        if let Some((to, _)) = client.waits {
            self.rig.machine.cancel(to);
            self.held.retain(|(_, held, _)| *held != to);
        }
        match client.instance {
            Some(instance) if self.dice.below(2) == 0 => self.clients.push(Client {
                instance: Some(instance),
                id: "".into(),
                waits: None,
                joined: None,
                owned: None,
                ..client
            }),
            None if !client.id.is_empty() && self.dice.below(2) == 0 => {
                self.rig.send(Request::Leave(leave("g", &client.id, None)));
                self.collect();
            }
            _ => {}
        }
    }

    fn pass(&mut self, ms: u64) {
        self.rig.pass(ms);
        self.collect();
    }

    fn check(&mut self) {
        for (partition, offset) in self.committed.clone() {
            let kept = self.rig.offset("g", "alpha", i32::from(partition));
            assert!(
                kept >= offset,
                "offset {offset} of {partition} is lost: {kept}"
            );
        }
    }

    fn some_client(&mut self) -> Option<usize> {
        let count = self.clients.len() as u64;
        (count > 0).then(|| self.dice.below(count) as usize)
    }

    fn disturb(&mut self) {
        match self.dice.below(20) {
            0 if self.clients.len() < 6 => self.start_client(),
            1 => {
                if let Some(at) = self.some_client() {
                    self.stop_client(at);
                }
            }
            2 => self.crash(),
            3..=5 => {
                let ms = self.dice.below(4_000);
                self.pass(ms);
            }
            6 => self.pass(11_000),
            7..=10 => self.flush(),
            _ => {
                if let Some(at) = self.some_client() {
                    self.act(at);
                }
            }
        }
    }

    /// Nothing fails any more: everybody must find to everybody.
    fn settle(&mut self) {
        if self.clients.is_empty() {
            self.start_client();
        }
        // Long enough for every old session, join and sync to end.
        for _ in 0..200 {
            for at in 0..self.clients.len() {
                self.act(at);
                self.flush();
            }
            self.pass(1_000);
            self.flush();
        }
        let mut shared: Vec<u8> = Vec::new();
        let mut generations = Vec::new();
        for client in &self.clients {
            shared.extend(client.owned.as_ref().expect("a share for everybody"));
            generations.push(client.joined.as_ref().map(|(generation, _)| *generation));
        }
        shared.sort_unstable();
        assert_eq!(shared, (0..PARTITIONS).collect::<Vec<u8>>());
        generations.dedup();
        assert_eq!(generations.len(), 1, "one generation");
        assert_eq!(self.rig.state("g"), "Stable");
    }
}

fn run(seed: u64) -> (i32, usize) {
    let mut world = World::new(seed);
    for _ in 0..400 {
        world.disturb();
        world.check();
    }
    world.settle();
    world.check();
    (world.assigned, world.committed.len())
}

#[test]
fn members_that_come_and_go_and_machines_that_crash_keep_every_promise() {
    let mut generations = 0;
    let mut committed = 0;
    for seed in 0..30 {
        let (last, partitions) = run(seed);
        generations += last;
        committed += partitions;
    }
    assert!(
        generations > 150,
        "{generations} generations are too few to mean anything"
    );
    assert!(
        committed > 50,
        "{committed} partitions with commits are too few"
    );
}

//! Members of groups, each with a connection of its own, driven from one thread: what a consumer
//! says to its coordinator, and nothing else.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use crate::connection::{Connection, Wait};
use crate::group_frames as frames;
use crate::stats::Times;

/// How long a rebalance may take before the measurement says that it did not come to an end.
const REBALANCE_MAX: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(50);
const LOAD_IN_PROGRESS: i16 = 14;
const NOT_COORDINATOR: i16 = 16;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Classic,
    Consumer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nothing,
    Join,
    Sync,
    Heartbeat,
    Leave,
}

struct Member {
    connection: Connection,
    group: String,
    id: String,
    /// The generation, in the classic protocol.
    epoch: i32,
    asked: Asked,
    sent: Instant,
    /// When the next heartbeat is.
    due: Instant,
    partitions: usize,
    /// In the new protocol: which, and their topic.
    owned: frames::Owned,
    topic: [u8; 16],
    stable: bool,
}

/// All members of a measurement.
pub struct Swarm {
    addr: SocketAddr,
    protocol: Protocol,
    topic: (String, usize),
    interval: Duration,
    members: BTreeMap<u64, Member>,
    made: u64,
    epoll: rustix::fd::OwnedFd,
    beats: Times,
}

impl Swarm {
    /// Nobody yet; all that come want `topic`, which has so many partitions.
    pub fn new(
        addr: SocketAddr,
        protocol: Protocol,
        topic: (String, usize),
        interval: Duration,
    ) -> Self {
        Self {
            addr,
            protocol,
            topic,
            interval,
            members: BTreeMap::new(),
            made: 0,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set"),
            beats: Times::default(),
        }
    }

    /// Another member, connected, which joins with the next turn.
    pub fn add(&mut self, group: &str) {
        let mut connection = Connection::open(self.addr, Wait::Block).expect("it listens");
        connection
            .call(crate::frames::api_versions())
            .expect("it answers");
        connection.stream.set_nonblocking(true).expect("a socket");
        let number = self.made;
        self.made += 1;
        let data = epoll::EventData::new_u64(number);
        let flags = epoll::EventFlags::IN;
        epoll::add(&self.epoll, connection.stream.as_fd(), data, flags).expect("a socket");
        let id = match self.protocol {
            Protocol::Classic => String::new(),
            Protocol::Consumer => format!("{}-{number}", std::process::id()),
        };
        let now = Instant::now();
        let member = Member {
            connection,
            group: group.to_owned(),
            id,
            epoch: 0,
            asked: Asked::Nothing,
            sent: now,
            due: now,
            partitions: 0,
            owned: Vec::new(),
            topic: [0; 16],
            stable: false,
        };
        self.members.insert(number, member);
    }

    /// The youngest member leaves.
    pub fn leave(&mut self) {
        let number = *self.members.keys().next_back().expect("a member");
        while self.members[&number].asked != Asked::Nothing {
            self.turn();
        }
        let member = self.members.get_mut(&number).expect("it is there");
        let frame = match self.protocol {
            Protocol::Classic => frames::leave(&member.group, &member.id),
            Protocol::Consumer => frames::consumer_heartbeat(&member.group, &member.id, -1, None),
        };
        member.ask(Asked::Leave, frame);
        while self.members.contains_key(&number) {
            self.turn();
        }
    }

    /// Until everybody has settled on a state in which `partitions` are owned; if it is `one` group,
    /// at the same epoch, and nobody has two more than another. How long it took since `began`, unless it takes too long.
    pub fn settle(&mut self, began: Instant, partitions: usize, one: bool) -> Option<Duration> {
        while began.elapsed() < REBALANCE_MAX {
            self.turn();
            if self.settled(partitions, one) {
                return Some(began.elapsed());
            }
        }
        None
    }

    fn settled(&self, partitions: usize, one: bool) -> bool {
        let epoch = self.members.values().next().map(|member| member.epoch);
        let (mut owned, mut least, mut most) = (0, usize::MAX, 0);
        for member in self.members.values() {
            if !member.stable || (one && Some(member.epoch) != epoch) {
                return false;
            }
            owned += member.partitions;
            least = least.min(member.partitions);
            most = most.max(member.partitions);
        }
        owned == partitions && (!one || most - least <= 1)
    }

    /// Nothing but heartbeats, evenly spread: how long each took.
    pub fn beat(&mut self, lasting: Duration) -> Times {
        let began = Instant::now();
        let count = u32::try_from(self.members.len()).expect("few");
        for (index, member) in (0_u32..).zip(self.members.values_mut()) {
            member.due = began + self.interval * index / count;
        }
        self.beats = Times::default();
        while began.elapsed() < lasting {
            self.turn();
        }
        std::mem::take(&mut self.beats)
    }

    /// Says whatever is due, and hears what has been answered.
    fn turn(&mut self) {
        let now = Instant::now();
        let due = |member: &Member| member.asked == Asked::Nothing && member.due <= now;
        let numbers: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, member)| due(member))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.speak(number);
        }
        let tick = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        let mut events = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; 64];
        let (ready, _) =
            epoll::wait(&self.epoll, events.as_mut_slice(), Some(&tick)).expect("an epoll set");
        let ready: Vec<u64> = ready.iter().map(|event| event.data.u64()).collect();
        for number in ready {
            self.hear(number);
        }
    }

    /// The next word of a member: a heartbeat if it is in its group, else that it wants to join.
    fn speak(&mut self, number: u64) {
        let member = self.members.get_mut(&number).expect("it is there");
        let topic = self.topic.0.as_str();
        match (self.protocol, member.stable) {
            (Protocol::Classic, true) => {
                let frame = frames::heartbeat(&member.group, member.epoch, &member.id);
                member.ask(Asked::Heartbeat, frame);
            }
            (Protocol::Classic, false) => {
                let frame = frames::join(&member.group, &member.id, topic);
                member.ask(Asked::Join, frame);
            }
            (Protocol::Consumer, stable) => {
                let full = (topic, member.topic, &member.owned);
                let full = (!stable).then_some(full);
                let frame =
                    frames::consumer_heartbeat(&member.group, &member.id, member.epoch, full);
                member.ask(Asked::Heartbeat, frame);
            }
        }
    }

    fn hear(&mut self, number: u64) {
        let Some(member) = self.members.get_mut(&number) else {
            return;
        };
        match member.connection.fill() {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("member {number}: {error}"),
        }
        let asked = member.asked;
        let Some(answer) = member.connection.take().map(<[u8]>::to_vec) else {
            return;
        };
        let took = member.sent.elapsed();
        member.asked = Asked::Nothing;
        if asked == Asked::Leave {
            self.members.remove(&number);
            return;
        }
        if asked == Asked::Heartbeat && member.stable {
            self.beats.push(took);
        }
        match (self.protocol, asked) {
            (Protocol::Consumer, _) => self.consumer_heard(number, &answer),
            (_, Asked::Join) => self.joined(number, &answer),
            (_, Asked::Sync) => self.synced(number, &answer),
            _ => self.beaten(number, &answer),
        }
    }

    fn joined(&mut self, number: u64, answer: &[u8]) {
        let joined = frames::joined(answer);
        let member = self.members.get_mut(&number).expect("it is there");
        match joined.error {
            0 => {
                (member.id, member.epoch) = (joined.member.clone(), joined.generation);
                let topic = (self.topic.0.as_str(), self.topic.1);
                let frame = frames::sync(&member.group, &joined, &member.id, topic);
                member.ask(Asked::Sync, frame);
            }
            MEMBER_ID_REQUIRED => {
                member.id = joined.member;
                member.due = Instant::now();
            }
            error => member.again(error),
        }
    }

    fn synced(&mut self, number: u64, answer: &[u8]) {
        let (error, partitions) = frames::synced(answer);
        let member = self.members.get_mut(&number).expect("it is there");
        if error == 0 {
            (member.partitions, member.stable) = (partitions, true);
            member.due = Instant::now() + self.interval;
        } else {
            member.again(error);
        }
    }

    fn beaten(&mut self, number: u64, answer: &[u8]) {
        let member = self.members.get_mut(&number).expect("it is there");
        match frames::beaten(answer) {
            0 => member.due = member.sent + self.interval,
            error => {
                member.stable = false;
                member.again(error);
            }
        }
    }

    fn consumer_heard(&mut self, number: u64, answer: &[u8]) {
        let heard = frames::consumer_beaten(answer);
        let member = self.members.get_mut(&number).expect("it is there");
        if heard.error != 0 {
            member.again(heard.error);
            return;
        }
        member.epoch = heard.epoch;
        member.stable = true;
        member.due = member.sent + self.interval;
        if let Some((owned, topic)) = heard.assigned {
            member.topic = topic.unwrap_or(member.topic);
            if owned != member.owned {
                // What it has now it says at once.
                (member.stable, member.due) = (false, Instant::now());
            }
            member.partitions = owned.len();
            member.owned = owned;
        }
    }
}

impl Member {
    fn ask(&mut self, asked: Asked, mut frame: Vec<u8>) {
        (self.asked, self.sent) = (asked, Instant::now());
        self.connection.send(&mut frame).expect("it takes it");
    }

    /// Joins again after an error: at once if it is asked to, later if the coordinator is not there
    /// yet. Anything else ends the measurement: nobody may be forgotten while all beat in time.
    fn again(&mut self, error: i16) {
        self.due = match error {
            REBALANCE_IN_PROGRESS => Instant::now(),
            LOAD_IN_PROGRESS..=NOT_COORDINATOR => Instant::now() + RETRY,
            error => panic!("a member of {} was answered error {error}", self.group),
        };
    }
}

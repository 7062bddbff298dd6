//! Groups, in some histories: members of both protocols that join, commit, vanish and come back.
//!
//! Owns what is drawn of them, and what all members together were told. Offsets that are committed
//! rise from commit to commit, so that one that has gone back is told by its number alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tailwater_broker::Broker;
use tailwater_group::{FetchOffsets, GroupError, Reply, Request, TopicRef, WantedOffsets};
use tailwater_shards::sleep;

use crate::choices::Choices;
use crate::clients::name;
use crate::event::{Event, OffsetsRead};
use crate::history::{ADMIN, CONSUMERS, Command, KEYED, PRODUCERS, Step, What};
use crate::rot::{Rot, Victim};
use crate::world::Shared;

/// The topic that the groups read. Nobody deletes it.
pub(crate) const TOPIC: u8 = KEYED + 1;
const PARTITIONS: u8 = 3;
/// One history in so many has groups.
const ONE_IN: u64 = 4;
/// At one end in so many a snapshot rots, if there is one.
const ROT_ONE_IN: u64 = 5;
/// How often the checker looks whether the coordinators have been loaded.
const LOOKS_MAX: u32 = 200;

/// The protocol of a group; there is one group of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Join, sync, heartbeat: eager.
    Classic,
    /// KIP-848.
    Consumer,
}

impl Protocol {
    /// The group's id.
    pub(crate) fn group(self) -> Arc<str> {
        Arc::from(match self {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        })
    }
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Joins, or shows itself and does what it is told.
    Beat,
    /// Commits an offset of a partition that it has.
    Commit,
    /// Commits in a generation that is over.
    CommitLate,
    /// Asks for the group's offsets.
    Read,
    /// Goes, and says so.
    Leave,
    /// Goes.
    Vanish,
}

/// A member's step.
#[derive(Clone, Copy, Debug)]
pub struct GroupStep {
    /// In which group.
    pub protocol: Protocol,
    /// What it does.
    pub act: Act,
}

/// What members were told, by group; with partitions where it is about one.
#[derive(Debug, Default)]
pub(crate) struct Told {
    last: i64,
    begun: BTreeSet<(Protocol, i32, i64)>,
    committed: BTreeMap<(Protocol, i32), i64>,
    epochs: BTreeMap<Protocol, i32>,
}

impl Told {
    /// What can be said of groups that may have lost anything: what was ever sent, and nothing else.
    pub(crate) fn lose_unknown(&mut self) {
        self.committed.clear();
        self.epochs.clear();
    }

    /// A commit is about to be sent: its offset.
    pub(crate) fn begin(&mut self, protocol: Protocol, partition: i32) -> i64 {
        self.last += 1;
        self.begun.insert((protocol, partition, self.last));
        self.last
    }

    /// Whether that offset was ever sent.
    pub(crate) fn was_sent(&self, protocol: Protocol, partition: i32, offset: i64) -> bool {
        self.begun.contains(&(protocol, partition, offset))
    }

    /// Somebody was told that the offset is committed: it is from now on.
    pub(crate) fn commit(&mut self, protocol: Protocol, partition: i32, offset: i64) {
        let known = self.committed.entry((protocol, partition)).or_insert(-1);
        *known = (*known).max(offset);
    }

    /// The least that whoever asks now has to be told, by partition.
    pub(crate) fn floor(&self, protocol: Protocol) -> BTreeMap<i32, i64> {
        let of_group = self.committed.iter().filter(|((of, _), _)| *of == protocol);
        of_group.map(|((_, at), offset)| (*at, *offset)).collect()
    }

    /// The highest epoch that a member was told.
    pub(crate) fn epoch(&self, protocol: Protocol) -> i32 {
        self.epochs.get(&protocol).copied().unwrap_or(0)
    }

    /// A member was told of an epoch.
    pub(crate) fn reach(&mut self, protocol: Protocol, epoch: i32) {
        let known = self.epochs.entry(protocol).or_default();
        *known = (*known).max(epoch);
    }
}

/// Puts steps of members between those that are there, in some histories, and has snapshots rot.
/// Whoever cannot read a log any more says so, and nothing is asked of it.
pub(crate) fn weave(seed: u64, steps: &mut Vec<Step>) {
    let mut choices = Choices::new(seed ^ 0x6d65_6d62_6572_7321);
    if !choices.one_in(ONE_IN) {
        return;
    }
    let create = Command::Create {
        topic: TOPIC,
        partitions: PARTITIONS,
        configs: Vec::new(),
    };
    let created = Step {
        what: What::Client(ADMIN, create),
        then_us: 3_000,
    };
    let mut woven = vec![created];
    for mut step in steps.drain(..) {
        if let What::Ends(restart) = &mut step.what {
            let of_groups = choices.one_in(ROT_ONE_IN).then(|| Rot {
                at: choices.next(),
                unreadable: choices.one_in(4),
                victim: Victim::Snapshot,
            });
            restart.rot = restart.rot.or(of_groups);
        }
        woven.push(step);
        for _ in 0..choices.below(3) {
            woven.push(draw(&mut choices));
        }
    }
    *steps = woven;
}

fn draw(choices: &mut Choices) -> Step {
    let protocol = choices.pick(&[Protocol::Classic, Protocol::Consumer]);
    let act = match choices.below(24) {
        0..11 => Act::Beat,
        11..18 => Act::Commit,
        18..20 => Act::CommitLate,
        20..22 => Act::Read,
        22 => Act::Leave,
        _ => Act::Vanish,
    };
    let client = PRODUCERS + choices.u8(CONSUMERS);
    let then_us = if choices.one_in(3) {
        u32::from(choices.u16(300, 6_000))
    } else {
        0
    };
    Step {
        what: What::Client(client, Command::Group(GroupStep { protocol, act })),
        then_us,
    }
}

/// Asks for all offsets of a group.
pub(crate) async fn read_offsets(
    broker: &Broker,
    world: &Shared,
    protocol: Protocol,
) -> Result<(), GroupError> {
    let floor = world.told.borrow().floor(protocol);
    let request = Request::Fetch(FetchOffsets {
        group: protocol.group(),
        member: None,
        member_epoch: -1,
        wanted: WantedOffsets::All,
        require_stable: true,
    });
    let mut answers = broker.ask_groups(vec![(protocol.group(), request)]).await;
    let Reply::Fetched(Ok(fetched)) = answers.pop().expect("one ask, one answer")? else {
        return Ok(());
    };
    let wanted = TopicRef::Name(Arc::from(name(TOPIC)));
    let of_topic = fetched
        .topics
        .into_iter()
        .filter(|(topic, _)| *topic == wanted);
    let found = of_topic.flat_map(|(_, offsets)| offsets);
    let found: BTreeMap<i32, i64> = found.map(|it| (it.partition, it.offset)).collect();
    let sent = |(partition, offset): (&i32, &i64)| {
        let told = world.told.borrow();
        !told.was_sent(protocol, *partition, *offset)
    };
    let never_sent = found.iter().any(sent);
    for (partition, offset) in &found {
        world
            .told
            .borrow_mut()
            .commit(protocol, *partition, *offset);
    }
    world.tell(Event::OffsetsRead(Box::new(OffsetsRead {
        protocol,
        floor,
        found,
        never_sent,
    })));
    Ok(())
}

/// Reads the offsets of all groups once their coordinators have been loaded.
pub(crate) async fn read_all(broker: &Broker, world: &Shared) {
    for protocol in [Protocol::Classic, Protocol::Consumer] {
        for _ in 0..LOOKS_MAX {
            match read_offsets(broker, world, protocol).await {
                Err(GroupError::CoordinatorLoadInProgress) => {
                    sleep(Duration::from_millis(1)).await;
                }
                _ => break,
            }
        }
    }
}

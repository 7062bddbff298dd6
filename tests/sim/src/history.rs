//! A history: what the clients do and what befalls the machine, drawn from a seed before anything
//! runs. Each step stands for itself, so that a history can be shrunk by leaving steps out.

use crate::choices::Choices;
use crate::groups::{self, GroupStep};
use crate::keyed::{self, ProduceKeyed, ReadKeyed};
use crate::rot::{self, Rot, Victim};

/// How many names there are for topics.
pub(crate) const TOPICS: u8 = 4;
/// The compacted topic, which has clients and a property of its own.
pub(crate) const KEYED: u8 = TOPICS;
/// Clients that produce; the first half of them with idempotence.
pub(crate) const PRODUCERS: u8 = 4;
/// Clients that fetch.
pub(crate) const CONSUMERS: u8 = 3;
/// The client that creates, deletes and changes topics, and asks for offsets.
pub(crate) const ADMIN: u8 = PRODUCERS + CONSUMERS;
/// All clients.
pub(crate) const CLIENTS: u8 = ADMIN + 1;

/// A history that can be run, shrunk and printed.
#[derive(Clone, Debug)]
pub struct History {
    /// The seed of the machine's own chance: schedule, disk, what a cut takes.
    pub seed: u64,
    /// Shards of the first start.
    pub shards: u16,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One step and the time that passes after it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happens.
    pub what: What,
    /// Microseconds to run before the next one.
    pub then_us: u32,
}

/// What happens.
#[derive(Clone, Debug)]
pub enum What {
    /// A client does something, once it has done what came before.
    Client(u8, Command),
    /// The wall clock jumps.
    ClockJumps {
        /// By so many seconds.
        seconds: i32,
    },
    /// Disk operations take longer.
    Slow(Slowed),
    /// A disk operation fails.
    Fails(Failing),
    /// The disk fills up, but for so many KiB.
    DiskFills {
        /// What is left.
        left_kib: u32,
    },
    /// The disk has room again.
    DiskFreed,
    /// An idempotent producer's connection breaks, and it makes another, to the next shard, while what
    /// it has sent is still on its way.
    Reconnects(u8),
    /// The process ends, and starts anew.
    Ends(Restart),
}

/// What a client does.
#[derive(Clone, Debug)]
pub enum Command {
    /// Produces one batch to each of some partitions.
    Produce(Produce),
    /// An idempotent producer sends again what it sent last, acknowledged or not: as many batches
    /// as a broker has to remember.
    SendAgain,
    /// Asks for a producer id.
    AskProducerId,
    /// An idempotent producer leaves a sequence out.
    LeaveGap {
        /// To which topic.
        topic: u8,
        /// Which partition, modulo their number.
        partition: u8,
    },
    /// Fetches.
    Fetch(Fetch),
    /// Creates a topic, if the name is free.
    Create {
        /// Its name.
        topic: u8,
        /// How many partitions.
        partitions: u8,
        /// Its configurations.
        configs: Vec<(&'static str, &'static str)>,
    },
    /// Deletes a topic.
    Delete {
        /// Its name.
        topic: u8,
    },
    /// Adds a partition.
    Grow {
        /// To which topic.
        topic: u8,
    },
    /// Sets a configuration of a topic.
    Configure {
        /// Of which topic.
        topic: u8,
        /// Its name.
        name: &'static str,
        /// Its value.
        value: &'static str,
    },
    /// Deletes records.
    DeleteRecords {
        /// Of which topic.
        topic: u8,
        /// Of which partition, modulo their number.
        partition: u8,
        /// Up to where, in 256ths of what there is.
        upto: u8,
    },
    /// Asks for offsets by time and for the ends of leader epochs.
    AskOffsets {
        /// Of which topic.
        topic: u8,
        /// Of which partition, modulo their number.
        partition: u8,
    },
    /// Produces to the compacted topic.
    ProduceKeyed(ProduceKeyed),
    /// Reads the compacted topic.
    ReadKeyed(ReadKeyed),
    /// Does something as a member of a group.
    Group(GroupStep),
}

/// A produce.
#[derive(Clone, Debug)]
pub struct Produce {
    /// To which topic.
    pub topic: u8,
    /// The first partition, modulo their number.
    pub partition: u8,
    /// To how many partitions.
    pub partitions: u8,
    /// Records of each batch.
    pub records: u8,
    /// Bytes of each value.
    pub bytes: u16,
    /// As on the wire; always -1 for an idempotent producer.
    pub acks: i16,
    /// How far the timestamps lie from now, in seconds.
    pub time_s: i16,
}

/// A fetch of some partitions of one topic.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Of which topic.
    pub topic: u8,
    /// The first partition, modulo their number.
    pub partition: u8,
    /// Of how many partitions.
    pub partitions: u8,
    /// From where.
    pub from: From,
    /// The bytes wanted.
    pub bytes_max: i32,
    /// How long it may park.
    pub wait_ms: u32,
    /// How long the consumer takes to read the answer.
    pub takes_ms: u32,
    /// Whether records of open transactions are left out.
    pub committed: bool,
    /// Whether a partition of the session is given up, if there is a session.
    pub forgets: bool,
}

/// Where a fetch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// After what the consumer had last.
    Next,
    /// At the log's start.
    Start,
    /// Somewhere before where the consumer is, in 256ths.
    Before(u8),
}

/// Which disk operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Syncs of files.
    Sync,
    /// Syncs of directories.
    SyncDir,
}

/// Disk operations that take longer.
#[derive(Clone, Copy, Debug)]
pub struct Slowed {
    /// Which.
    pub operation: Operation,
    /// How many of them.
    pub times: u8,
    /// By how much.
    pub ms: u32,
}

/// Disk operations that fail.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    /// Which.
    pub operation: Operation,
    /// How many pass before.
    pub skip: u8,
    /// How many fail then, one after the other.
    pub times: u8,
    /// Because the device says that it is full, and not that it is broken.
    pub full: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is told to stop.
    Stop,
    /// kill -9.
    Kill,
    /// The power fails.
    PowerCut,
}

/// When it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Now.
    Now,
    /// When the disk operation so many changes from now was submitted.
    Submitted(u16),
    /// When it was carried out, and nobody knows yet.
    Completed(u16),
}

/// An end and the next start.
#[derive(Clone, Debug)]
pub struct Restart {
    /// How it ends.
    pub end: End,
    /// When.
    pub moment: Moment,
    /// Shards of the next start.
    pub shards: u16,
    /// Ends during the recoveries that follow.
    pub again: Vec<(End, Moment)>,
    /// Something rots while the machine is off; then it ends at rest, unless it is to be among the
    /// last commits.
    pub rot: Option<Rot>,
}

/// All jumps ahead of the wall clock together: below the day after which a broker forgets a
/// producer, and may then take a batch of it twice.
const JUMPS_MAX_S: i32 = 20 * 3600;

/// Configurations that topics are created with.
const TOPIC_KINDS: [&[(&str, &str)]; 8] = [
    &[],
    &[("segment.ms", "20")],
    &[("write.caching", "true"), ("flush.ms", "5")],
    &[("write.caching", "true"), ("flush.ms", "60")],
    &[("compression.type", "lz4")],
    &[
        ("message.timestamp.type", "LogAppendTime"),
        ("segment.ms", "50"),
    ],
    &[("retention.ms", "120000"), ("segment.ms", "10")],
    &[("retention.bytes", "6000"), ("segment.ms", "10")],
];

/// What configurations are changed to.
const CHANGES: [(&str, &str); 8] = [
    ("write.caching", "true"),
    ("write.caching", "false"),
    ("flush.ms", "20"),
    ("segment.ms", "15"),
    ("segment.ms", "604800000"),
    ("retention.ms", "600000"),
    ("retention.ms", "604800000"),
    ("flush.bytes", "2000"),
];

impl History {
    /// The history of a seed, in which something rots at one end in so many.
    pub fn of_seed(seed: u64, rot_one_in: u64) -> History {
        let mut choices = Choices::new(seed);
        let shards = choices.u16(2, 3);
        let mut draw = Draw {
            steady: choices.one_in(3),
            disk_faults: choices.one_in(2),
            choices,
            jumps_left_s: JUMPS_MAX_S,
            rot_one_in,
        };
        let mut steps = Vec::new();
        for topic in 0..u8::try_from(draw.choices.between(2, 3)).expect("small") {
            let what = What::Client(ADMIN, draw.create(topic));
            steps.push(Step { what, then_us: 300 });
        }
        let ends = draw.choices.between(2, 4);
        for _ in 0..ends {
            for _ in 0..draw.choices.between(50, 75) {
                steps.push(draw.step());
            }
            steps.extend(draw.ending());
            if draw.choices.one_in(3) {
                for _ in 0..draw.choices.below(12) {
                    steps.push(draw.step());
                }
                steps.extend(draw.ending());
            }
        }
        for _ in 0..draw.choices.between(8, 20) {
            steps.push(draw.step());
        }
        keyed::weave(seed, &mut steps);
        groups::weave(seed, &mut steps);
        rot::weave(seed, &mut steps);
        History {
            seed,
            shards,
            steps,
        }
    }
}

struct Draw {
    choices: Choices,
    /// The disk is never slow, so that something can be said of times.
    steady: bool,
    /// Operations fail and the disk fills up.
    disk_faults: bool,
    /// How far the wall clock may still jump ahead.
    jumps_left_s: i32,
    rot_one_in: u64,
}

impl Draw {
    fn step(&mut self) -> Step {
        let what = self.what();
        let then_us = match self.choices.below(12) {
            0..6 => 0,
            6..9 => self.choices.between(1, 300),
            9..11 => self.choices.between(100, 2_000),
            _ => self.choices.between(1_000, 30_000),
        };
        let then_us = u32::try_from(then_us).expect("small");
        Step { what, then_us }
    }

    fn what(&mut self) -> What {
        match self.choices.below(1000) {
            0..480 => self.produce(),
            480..790 => self.fetch(),
            790..950 => What::Client(ADMIN, self.admin()),
            950..960 => {
                let seconds = i32::try_from(self.choices.below(7 * 3600)).expect("small") - 3600;
                let seconds = seconds.min(self.jumps_left_s);
                self.jumps_left_s -= seconds.max(0);
                What::ClockJumps { seconds }
            }
            960..980 if !self.steady => What::Slow(Slowed {
                operation: self.operation(),
                times: 1 + self.choices.u8(8),
                ms: u32::from(self.choices.u16(1, 40)),
            }),
            980..984 if !self.steady => What::Slow(Slowed {
                operation: self.operation(),
                times: 1 + self.choices.u8(3),
                ms: u32::from(self.choices.u16(500, 3000)),
            }),
            984..988 if self.disk_faults => self.failing(),
            988..992 if self.disk_faults => What::DiskFills {
                left_kib: u32::from(self.choices.u16(0, 1024)),
            },
            992..997 => What::Reconnects(self.choices.u8(PRODUCERS / 2)),
            _ => What::DiskFreed,
        }
    }

    /// A read is tried again, so that it takes several errors in a row to matter.
    fn failing(&mut self) -> What {
        let operation = self.choices.pick(&[
            Operation::Read,
            Operation::Write,
            Operation::Sync,
            Operation::SyncDir,
        ]);
        What::Fails(Failing {
            operation,
            skip: self.choices.u8(12),
            times: match operation {
                Operation::Read => 1 + self.choices.u8(2),
                _ => 1,
            },
            full: operation == Operation::Write && self.choices.one_in(2),
        })
    }

    fn operation(&mut self) -> Operation {
        self.choices
            .pick(&[Operation::Read, Operation::Write, Operation::Sync])
    }

    fn topic(&mut self) -> u8 {
        // The first ones are the busiest.
        self.choices.u8(TOPICS).min(self.choices.u8(TOPICS))
    }

    fn produce(&mut self) -> What {
        let client = self.choices.u8(PRODUCERS);
        let topic = self.topic();
        let partition = self.choices.u8(3);
        let command = match self.choices.below(40) {
            0..3 => Command::SendAgain,
            3 => Command::LeaveGap { topic, partition },
            4 => Command::AskProducerId,
            _ => Command::Produce(Produce {
                topic,
                partition,
                partitions: if self.choices.one_in(4) { 3 } else { 1 },
                records: 1 + self.choices.u8(4),
                bytes: match self.choices.below(30) {
                    0 => self.choices.u16(2_000, 9_000),
                    1..6 => self.choices.u16(200, 2_000),
                    _ => self.choices.u16(8, 200),
                },
                acks: self.choices.pick(&[-1, -1, -1, 1, 1, 0]),
                time_s: match self.choices.below(6) {
                    0 => i16::try_from(self.choices.below(3000)).expect("small"),
                    1 => -i16::try_from(self.choices.below(600)).expect("small"),
                    _ => 0,
                },
            }),
        };
        What::Client(client, command)
    }

    fn fetch(&mut self) -> What {
        let client = PRODUCERS + self.choices.u8(CONSUMERS);
        let from = match self.choices.below(8) {
            0 => From::Start,
            1..3 => From::Before(self.choices.u8(255)),
            _ => From::Next,
        };
        What::Client(
            client,
            Command::Fetch(Fetch {
                topic: self.topic(),
                partition: self.choices.u8(3),
                partitions: if self.choices.one_in(3) { 3 } else { 1 },
                from,
                bytes_max: self.choices.pick(&[1, 400, 4_000, 1 << 20]),
                wait_ms: self.choices.pick(&[0, 0, 2, 20, 200]),
                takes_ms: self.choices.pick(&[0, 0, 0, 1, 8]),
                committed: self.choices.one_in(2),
                forgets: self.choices.one_in(5),
            }),
        )
    }

    fn create(&mut self, topic: u8) -> Command {
        let configs = if self.choices.one_in(2) {
            TOPIC_KINDS[usize::from(self.choices.u8(2))]
        } else {
            self.choices.pick(&TOPIC_KINDS)
        };
        Command::Create {
            topic,
            partitions: 1 + self.choices.u8(3),
            configs: configs.to_vec(),
        }
    }

    fn admin(&mut self) -> Command {
        let topic = self.topic();
        let partition = self.choices.u8(3);
        match self.choices.below(20) {
            0..6 => self.create(topic),
            6..8 => Command::Delete { topic },
            8 => Command::Grow { topic },
            9..12 => {
                let (name, value) = self.choices.pick(&CHANGES);
                Command::Configure { topic, name, value }
            }
            12..15 => Command::DeleteRecords {
                topic,
                partition,
                upto: self.choices.u8(255),
            },
            _ => Command::AskOffsets { topic, partition },
        }
    }

    /// An end; half of them come upon something that was answered just now, or was to be.
    fn ending(&mut self) -> Vec<Step> {
        if self.choices.one_in(2) {
            let moment = self.moment(30);
            return vec![self.end(moment)];
        }
        let topic = self.topic();
        let partition = self.choices.u8(3);
        let what = match self.choices.below(12) {
            0..2 => What::Client(self.choices.u8(PRODUCERS), Command::AskProducerId),
            2..4 => What::Client(ADMIN, self.create(topic)),
            4..6 => What::Client(ADMIN, Command::Delete { topic }),
            6..8 => What::Client(ADMIN, Command::Grow { topic }),
            8..10 => {
                let (name, value) = self.choices.pick(&CHANGES);
                What::Client(ADMIN, Command::Configure { topic, name, value })
            }
            _ => {
                let upto = self.choices.u8(255);
                What::Client(
                    ADMIN,
                    Command::DeleteRecords {
                        topic,
                        partition,
                        upto,
                    },
                )
            }
        };
        let then_us = u32::try_from(self.choices.below(300)).expect("small");
        let moment = self.moment(3);
        vec![Step { what, then_us }, self.end(moment)]
    }

    fn end(&mut self, moment: Moment) -> Step {
        let mut again = Vec::new();
        while again.len() < 3 && self.choices.one_in(3) {
            let end = self.choices.pick(&[End::Kill, End::PowerCut]);
            again.push((end, self.moment(40)));
        }
        let end = self.choices.pick(&[
            End::PowerCut,
            End::PowerCut,
            End::PowerCut,
            End::Kill,
            End::Kill,
            End::Stop,
        ]);
        let moment = if end == End::Stop {
            Moment::Now
        } else {
            moment
        };
        let restart = Restart {
            end,
            moment,
            shards: self.choices.u16(1, 3),
            again,
            rot: self.choices.one_in(self.rot_one_in).then(|| Rot {
                at: self.choices.next(),
                unreadable: self.choices.one_in(4),
                victim: Victim::AnyFile,
            }),
        };
        Step {
            what: What::Ends(restart),
            then_us: 0,
        }
    }

    fn moment(&mut self, changes: u16) -> Moment {
        match self.choices.below(4) {
            0 => Moment::Now,
            1 | 2 => Moment::Submitted(self.choices.u16(1, changes)),
            _ => Moment::Completed(self.choices.u16(1, changes)),
        }
    }
}

//! The rows of the suites: what is measured, in the words of the report.

mod rows;

use serde::{Deserialize, Serialize};

use crate::frames::Shape;
use crate::load::Pace;
use crate::poller::Wait;

pub(crate) use rows::rows;

/// How much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Extent {
    /// At most 8 minutes: every row twice, for seconds.
    Quick,
    /// At most an hour.
    Full,
}

/// What stands behind an acknowledgement of the broker that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// acks=all is durable.
    Tailwater,
    /// With one replica and default settings nothing is synced.
    Kafka,
    /// Whatever its configuration says.
    Other,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Of letters, digits and dashes: a file's name.
    pub(crate) id: String,
    pub(crate) suite: &'static str,
    pub(crate) title: String,
    pub(crate) survives: &'static str,
    pub(crate) work: Work,
}

/// What a row does.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// A load on the broker.
    Load(Workload),
    /// The same on `discard`, the client's ceiling.
    Discard(Workload),
    /// O_DIRECT write of 4 KiB and fdatasync by a thread on the broker's core, or on the client's.
    RawDisk { on: Core },
    /// O_DIRECT write of what is due of `rate` records a second, and fdatasync, while the client's core
    /// spins.
    RawDiskAt { rate: u64 },
    /// A round trip of a KiB and a short answer over the loopback.
    RoundTrip { wait: Wait },
    /// O_DIRECT reads of a MiB, one after the other.
    DirectReads,
    /// A stream over the loopback, both sides spinning.
    Loopback,
    /// A message from one shard to another, both spinning: half of a call's round trip.
    Hop,
    /// A producer that is not ours, as it comes, as fast as it goes.
    Client { client: Client, on: On },
    /// A load on a real Kafka of one node on the broker's core, warmed up before.
    Kafka(Workload),
    /// Redis, appendfsync always.
    Redis,
    /// A load on a second broker that was started here, with `--poll spin`.
    Spinning(Workload),
    /// A broker is started on an empty directory.
    Start,
    /// The broker is killed under load and started again: only of a broker that was started here.
    Restart,
    /// A load on a broker of its own, started for the row as it says.
    Own { start: Own, load: Workload },
    /// A producer that is not ours on such a broker.
    OwnClient { start: Own, client: Client },
}

/// A producer that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Client {
    Librdkafka,
    Java,
}

/// What it produces to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Broker,
    Discard,
    Kafka,
}

/// Which of the two cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    Broker,
    Client,
}

/// How a broker of a row's own is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) shards: usize,
    pub(crate) on: Core,
    pub(crate) poll: &'static str,
    pub(crate) flags: &'static [&'static str],
}

/// A load, as far as a row decides it.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) partitions: usize,
    pub(crate) acks: i16,
    pub(crate) shape: Shape,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) wait: Wait,
    pub(crate) tail_readers: usize,
    pub(crate) configs: &'static [(&'static str, &'static str)],
    pub(crate) beside: Beside,
    /// So many times as long as other rows.
    pub(crate) times_as_long: u64,
}

/// What goes on beside the producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// Another topic, of so many MiB, is read from its begin again and again, as fast as it goes.
    Backfill {
        mib: u64,
        /// They exceed what the broker keeps in memory, so that they come from the disk: where they
        /// do not, the row is absent.
        from_disk: bool,
    },
    /// The topic itself has so many MiB already, which a reader has yet to read.
    Backlog {
        mib: u64,
    },
}

impl Workload {
    /// One connection in a closed loop, 1 KiB, acks=all, one partition, spinning.
    pub(crate) fn plain() -> Self {
        Self {
            partitions: 1,
            acks: -1,
            shape: Shape {
                value_bytes: 1024,
                key_bytes: 0,
                records: 1,
                batches: 1,
            },
            connections: 1,
            pace: Pace::Closed { depth: 1 },
            wait: Wait::Spin,
            tail_readers: 0,
            configs: &[],
            beside: Beside::Nothing,
            times_as_long: 1,
        }
    }

    /// Sixteen connections, so many requests a second.
    pub(crate) fn at(rate: u64) -> Self {
        Self {
            connections: 16,
            pace: Pace::Open { rate },
            ..Self::plain()
        }
    }

    /// Whether anybody consumes.
    pub(crate) fn reads(&self) -> bool {
        self.tail_readers > 0 || self.beside != Beside::Nothing
    }

    /// What an acknowledgement of it survives.
    pub(crate) fn survives(&self, kind: Kind) -> &'static str {
        let has = |key: &str| self.configs.iter().any(|(name, _)| *name == key);
        match (kind, self.acks) {
            (_, 0) => "nothing is acknowledged",
            (Kind::Other, _) => "what that broker's configuration says",
            (Kind::Kafka, _) if has("flush.messages") => "power loss",
            (Kind::Kafka, _) => "kill -9, not power loss",
            (Kind::Tailwater, -1) if !has("write.caching") => "power loss",
            (Kind::Tailwater, _) => "kill -9, not power loss",
        }
    }
}

//! How long requests took, and in which of their stages: histograms of each shard.
//!
//! Owns the names of the stages and one row of cells for each shard of a process. As with the
//! counters, a cell has one writer, its shard, and any thread may read it: to record is some plain
//! adds, and to read costs the shard nothing. Must not know what a kind of request is: it has a
//! number, and who reads has the names.
//!
//! Bounds: a kind's cells are made when it is first recorded, some 40 KiB, and there are
//! [`KINDS_MAX`] kinds at most; nothing grows after that.

mod buckets;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use buckets::{BUCKETS, bucket_ends_at, bucket_of};

use crate::context::{self, ShardId};

/// Kinds of requests that can be told apart.
pub const KINDS_MAX: usize = 128;

macro_rules! stages {
    ($($(#[$doc:meta])+ $variant:ident => $name:literal,)+) => {
        /// A stage of a request's way. Together the stages that a request passed take as long as
        /// the request.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Stage {
            $($(#[$doc])+ $variant,)+
        }

        impl Stage {
            /// All of them, in the order in which a request passes them.
            pub const ALL: &'static [Stage] = &[$(Stage::$variant,)+];

            /// The name in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Stage::$variant => $name,)+
                }
            }
        }
    };
}

stages! {
    /// From the frame's length until all of it had arrived.
    Read => "read",
    /// Until those before it on its connection let it begin.
    Order => "order",
    /// Decoding, and for a produce the checks of its batches.
    Check => "check",
    /// To the owning shard and back.
    Mesh => "mesh",
    /// Appending in memory, with the wait for room in the log.
    Append => "append",
    /// Until a commit took the batch.
    Queue => "queue",
    /// The commit's write.
    Write => "write",
    /// The commit's sync.
    Sync => "sync",
    /// Until the request went on after what it waited for.
    Wake => "wake",
    /// What a request that is no produce does, and waits for: a parked fetch too.
    Handle => "handle",
    /// Encoding the answer and giving it to the socket, behind the answers before it.
    Reply => "reply",
}

/// How many stages there are.
pub const STAGES: usize = Stage::ALL.len();

/// How long one request was in each of its stages, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StageTimes {
    nanos: [u64; STAGES],
    /// A bit for each stage that was passed.
    passed: u16,
}

impl StageTimes {
    /// The request was that long in the stage; what it was there before counts too.
    pub fn add(&mut self, stage: Stage, nanos: u64) {
        let cell = &mut self.nanos[stage as usize];
        *cell = cell.saturating_add(nanos);
        self.passed |= 1 << stage as usize;
    }

    /// The time in that stage; `None` if it was not passed.
    pub fn of(&self, stage: Stage) -> Option<u64> {
        let passed = self.passed & (1 << stage as usize) != 0;
        passed.then_some(self.nanos[stage as usize])
    }

    /// The whole request.
    pub fn total(&self) -> u64 {
        self.nanos
            .iter()
            .fold(0, |sum, nanos| sum.saturating_add(*nanos))
    }
}

type Cells = [AtomicU64; BUCKETS];

/// A kind of request on one shard.
struct Kind {
    /// Of the whole requests: how many in each bucket, and how long those were in each stage.
    totals: Cells,
    stages_of_totals: [[AtomicU64; STAGES]; BUCKETS],
    /// Of each stage by itself, with the sum of its times.
    stages: [(Cells, AtomicU64); STAGES],
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

/// For the cell's own shard only: one writer, so nothing is lost between the two.
fn add(cell: &AtomicU64, count: u64) {
    cell.store(
        cell.load(Ordering::Relaxed).wrapping_add(count),
        Ordering::Relaxed,
    );
}

impl Kind {
    fn new() -> Box<Kind> {
        Box::new(Kind {
            totals: zeros(),
            stages_of_totals: std::array::from_fn(|_| zeros()),
            stages: std::array::from_fn(|_| (zeros(), AtomicU64::new(0))),
        })
    }

    fn record(&self, times: &StageTimes) {
        let bucket = bucket_of(times.total());
        add(&self.totals[bucket], 1);
        for (place, stage) in Stage::ALL.iter().enumerate() {
            let Some(nanos) = times.of(*stage) else {
                continue;
            };
            add(&self.stages_of_totals[bucket][place], nanos);
            let (cells, sum) = &self.stages[place];
            add(&cells[bucket_of(nanos)], 1);
            add(sum, nanos);
        }
    }
}

/// One shard's kinds.
struct Row(Box<[OnceLock<Box<Kind>>]>);

/// The histograms of all shards of a process. Clones are the same cells; readable on any thread.
#[derive(Clone)]
pub struct Latencies {
    rows: Arc<[Row]>,
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Latencies").finish_non_exhaustive()
    }
}

impl Latencies {
    /// Nothing recorded, for a process of that many shards.
    pub(crate) fn new(shards: u16) -> Latencies {
        let row = |_| Row((0..KINDS_MAX).map(|_| OnceLock::new()).collect());
        Latencies {
            rows: (0..shards).map(row).collect(),
        }
    }

    /// For the shard itself only. A kind that has no number here is not recorded.
    fn record(&self, shard: ShardId, kind: usize, times: &StageTimes) {
        let row = &self.rows[usize::from(shard.0)];
        if let Some(kind) = row.0.get(kind) {
            kind.get_or_init(Kind::new).record(times);
        }
    }

    /// How many shards there are.
    pub fn shards(&self) -> u16 {
        u16::try_from(self.rows.len()).expect("made for a count of shards")
    }

    /// What a shard has recorded of a kind; `None` if nothing.
    ///
    /// # Panics
    /// If the process has no such shard.
    pub fn snapshot(&self, shard: ShardId, kind: usize) -> Option<Snapshot> {
        let kind = self.rows[usize::from(shard.0)].0.get(kind)?.get()?;
        let read = |cells: &[AtomicU64]| -> Vec<u64> {
            let cells = cells.iter();
            cells.map(|cell| cell.load(Ordering::Relaxed)).collect()
        };
        Some(Snapshot {
            totals: read(&kind.totals),
            stages_of_totals: kind.stages_of_totals.iter().map(|row| read(row)).collect(),
            stages: kind
                .stages
                .iter()
                .map(|(cells, sum)| Histogram {
                    counts: read(cells),
                    sum_ns: sum.load(Ordering::Relaxed),
                })
                .collect(),
        })
    }
}

/// How often each bucket was met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    /// All times together.
    pub sum_ns: u64,
}

impl Histogram {
    /// How many times it holds.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many there are of less than `nanos`, which must be where a bucket ends: powers of two
    /// from 256 on are.
    pub fn count_below(&self, nanos: u64) -> u64 {
        let last = bucket_of(nanos.saturating_sub(1));
        self.counts.iter().take(last + 1).sum()
    }

    fn merge(&mut self, other: &Histogram) {
        merge(&mut self.counts, &other.counts);
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

fn merge(into: &mut [u64], from: &[u64]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into = into.wrapping_add(*from);
    }
}

/// What was recorded of a kind, as it was at some moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    totals: Vec<u64>,
    stages_of_totals: Vec<Vec<u64>>,
    stages: Vec<Histogram>,
}

/// The requests at a percentile.
#[derive(Clone, PartialEq, Debug)]
pub struct AtPercentile {
    /// They took at least this long, and less than `below_ns`.
    pub from_ns: u64,
    /// See `from_ns`.
    pub below_ns: u64,
    /// How many such requests there were.
    pub requests: u64,
    /// How long they were in each stage, on average, in the order of [`Stage::ALL`].
    pub stages_ns: [u64; STAGES],
}

impl Snapshot {
    /// How many requests it holds.
    pub fn count(&self) -> u64 {
        self.totals.iter().sum()
    }

    /// The whole requests.
    pub fn total(&self) -> Histogram {
        let sums = self.stages.iter().map(|stage| stage.sum_ns);
        Histogram {
            counts: self.totals.clone(),
            sum_ns: sums.fold(0, u64::wrapping_add),
        }
    }

    /// One stage of them.
    pub fn stage(&self, stage: Stage) -> &Histogram {
        &self.stages[stage as usize]
    }

    /// Adds what another shard has recorded of the same kind.
    pub fn merge(&mut self, other: &Snapshot) {
        merge(&mut self.totals, &other.totals);
        for (into, from) in self
            .stages_of_totals
            .iter_mut()
            .zip(&other.stages_of_totals)
        {
            merge(into, from);
        }
        for (into, from) in self.stages.iter_mut().zip(&other.stages) {
            into.merge(from);
        }
    }

    /// The requests of which `percent` of all took no longer, and where they spent it. `None`
    /// without requests.
    pub fn at_percentile(&self, percent: f64) -> Option<AtPercentile> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // The rank of the request, counted from one.
        let rank = (percent.clamp(0.0, 100.0) / 100.0 * count as f64).ceil();
        let rank = (rank as u64).clamp(1, count);
        let mut passed = 0;
        for (bucket, requests) in self.totals.iter().enumerate() {
            passed += requests;
            if passed >= rank {
                let sums = &self.stages_of_totals[bucket];
                let below = if bucket == 0 {
                    0
                } else {
                    bucket_ends_at(bucket - 1)
                };
                return Some(AtPercentile {
                    from_ns: below,
                    below_ns: bucket_ends_at(bucket),
                    requests: *requests,
                    stages_ns: std::array::from_fn(|stage| sums[stage] / requests),
                });
            }
        }
        None
    }
}

/// Records one request on the current shard. Outside a shard nothing is recorded.
pub fn record_latency(kind: usize, times: &StageTimes) {
    context::with_current(|context| context.figures.latencies.record(context.id, kind, times));
}

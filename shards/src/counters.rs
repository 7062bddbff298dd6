//! What is counted by name: pushbacks, faults, and the commits they are seen beside.
//!
//! Owns the names and one row of cells for each shard of a process. Counting costs one plain add:
//! a cell has one writer, its shard, and any thread may read it. Must not know what a name stands
//! for: whoever pushes back counts, in the place that decides it.
//!
//! Invariant: a counter never falls while its process lives.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::{self, ShardId};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// Something that is counted. The set is fixed: no name comes from a client.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Counter {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Counter {
            /// All of them, in the order in which they are shown.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];

            /// The name in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Counter::$variant => $name,)+
                }
            }

            /// What it is, in a sentence.
            pub const fn help(self) -> &'static str {
                match self {
                    $(Counter::$variant => concat!($($doc),+).trim_ascii_start(),)+
                }
            }
        }
    };
}

counters! {
    /// Commits that were written to a log.
    Commits => "commits",
    /// Syncs of a log.
    Flushes => "flushes",
    /// The kernel was entered by a shard's ring (the `uring` engine's; glommio does not tell).
    RingEnters => "ring_enters",
    /// A task held its shard's loop for too long by one poll.
    LoopStalls => "loop_stalls",
    /// A task ended by a panic, which was caught.
    TaskPanics => "task_panics",
    /// An append waited for room in the log.
    WaitsForWalRoom => "waits_for_wal_room",
    /// A commit waited until a file of the log was freed or ready.
    WaitsForWalFile => "waits_for_wal_file",
    /// A request waited for the shard's request memory.
    WaitsForRequestMemory => "waits_for_request_memory",
    /// A connection with something to do waited for its turn.
    WaitsForTurn => "waits_for_turn",
    /// A produce waited: its connection has as much in flight as it may.
    WaitsForInFlight => "waits_for_in_flight",
    /// A reply waited for, or was cut by, the shard's reply memory.
    WaitsForReplyMemory => "waits_for_reply_memory",
    /// A produce was refused, as the disk is nearly full.
    RefusedDiskFull => "refused_disk_full",
    /// A group, a member or an offset was refused: the coordinators of the shard have as many as
    /// they may.
    RefusedGroupMemory => "refused_group_memory",
    /// The groups of a partition could not be read: its coordinator serves nothing until they can.
    FailedGroupLoads => "failed_group_loads",
    /// A connection was refused: as many as may be are open.
    RefusedConnections => "refused_connections",
    /// A connection was refused: its address has as many as it may.
    RefusedConnectionsOfAddress => "refused_connections_of_address",
    /// A connection was closed: it was idle for too long.
    ClosedIdle => "closed_idle",
    /// A connection was closed: its peer does not take what it asked for.
    ClosedSlowReader => "closed_slow_reader",
    /// A connection was closed: its peer does not send the rest of a frame.
    ClosedSlowSender => "closed_slow_sender",
    /// A connection was closed: its peer stood still, and others waited for the request memory
    /// that it held.
    ClosedRequestMemory => "closed_request_memory",
    /// A connection was closed: its peer stood still, and others waited for the reply memory
    /// that it held.
    ClosedReplyMemory => "closed_reply_memory",
    /// A connection was closed: it sent what is no request, or one that is too large.
    ClosedBadRequest => "closed_bad_request",
    /// A request for what another shard owns went there: a client's, for records, offsets or
    /// groups. Metadata and what only follows from such a request are not counted.
    MeshRequests => "mesh_requests",
    /// A partition went out of service.
    CorruptPartitions => "corrupt_partitions",
}

const COUNTERS: usize = Counter::ALL.len();

/// One shard's cells, away from other shards' cache lines.
#[repr(align(128))]
struct Row([AtomicU64; COUNTERS]);

impl Row {
    fn new() -> Row {
        Row(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    fn cell(&self, counter: Counter) -> &AtomicU64 {
        &self.0[counter as usize]
    }
}

/// The counters of all shards of a process. Clones are the same cells; readable on any thread.
#[derive(Clone)]
pub struct Counters {
    rows: Arc<[Row]>,
}

impl Counters {
    /// All zero, for a process of that many shards.
    pub(crate) fn new(shards: u16) -> Counters {
        Counters {
            rows: (0..shards).map(|_| Row::new()).collect(),
        }
    }

    /// For the cell's own shard only.
    pub(crate) fn add(&self, shard: ShardId, counter: Counter, count: u64) {
        let cell = self.rows[usize::from(shard.0)].cell(counter);
        // One writer, so nothing is lost between the two.
        cell.store(
            cell.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    /// How often it has happened on that shard.
    ///
    /// # Panics
    /// If the process has no such shard.
    pub fn of_shard(&self, shard: ShardId, counter: Counter) -> u64 {
        self.rows[usize::from(shard.0)]
            .cell(counter)
            .load(Ordering::Relaxed)
    }

    /// How often it has happened on all shards.
    pub fn total(&self, counter: Counter) -> u64 {
        let cells = self.rows.iter().map(|row| row.cell(counter));
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
    }

    /// Those that have happened, summed over the shards.
    pub fn totals(&self) -> impl Iterator<Item = (Counter, u64)> + '_ {
        let all = Counter::ALL.iter();
        all.map(|counter| (*counter, self.total(*counter)))
            .filter(|(_, total)| *total > 0)
    }
}

/// One line for each that has happened: its name, then its total over the shards.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut totals = self.totals().peekable();
        if totals.peek().is_none() {
            return f.write_str("nothing");
        }
        while let Some((counter, total)) = totals.next() {
            write!(f, "{} {total}", counter.name())?;
            if totals.peek().is_some() {
                f.write_str("\n")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self
            .totals()
            .map(|(counter, total)| (counter.name(), total));
        f.debug_map().entries(named).finish()
    }
}

/// Counts one on the current shard. Outside a shard nothing is counted.
pub fn count(counter: Counter) {
    count_many(counter, 1);
}

/// Counts `count` on the current shard. Outside a shard nothing is counted.
pub fn count_many(counter: Counter, count: u64) {
    context::with_current(|context| context.figures.counters.add(context.id, counter, count));
}

/// The counters of the process that the current shard belongs to. Panics outside one.
pub fn counters() -> Counters {
    context::with(|context| context.figures.counters.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Simulation;

    #[test]
    fn names_are_distinct_and_stand_at_their_places() {
        for (place, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, place);
            let same = |other: &&Counter| other.name() == counter.name();
            assert_eq!(Counter::ALL.iter().filter(same).count(), 1);
        }
    }

    #[test]
    fn shards_count_apart_and_are_summed_and_zeros_are_not_shown() {
        let mut simulation = Simulation::new(1);
        simulation.boot(3, |me| async move {
            count(Counter::WaitsForWalRoom);
            count_many(Counter::Commits, u64::from(me.0) * 10);
            crate::sleep(std::time::Duration::from_secs(1)).await;
            let counters = counters();
            assert_eq!(
                counters.of_shard(me, Counter::Commits),
                u64::from(me.0) * 10
            );
            assert_eq!(counters.total(Counter::WaitsForWalRoom), 3);
            assert_eq!(counters.to_string(), "commits 30\nwaits_for_wal_room 3");
        });
        simulation.run(crate::sleep(std::time::Duration::from_secs(2)));
        assert_eq!(Counters::new(1).to_string(), "nothing");
    }

    #[test]
    fn a_process_begins_at_zero_and_outside_a_shard_nothing_is_counted() {
        count(Counter::TaskPanics);
        let mut simulation = Simulation::new(2);
        for _ in 0..2 {
            simulation.boot(1, |_| async {
                count(Counter::TaskPanics);
                assert_eq!(counters().total(Counter::TaskPanics), 1);
            });
            simulation.run(crate::sleep(std::time::Duration::from_secs(1)));
        }
    }
}

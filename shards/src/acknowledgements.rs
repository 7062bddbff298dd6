//! How many durable acknowledgements kept a latency target, and what the background is left for it.
//!
//! Owns one row of cells for each shard of a process, as the counters do: one writer, its shard, and
//! any thread may read. Without a target nothing is counted. Must not know how the share is found.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::context::{self, ShardId};
use crate::io_class::FULL_SHARE;

/// One shard's, away from other shards' cache lines.
#[repr(align(128))]
struct Row {
    all: AtomicU64,
    late: AtomicU64,
    share: AtomicU32,
}

/// See the module. Clones are the same cells.
#[derive(Clone)]
pub struct Acknowledgements {
    /// Nanoseconds; 0 is none.
    target: Arc<AtomicU64>,
    rows: Arc<[Row]>,
}

/// How many there were.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Acknowledged {
    /// All of them.
    pub all: u64,
    /// Those that took longer than the target.
    pub late: u64,
}

impl std::fmt::Debug for Acknowledgements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let target = self.target();
        f.debug_struct("Acknowledgements")
            .field("target", &target)
            .finish_non_exhaustive()
    }
}

impl Acknowledgements {
    /// None yet, and no target, for a process of that many shards.
    pub(crate) fn new(shards: u16) -> Acknowledgements {
        let row = |_| Row {
            all: AtomicU64::new(0),
            late: AtomicU64::new(0),
            share: AtomicU32::new(FULL_SHARE),
        };
        Acknowledgements {
            target: Arc::default(),
            rows: (0..shards).map(row).collect(),
        }
    }

    /// From now on they are counted, against this.
    pub fn set_target(&self, target: Duration) {
        let nanos = u64::try_from(target.as_nanos()).unwrap_or(u64::MAX);
        self.target.store(nanos.max(1), Ordering::Relaxed);
    }

    /// What they are held against, if anything.
    pub fn target(&self) -> Option<Duration> {
        let nanos = self.target.load(Ordering::Relaxed);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    fn row(&self, shard: ShardId) -> &Row {
        &self.rows[usize::from(shard.0)]
    }

    /// For the shard itself only: one took that long.
    fn record(&self, shard: ShardId, nanos: u64) {
        let target = self.target.load(Ordering::Relaxed);
        if target == 0 {
            return;
        }
        let row = self.row(shard);
        // One writer, so nothing is lost between the two.
        let add =
            |cell: &AtomicU64| cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if nanos > target {
            add(&row.late);
        }
        add(&row.all);
    }

    /// Those of a shard since the target was set.
    ///
    /// # Panics
    /// If the process has no such shard.
    pub fn of_shard(&self, shard: ShardId) -> Acknowledged {
        let row = self.row(shard);
        Acknowledged {
            all: row.all.load(Ordering::Relaxed),
            late: row.late.load(Ordering::Relaxed),
        }
    }

    /// Those of all shards.
    pub fn total(&self) -> Acknowledged {
        let shards = (0..self.rows.len()).map(|shard| ShardId(shard as u16));
        shards.fold(Acknowledged::default(), |sum, shard| {
            let of_shard = self.of_shard(shard);
            Acknowledged {
                all: sum.all + of_shard.all,
                late: sum.late + of_shard.late,
            }
        })
    }

    /// For the shard itself only: the background has this share.
    pub fn set_share(&self, shard: ShardId, thousandths: u32) {
        self.row(shard).share.store(thousandths, Ordering::Relaxed);
    }

    /// The background's share on a shard, in thousandths.
    ///
    /// # Panics
    /// If the process has no such shard.
    pub fn share(&self, shard: ShardId) -> u32 {
        self.row(shard).share.load(Ordering::Relaxed)
    }
}

/// A durable acknowledgement of the current shard took that long. Outside a shard, and without a
/// target, nothing is counted.
pub fn record_acknowledgement(nanos: u64) {
    context::with_current(|context| context.figures.acknowledgements.record(context.id, nanos));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_without_a_target_and_the_late_ones_with_it() {
        let told = Acknowledgements::new(2);
        told.record(ShardId(0), 5_000);
        assert_eq!(
            (told.target(), told.total()),
            (None, Acknowledged::default())
        );
        told.set_target(Duration::from_micros(2));
        for (shard, nanos) in [(0, 1_000), (0, 2_000), (0, 2_001), (1, 9_000)] {
            told.record(ShardId(shard), nanos);
        }
        assert_eq!(told.of_shard(ShardId(0)), Acknowledged { all: 3, late: 1 });
        assert_eq!(told.total(), Acknowledged { all: 4, late: 2 });
    }
}

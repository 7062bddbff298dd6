//! Classes of file operations: what each may have in flight, and what each has done.
//!
//! Owns the division of the one device budget. Above, every operation names its class; below,
//! engines know nothing of classes.
//!
//! The budget is the device's, so each shard gets an equal part of it, at least 1.
//! Commits are never held back: they are bounded by `commits_in_flight_max` above.
//!
//! Of its part the background may be left a share, by [`set_background_share`]: see [`pace`].

mod pace;

use std::cell::Cell;

use pace::{Pace, Paced};

use crate::context;
use crate::sync::{Permit, Semaphore};

/// Who a file operation is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum IoClass {
    /// The WAL: what acknowledgements wait for. Unlimited.
    Commit,
    /// Reads near the end of a log, for consumers who keep up.
    TailRead,
    /// Reads of old data.
    ColdRead,
    /// Segments written behind the WAL.
    WriteBehind,
    /// Everything else: checkpoints, recovery, zeroing, deletion.
    Maintenance,
}

impl IoClass {
    /// All classes, in order.
    pub const ALL: [IoClass; 5] = [
        IoClass::Commit,
        IoClass::TailRead,
        IoClass::ColdRead,
        IoClass::WriteBehind,
        IoClass::Maintenance,
    ];

    /// A name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            IoClass::Commit => "commit",
            IoClass::TailRead => "tail_read",
            IoClass::ColdRead => "cold_read",
            IoClass::WriteBehind => "write_behind",
            IoClass::Maintenance => "maintenance",
        }
    }

    /// Operations in flight on the device, over all shards. None: unlimited.
    ///
    /// An NVMe device serves some tens of requests at once before they queue inside it, and
    /// what queues there delays a commit. So all limited classes together stay at 64.
    pub const fn device_in_flight_max(self) -> Option<u64> {
        match self {
            IoClass::Commit => None,
            IoClass::TailRead => Some(32),
            IoClass::ColdRead => Some(16),
            IoClass::WriteBehind => Some(8),
            IoClass::Maintenance => Some(8),
        }
    }

    /// The least share that the class is left, in thousandths, however late acknowledgements are: the
    /// log has to be freed, and consumers who almost keep up are not to fall behind.
    const fn share_min(self) -> u32 {
        match self {
            IoClass::Commit => FULL_SHARE,
            IoClass::TailRead => 250,
            IoClass::ColdRead => 31,
            IoClass::WriteBehind | IoClass::Maintenance => 125,
        }
    }

    /// Whether it frees the log, or does what freeing waits for.
    const fn frees_the_log(self) -> bool {
        match self {
            IoClass::TailRead | IoClass::WriteBehind | IoClass::Maintenance => true,
            IoClass::Commit | IoClass::ColdRead => false,
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

/// What one class has done on one shard since it began. Failed operations count, with no bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ClassStats {
    /// Reads that have ended.
    pub reads: u64,
    /// Writes that have ended.
    pub writes: u64,
    /// Syncs that have ended; a `write_durable` counts as one write and one sync.
    pub syncs: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

/// What each class has done on one shard.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct IoStats {
    classes: [ClassStats; IoClass::ALL.len()],
}

impl IoStats {
    /// The counters of one class.
    pub fn class(&self, class: IoClass) -> ClassStats {
        self.classes[class.index()]
    }

    /// The counters of all classes together.
    pub fn total(&self) -> ClassStats {
        self.classes
            .iter()
            .fold(ClassStats::default(), |sum, class| ClassStats {
                reads: sum.reads + class.reads,
                writes: sum.writes + class.writes,
                syncs: sum.syncs + class.syncs,
                bytes_read: sum.bytes_read + class.bytes_read,
                bytes_written: sum.bytes_written + class.bytes_written,
            })
    }
}

/// All of it, in thousandths.
pub const FULL_SHARE: u32 = 1000;

/// From now on the background of the current shard has `thousandths` of what it may have, each class
/// no less than its least; with `is_freeing` what frees the log has all of it. Panics outside a shard.
pub fn set_background_share(thousandths: u32, is_freeing: bool) {
    context::with(|context| {
        context.io.share.set(thousandths.clamp(1, FULL_SHARE));
        context.io.is_freeing.set(is_freeing);
    });
}

/// What the current shard's file operations have done.
pub fn io_stats() -> IoStats {
    context::with(|context| context.io.stats())
}

/// An operation that may go on; it is over when this is dropped.
pub(crate) struct Admitted<'a> {
    _paced: Option<Paced<'a>>,
    _permit: Option<Permit>,
}

/// A shard's part of the device budget, and its counters.
pub(crate) struct ClassBudget {
    limits: [Option<Semaphore>; IoClass::ALL.len()],
    paces: [Pace; IoClass::ALL.len()],
    /// The background's, in thousandths.
    share: Cell<u32>,
    is_freeing: Cell<bool>,
    stats: std::cell::RefCell<IoStats>,
}

impl ClassBudget {
    pub(crate) fn new(shard_count: u16) -> ClassBudget {
        ClassBudget {
            limits: IoClass::ALL.map(|class| {
                let device = class.device_in_flight_max()?;
                Some(Semaphore::new((device / u64::from(shard_count)).max(1)))
            }),
            paces: Default::default(),
            share: Cell::new(FULL_SHARE),
            is_freeing: Cell::new(false),
            stats: std::cell::RefCell::default(),
        }
    }

    /// Waits until the class may have one more operation in flight.
    pub(crate) async fn admit(&self, class: IoClass) -> Admitted<'_> {
        let permit = match &self.limits[class.index()] {
            None => None,
            Some(limit) => Some(limit.acquire(1).await),
        };
        let pace = &self.paces[class.index()];
        Admitted {
            _paced: pace.begin(|| self.share_of(class)).await,
            _permit: permit,
        }
    }

    fn share_of(&self, class: IoClass) -> u32 {
        if self.is_freeing.get() && class.frees_the_log() {
            return FULL_SHARE;
        }
        self.share.get().max(class.share_min())
    }

    pub(crate) fn count(&self, class: IoClass, change: impl FnOnce(&mut ClassStats)) {
        change(&mut self.stats.borrow_mut().classes[class.index()]);
    }

    fn stats(&self) -> IoStats {
        *self.stats.borrow()
    }
}

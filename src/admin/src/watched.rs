//! How the broker is, as it was last told or seen.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tailwater_shards::{Figures, ShardId};

/// Shared by the listener's thread and those who tell it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) version: &'static str,
    serving: OnceLock<Serving>,
    stops: AtomicBool,
}

/// Of a broker that serves.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) figures: Figures,
    /// For each shard, the share of the last second that it worked, in millionths.
    utilisation: Box<[AtomicU64]>,
}

/// Whether clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Starting,
    Ready,
    Stopping,
}

impl Watched {
    pub(crate) fn new(version: &'static str) -> Self {
        Self {
            version,
            serving: OnceLock::new(),
            stops: AtomicBool::new(false),
        }
    }

    pub(crate) fn serves(&self, figures: Figures) {
        let shards = figures.latencies.shards();
        let utilisation = (0..shards).map(|_| AtomicU64::new(0)).collect();
        // Said twice it stays as it was said first.
        let _first = self.serving.set(Serving {
            figures,
            utilisation,
        });
    }

    pub(crate) fn stops(&self) {
        self.stops.store(true, Ordering::Release);
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match (self.stops.load(Ordering::Acquire), self.serving.get()) {
            (true, _) => Readiness::Stopping,
            (false, None) => Readiness::Starting,
            (false, Some(_)) => Readiness::Ready,
        }
    }

    /// What the shards write down, once they serve.
    pub(crate) fn serving(&self) -> Option<&Serving> {
        self.serving.get()
    }
}

impl Serving {
    pub(crate) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.figures.latencies.shards()).map(ShardId)
    }

    /// Between 0 and 1.
    pub(crate) fn utilisation(&self, shard: ShardId) -> f64 {
        let cell = self.utilisation.get(usize::from(shard.0));
        cell.map_or(0.0, |cell| cell.load(Ordering::Relaxed) as f64 / 1e6)
    }
}

/// Looks from time to time at how much the shards have worked since.
#[derive(Debug, Default)]
pub(crate) struct WorkSampler {
    last: Option<(Instant, Vec<Duration>)>,
}

impl WorkSampler {
    pub(crate) fn look(&mut self, watched: &Watched) {
        let Some(serving) = watched.serving() else {
            return;
        };
        let at = Instant::now();
        let shards = serving.shards();
        let worked: Vec<_> = shards.map(|s| serving.figures.work.of_shard(s)).collect();
        if let Some((before, worked_before)) = &self.last {
            let wall = at.duration_since(*before).as_secs_f64().max(1e-6);
            let cells = serving.utilisation.iter();
            for (cell, (now, then)) in cells.zip(worked.iter().zip(worked_before)) {
                let share = now.saturating_sub(*then).as_secs_f64() / wall;
                cell.store((share.clamp(0.0, 1.0) * 1e6) as u64, Ordering::Relaxed);
            }
        }
        self.last = Some((at, worked));
    }
}

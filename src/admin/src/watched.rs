//! How the broker is, as it was last told or seen.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;

use tailwater_shards::{Figures, ShardId};

use crate::budget::Budget;
use crate::limits::{LOOKS_STILL_MAX, METRICS_AGE_MAX};
use crate::metrics;

/// Shared by the listener's thread and those who tell it.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) version: &'static str,
    serving: OnceLock<Serving>,
    stops: AtomicBool,
    /// The text of metrics that was made last, and when.
    told: Mutex<Option<(Instant, Bytes)>>,
}

/// Of a broker that serves.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) figures: Figures,
    /// For each shard, the share of the last second that it worked, in millionths.
    utilisation: Box<[AtomicU64]>,
    /// For each shard, the looks since it has polled a task.
    looks_still: Box<[AtomicU32]>,
    /// What is left of the error budget, as the bits of a float.
    budget: AtomicU64,
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
            told: Mutex::default(),
        }
    }

    /// The text of metrics: the one that was made last, if that is not long ago. It is the same bytes
    /// for all who ask, so that slow readers of it hold it once.
    pub(crate) fn metrics(&self, now: Instant) -> Bytes {
        // Whoever panicked with it left the last text.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = told.as_ref().filter(|(at, _)| now < *at + METRICS_AGE_MAX);
        if let Some((_, text)) = fresh {
            return text.clone();
        }
        let text = Bytes::from(metrics::text(self));
        *told = Some((now, text.clone()));
        text
    }

    /// What was told before is not true any more.
    fn is_otherwise(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = None;
    }

    /// A shard that has stood still for seconds, if there is one.
    pub(crate) fn still(&self) -> Option<ShardId> {
        let serving = self.serving.get()?;
        let looks = serving.looks_still.iter();
        let mut still = serving
            .shards()
            .zip(looks)
            .filter(|(_, looks)| looks.load(Ordering::Relaxed) >= LOOKS_STILL_MAX);
        still.next().map(|(shard, _)| shard)
    }

    pub(crate) fn serves(&self, figures: Figures) {
        let shards = figures.latencies.shards();
        let utilisation = (0..shards).map(|_| AtomicU64::new(0)).collect();
        // Said twice it stays as it was said first.
        let _first = self.serving.set(Serving {
            figures,
            utilisation,
            looks_still: (0..shards).map(|_| AtomicU32::new(0)).collect(),
            budget: AtomicU64::new(1.0_f64.to_bits()),
        });
        self.is_otherwise();
    }

    pub(crate) fn stops(&self) {
        self.stops.store(true, Ordering::Release);
        self.is_otherwise();
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

    /// At most 1; below 0 when more was spent than there is.
    pub(crate) fn budget_remaining(&self) -> f64 {
        f64::from_bits(self.budget.load(Ordering::Relaxed))
    }
}

/// Looks from time to time at how much the shards have worked since, and what they have kept of a
/// latency target.
#[derive(Debug, Default)]
pub(crate) struct WorkSampler {
    last: Option<(Instant, Vec<Duration>)>,
    began: Option<Instant>,
    beats: Vec<u64>,
    budget: Budget,
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
        let began = *self.began.get_or_insert(at);
        let acknowledged = serving.figures.acknowledgements.total();
        let left = self
            .budget
            .remaining(at.duration_since(began), acknowledged);
        serving.budget.store(left.to_bits(), Ordering::Relaxed);
        let shards = serving.shards();
        let beats: Vec<_> = shards.map(|s| serving.figures.work.beats(s)).collect();
        for ((now, then), looks) in beats.iter().zip(&self.beats).zip(&serving.looks_still) {
            let still = looks.load(Ordering::Relaxed);
            looks.store(looks_still(*now, *then, still), Ordering::Relaxed);
        }
        self.beats = beats;
    }
}

/// The looks since a shard has moved, after one more that saw `now` where the last saw `then`.
fn looks_still(now: u64, then: u64, before: u32) -> u32 {
    match now == then {
        true => before.saturating_add(1),
        false => 0,
    }
}

#[cfg(test)]
mod tests {
    use tailwater_shards::sim::Simulation;

    use super::*;

    fn watched() -> Watched {
        let watched = Watched::new("1");
        let mut simulation = Simulation::new(1);
        let (told, given) = std::sync::mpsc::channel();
        simulation.boot(1, move |_| {
            let told = told.clone();
            async move {
                // Whoever waits for it is there.
                let _sent = told.send(tailwater_shards::figures());
            }
        });
        simulation.run(tailwater_shards::sleep(Duration::from_secs(1)));
        watched.serves(given.recv().expect("it was started"));
        watched
    }

    #[test]
    fn a_text_is_told_again_until_it_is_old_or_not_true_any_more() {
        let watched = watched();
        let now = Instant::now();
        let first = watched.metrics(now);
        let again = watched.metrics(now + METRICS_AGE_MAX / 2);
        assert_eq!(first.as_ptr(), again.as_ptr());
        let later = watched.metrics(now + METRICS_AGE_MAX);
        assert_ne!(first.as_ptr(), later.as_ptr());
        watched.stops();
        let stopping = watched.metrics(now + METRICS_AGE_MAX);
        assert!(stopping.windows(17).any(|it| it == b"tailwater_ready 0"));
    }

    #[test]
    fn a_shard_that_does_not_beat_is_told_after_some_looks() {
        let watched = watched();
        let mut sampler = WorkSampler::default();
        // The first has nothing to compare with.
        (0..LOOKS_STILL_MAX).for_each(|_| sampler.look(&watched));
        assert_eq!(watched.still(), None);
        sampler.look(&watched);
        assert_eq!(watched.still(), Some(ShardId(0)));
        assert_eq!(looks_still(8, 7, 12), 0, "it has moved");
    }
}

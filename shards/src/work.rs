//! For how long each shard has worked.
//!
//! A shard that sleeps when it has nothing to do has worked for as long as its thread has had a
//! processor, which the kernel counts and any thread may ask. One that looks on instead uses its
//! processor always: so it adds up the polls of its tasks, but for those of the task that found
//! nothing when it looked. That costs two readings of the clock a poll, and only there.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::Duration;

use crate::boot::Poll;
use crate::context::{self, ShardId};

/// One shard's, away from other shards' cache lines.
#[repr(align(128))]
#[derive(Default)]
struct Row {
    /// The number of the thread that the shard runs on; 0 when there is none.
    thread: AtomicI32,
    /// What it has added up itself, and what its thread had used at its end.
    nanos: AtomicU64,
    /// Moves while the shard polls tasks.
    beats: AtomicU64,
}

/// The work of all shards of a process. Clones are the same cells.
#[derive(Clone)]
pub struct Work {
    poll: Poll,
    rows: Arc<[Row]>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

impl Work {
    /// None yet.
    pub(crate) fn new(shards: u16, poll: Poll) -> Work {
        Work {
            poll,
            rows: (0..shards).map(|_| Row::default()).collect(),
        }
    }

    fn row(&self, shard: ShardId) -> &Row {
        &self.rows[usize::from(shard.0)]
    }

    /// Whether the shards add up their polls themselves.
    fn is_added_up(&self) -> bool {
        self.poll != Poll::Park
    }

    /// Where a shard adds up its polls, if it does.
    pub(crate) fn adding(&self) -> Option<Work> {
        self.is_added_up().then(|| self.clone())
    }

    /// The shard begins, on this thread.
    pub(crate) fn begin(&self, shard: ShardId) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.row(shard).thread.store(thread, Ordering::Release);
    }

    /// The shard ends, on this thread, whose number may be given to another one.
    pub(crate) fn end(&self, shard: ShardId) {
        let used = self.of_shard(shard);
        let row = self.row(shard);
        row.thread.store(0, Ordering::Release);
        row.nanos.store(nanos(used), Ordering::Release);
    }

    /// For the shard itself only: it polls a task.
    pub(crate) fn beat(&self, shard: ShardId) {
        let cell = &self.row(shard).beats;
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// A number that is another one whenever the shard has polled a task in another tick of the
    /// kernel's: one that stays as it was for seconds is that of a shard that stands still. Every
    /// shard has something to do each second. Simulated shards have none.
    ///
    /// # Panics
    /// If the process has no such shard.
    pub fn beats(&self, shard: ShardId) -> u64 {
        self.row(shard).beats.load(Ordering::Relaxed)
    }

    /// For the shard itself only: a poll has done something, for so long.
    pub(crate) fn add(&self, shard: ShardId, worked: Duration) {
        let cell = &self.row(shard).nanos;
        let before = cell.load(Ordering::Relaxed);
        cell.store(before.wrapping_add(nanos(worked)), Ordering::Relaxed);
    }

    /// For how long the shard has worked since it began.
    ///
    /// # Panics
    /// If the process has no such shard.
    pub fn of_shard(&self, shard: ShardId) -> Duration {
        let row = self.row(shard);
        let thread = row.thread.load(Ordering::Acquire);
        let added = Duration::from_nanos(row.nanos.load(Ordering::Relaxed));
        match (self.is_added_up(), thread) {
            (true, _) | (false, 0) => added,
            // Ended in between, its cell has the time.
            (false, thread) => processor_time_of(thread).unwrap_or(added),
        }
    }
}

/// The current shard polls a task.
pub(crate) fn beat() {
    context::with_current(|context| context.figures.work.beat(context.id));
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The processor time of a thread of this process.
fn processor_time_of(thread: i32) -> Option<Duration> {
    // As the kernel makes the number of a thread's clock (include/linux/posix-timers.h): the
    // complement of its number, a bit for "of a thread", and which of its clocks: what it ran.
    const OF_A_THREAD: libc::clockid_t = 4;
    const RAN: libc::clockid_t = 2;
    let clock = (!thread << 3) | OF_A_THREAD | RAN;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes one `timespec`, which it is given; a clock that is not there is refused.
    let outcome = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    (outcome == 0).then(|| Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: ShardId = ShardId(0);

    #[test]
    fn a_parked_shard_has_worked_as_long_as_its_thread_and_keeps_it_at_its_end() {
        let work = Work::new(1, Poll::Park);
        assert_eq!(work.of_shard(ME), Duration::ZERO);
        let on_thread = work.clone();
        let ended = std::thread::spawn(move || {
            on_thread.begin(ME);
            let began = std::time::Instant::now();
            while on_thread.of_shard(ME) < Duration::from_millis(20) {
                assert!(began.elapsed() < Duration::from_secs(60));
            }
            on_thread.end(ME);
        });
        ended.join().expect("it counts");
        let worked = work.of_shard(ME);
        assert!(worked >= Duration::from_millis(20), "{worked:?}");
        assert_eq!(work.of_shard(ME), worked, "it has ended");
    }

    #[test]
    fn a_spinning_shard_has_worked_as_long_as_it_says() {
        let work = Work::new(2, Poll::Spin);
        work.begin(ME);
        work.add(ME, Duration::from_micros(3));
        work.add(ME, Duration::from_micros(4));
        assert_eq!(work.of_shard(ME), Duration::from_micros(7));
        work.end(ME);
        assert_eq!(work.of_shard(ME), Duration::from_micros(7));
        assert_eq!(work.of_shard(ShardId(1)), Duration::ZERO);
    }
}

//! Clocks, timers and randomness of the current shard.
//!
//! Virtual under `sim`. An [`Instant`] never leaves its process: it is counted from the
//! engine's own beginning.

use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::context;
use crate::engine::{EngineHandle, glommio, host, uring};
use crate::sim::engine as sim;

/// A point on the monotonic clock, in nanoseconds since the engine's beginning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Instant(u64);

impl Instant {
    /// The instant `nanos` after the engine's beginning.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds since the engine's beginning.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago this was; zero for one in the future.
    pub fn elapsed(self) -> Duration {
        now() - self
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Zero when `earlier` is the later one.
    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Stays at the end of time (584 years) rather than overflow.
    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

/// The monotonic clock.
pub fn now() -> Instant {
    Instant(context::with(|context| match &context.engine {
        EngineHandle::Glommio(_) | EngineHandle::Uring(_) => host::now_nanos(),
        EngineHandle::Sim(shard) => shard.now_nanos(),
    }))
}

/// For how long the current shard's thread has had a processor: what others took of it in between
/// is not in it. Asking costs ten times what [`now`] does, as the kernel has to be entered.
pub fn processor_time() -> Duration {
    Duration::from_nanos(context::with(|context| match &context.engine {
        EngineHandle::Glommio(_) | EngineHandle::Uring(_) => host::processor_nanos(),
        EngineHandle::Sim(shard) => shard.processor_nanos(),
    }))
}

/// Milliseconds since 1970: the clock of record timestamps. It may jump either way.
pub fn wall_clock_ms() -> i64 {
    context::with(|context| match &context.engine {
        EngineHandle::Glommio(_) | EngineHandle::Uring(_) => host::wall_clock_ms(),
        EngineHandle::Sim(shard) => shard.wall_clock_ms(),
    })
}

/// 64 random bits: the kernel's under a real engine, the seed's under `sim`.
pub fn random_u64() -> u64 {
    context::with(|context| match &context.engine {
        EngineHandle::Glommio(_) | EngineHandle::Uring(_) => host::random_u64(),
        EngineHandle::Sim(shard) => shard.random_u64(),
    })
}

/// A random (version 4) UUID's bytes, RFC 9562.
pub fn random_uuid() -> [u8; 16] {
    let bits = u128::from(random_u64()) << 64 | u128::from(random_u64());
    let version = (bits & !(0xf << 76)) | 0x4 << 76;
    let variant = (version & !(0b11 << 62)) | 0b10 << 62;
    variant.to_be_bytes()
}

/// Returns after `duration`.
pub async fn sleep(duration: Duration) {
    sleep_until(now() + duration).await;
}

/// Returns at `at`, or at once when that has passed.
pub async fn sleep_until(at: Instant) {
    Sleep::until(at).await;
}

/// A `timeout` ran out before its future was done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the time ran out")]
pub struct Elapsed;

/// Awaits `future` for at most `duration`, then drops it. A future that is ready in the same
/// poll as the timer wins.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut sleep = None;
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        // The timer is set only when the future did not come at once.
        let sleep = sleep.get_or_insert_with(|| Sleep::until(now() + duration));
        Pin::new(sleep).poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

enum Sleep {
    Glommio(glommio::Sleep),
    Uring(uring::Sleep),
    Sim(sim::Sleep),
}

impl Sleep {
    fn until(at: Instant) -> Sleep {
        context::with(|context| match &context.engine {
            EngineHandle::Glommio(shard) => Sleep::Glommio(shard.sleep_until(at.0)),
            EngineHandle::Uring(shard) => Sleep::Uring(shard.sleep_until(at.0)),
            EngineHandle::Sim(shard) => Sleep::Sim(shard.sleep_until(at.0)),
        })
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.get_mut() {
            Sleep::Glommio(sleep) => Pin::new(sleep).poll(cx),
            Sleep::Uring(sleep) => Pin::new(sleep).poll(cx),
            Sleep::Sim(sleep) => Pin::new(sleep).poll(cx),
        }
    }
}

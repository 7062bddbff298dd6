//! The one clock: CLOCK_MONOTONIC in nanoseconds, the same for all threads and processes of a machine,
//! so that a stamp made by a producer means something to whoever reads it later.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds since some moment before this machine ran anything.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("it counts from the boot");
    seconds * SECOND_NS + u64::try_from(now.tv_nsec).expect("it is a part of a second")
}

/// Milliseconds since 1970, for the timestamps that brokers keep records by.
pub(crate) fn unix_ms() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

//! What every engine on this machine takes from it alike: clocks, randomness, and its end.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The exit code of a process ended by `fatal` (EX_IOERR).
const FATAL_EXIT_CODE: i32 = 74;

/// What all instants count from. One for the process, so that shards may compare theirs.
fn clock_base() -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

/// Sets the clock's beginning, at the latest now.
pub(crate) fn begin() {
    clock_base();
}

pub(crate) fn now_nanos() -> u64 {
    let nanos = clock_base().elapsed().as_nanos();
    u64::try_from(nanos).expect("the process is younger than 584 years")
}

/// For how long the kernel says that this thread has had a processor.
pub(crate) fn processor_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

pub(crate) fn wall_clock_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock set before 1970 reads as 1970.
    since_epoch.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

pub(crate) fn random_u64() -> u64 {
    let mut bytes = [0; 8];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    // Up to 256 bytes come whole once the kernel has its entropy, which this waits for.
    assert_eq!(got, Ok(bytes.len()), "the kernel gives random bytes");
    u64::from_ne_bytes(bytes)
}

pub(crate) fn fatal(reason: &str) -> ! {
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(reason, "fatal: the process ends");
    } else {
        // Nobody listens to the log, and this must not go unsaid.
        let line = format!("fatal: the process ends: {reason}\n");
        drop(std::io::Write::write_all(
            &mut std::io::stderr(),
            line.as_bytes(),
        ));
    }
    std::process::exit(FATAL_EXIT_CODE)
}

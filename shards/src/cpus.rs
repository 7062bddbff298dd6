//! Which processors this process may use, and how many shards that is worth.

use std::io;

/// The processors this process may run on, ascending: its affinity within its cgroup's cpuset
/// (the kernel already keeps one inside the other).
pub fn usable_cpus() -> io::Result<Vec<usize>> {
    let affinity = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&cpu| affinity.is_set(cpu))
        .collect())
}

/// How many shards to start when nobody says: one for each usable processor, but no more than
/// the whole processors that the cgroup's CPU quota pays for; at least one.
pub fn default_shards() -> io::Result<u16> {
    let usable = usable_cpus()?.len();
    Ok(u16::try_from(usable.max(1)).unwrap_or(u16::MAX))
}

//! What this machine, or the control group this process is in, offers.

use tailwater_shards as shards;

const MEMORY_BYTES_MAX: u64 = 4 << 30;
const MEMORY_BYTES_UNKNOWN: u64 = 1 << 30;

/// The cores this process may run on; core 0 if the system does not say.
pub(crate) fn usable_cpus() -> Vec<usize> {
    shards::usable_cpus()
        .ok()
        .filter(|cpus| !cpus.is_empty())
        .unwrap_or_else(|| vec![0])
}

/// One shard a core, within the control group's quota. Shards that spin leave a core to the
/// kernel, whose interrupts and workers they would otherwise starve.
pub(crate) fn shards_default(spinning: bool) -> u16 {
    let shards = shards::default_shards().unwrap_or(1);
    if spinning {
        (shards - 1).max(1)
    } else {
        shards
    }
}

/// Half of the memory there is, at most 4 GiB.
pub(crate) fn memory_bytes_default() -> u64 {
    let least = [machine_memory_bytes(), group_memory_bytes()]
        .into_iter()
        .flatten()
        .min();
    least.map_or(MEMORY_BYTES_UNKNOWN, |bytes| {
        (bytes / 2).min(MEMORY_BYTES_MAX)
    })
}

/// Files that a broker keeps for itself of what it may open: rings and the data directory's root.
const FILES_OF_BROKER: u64 = 64;

/// The same for each shard: the read cache has 128 at most, and some are being written.
const FILES_OF_SHARD: u64 = 192;

/// A WAL's files are of this size or, if those are more than seven, larger.
const WAL_FILE_BYTES: u64 = 64 << 20;

/// How many connections the limit of open files leaves room for, once it is raised as far as this
/// process may; and that limit. Connections must not take the files that logs are written to.
pub(crate) fn connections_max(shards: usize, wal_bytes: u64) -> (usize, u64) {
    let limit = shards::raise_open_files().unwrap_or(u64::MAX);
    (connections_within(limit, shards, wal_bytes), limit)
}

/// The same of a given limit of open files.
pub(crate) fn connections_within(limit: u64, shards: usize, wal_bytes: u64) -> usize {
    let of_shard = FILES_OF_SHARD + wal_bytes.div_ceil(WAL_FILE_BYTES);
    let kept = FILES_OF_BROKER.saturating_add(of_shard.saturating_mul(shards as u64));
    usize::try_from(limit.saturating_sub(kept)).unwrap_or(usize::MAX)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn machine_memory_bytes() -> Option<u64> {
    let info = read("/proc/meminfo")?;
    let line = info.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

/// The limit of control group version 2, or of version 1; `None` where there is no limit.
fn group_memory_bytes() -> Option<u64> {
    let limit = read("/sys/fs/cgroup/memory.max")
        .or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))?;
    limit.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_files_that_shards_need() {
        assert_eq!(connections_within(1024, 2, 256 << 20), 1024 - 64 - 2 * 196);
        assert_eq!(connections_within(400, 2, 256 << 20), 0);
        // Absurd, and no panic.
        assert!(connections_within(u64::MAX, 256, u64::MAX) > 0);
        assert!(connections_within(1 << 20, 64, 1 << 30) > 1_000_000);
    }
}

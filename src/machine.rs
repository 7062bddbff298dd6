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

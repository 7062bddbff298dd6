//! Memory: what there is for the budget, and who may take it away or move it.

use std::path::Path;

use super::disk::mount_of;
use super::finding::Finding;
use super::system::{System, chosen, size};
use super::{Asked, Probes};

const MEMORY: &str = "memory";
const SWAP: &str = "swap";
const PAGES: &str = "huge pages";
const TMPFS: &str = "tmpfs";

/// Where a tmpfs mostly is.
pub(crate) const SHM: &str = "/dev/shm";

/// With less it is not worth much.
const SHM_BYTES_FEW: u64 = 64 << 20;

pub(crate) fn examine(system: &System, asked: &Asked, probes: &Probes) -> Vec<Finding> {
    vec![
        memory(system, asked),
        swap(system),
        huge_pages(system),
        tmpfs(system, probes),
    ]
}

fn memory(system: &System, asked: &Asked) -> Finding {
    let available = system.field("/proc/meminfo", "MemAvailable");
    let available = available.and_then(|text| text.strip_suffix(" kB")?.parse::<u64>().ok());
    let Some(available) = available.map(|kib| kib << 10) else {
        return Finding::not_readable(MEMORY, "MemAvailable of /proc/meminfo");
    };
    let seen = format!(
        "--memory {}, available {}",
        size(asked.memory_bytes),
        size(available)
    );
    if asked.memory_bytes <= available {
        return Finding::ok(MEMORY, seen);
    }
    let change = format!("--memory {}MiB", (available / 2) >> 20);
    let why = "the budget is taken as it is needed, and a process without memory is killed";
    Finding::problem(MEMORY, seen, change, why)
}

fn swap(system: &System) -> Finding {
    let Some(text) = system.read("/proc/swaps") else {
        return Finding::not_readable(SWAP, "/proc/swaps");
    };
    let areas: Vec<&str> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    if areas.is_empty() {
        return Finding::ok(SWAP, "none");
    }
    Finding::advice(
        SWAP,
        areas.join(", "),
        "swapoff -a, or MemorySwapMax=0 of systemd",
        "a shard that meets a page which was swapped out stands still, with all its connections, until it is read",
    )
}

fn huge_pages(system: &System) -> Finding {
    const PATH: &str = "/sys/kernel/mm/transparent_hugepage/enabled";
    let text = system.read(PATH);
    let Some(mode) = text.as_deref().and_then(chosen) else {
        return Finding::not_readable(PAGES, PATH);
    };
    if mode != "always" {
        return Finding::ok(PAGES, mode);
    }
    Finding::advice(
        PAGES,
        mode,
        format!("echo madvise > {PATH}"),
        "the kernel then clears two MiB where four KiB were touched, in the middle of a request, and the resident memory grows",
    )
}

fn tmpfs(system: &System, probes: &Probes) -> Finding {
    if system.read("/proc/self/mountinfo").is_none() {
        return Finding::not_readable(TMPFS, "/proc/self/mountinfo");
    }
    let mount = mount_of(system, Path::new(SHM)).filter(|mount| mount.at == Path::new(SHM));
    let is_tmpfs = mount.is_some_and(|mount| mount.kind == "tmpfs");
    let why = "what is kept there outlives the process, which makes acknowledgements from memory possible";
    match probes.shm.filter(|_| is_tmpfs) {
        Some(space) if space.free_bytes >= SHM_BYTES_FEW => Finding::ok(
            TMPFS,
            format!(
                "{SHM}, {} of {} free",
                size(space.free_bytes),
                size(space.total_bytes)
            ),
        ),
        Some(space) => Finding::advice(
            TMPFS,
            format!(
                "{SHM}, only {} of {} free",
                size(space.free_bytes),
                size(space.total_bytes)
            ),
            format!("mount -o remount,size=1G {SHM} (--shm-size=1g of a container)"),
            why,
        ),
        None => Finding::advice(
            TMPFS,
            format!("none at {SHM}"),
            format!("mount -t tmpfs -o size=1G tmpfs {SHM}"),
            why,
        ),
    }
}

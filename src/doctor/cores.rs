//! The cores of the shards: whether they are the process's, each shard's own, and at full speed; and
//! who interrupts them.

use std::collections::BTreeSet;

use tailwater_server::Poll;

use super::finding::Finding;
use super::system::{System, cores, list};
use super::{Asked, disk};

const CORES: &str = "cores";
const SIBLINGS: &str = "hyperthreads";
const GOVERNOR: &str = "CPU governor";
const DISK_INTERRUPTS: &str = "disk interrupts";
const NETWORK_INTERRUPTS: &str = "network interrupts";

pub(crate) fn examine(system: &System, asked: &Asked) -> Vec<Finding> {
    vec![
        own_cores(system, asked),
        siblings(system, asked),
        governor(system, asked),
        disk_interrupts(system, asked),
        network_interrupts(system, asked),
    ]
}

fn own_cores(system: &System, asked: &Asked) -> Finding {
    let allowed = system.field("/proc/self/status", "Cpus_allowed_list");
    let Some(allowed) = allowed.and_then(|text| cores(&text)) else {
        return Finding::not_readable(CORES, "Cpus_allowed_list of /proc/self/status");
    };
    let (shards, own) = (asked.cpus.len(), asked.cores());
    let seen = format!(
        "{shards} shards on cores {}; this process may use {}",
        list(&own),
        list(&allowed)
    );
    let is_spinning = asked.poll != Poll::Park;
    let takes_all = is_spinning && own.len() == allowed.len();
    if let Some(cpu) = own.iter().find(|cpu| !allowed.contains(cpu)) {
        let change = format!("--cpus without {cpu}, or a cpuset and affinity with it");
        let why = "a shard is a thread that is pinned to its core";
        Finding::problem(CORES, seen, change, why)
    } else if shards > own.len() {
        let change = format!("--shards {}", own.len());
        let why = "shards that share a core take turns on it, milliseconds at a time";
        Finding::advice(CORES, seen, change, why)
    } else if takes_all && own.len() > 1 {
        let change = format!("--shards {}", own.len() - 1);
        let why = "shards that look on leave no core to the kernel's own threads, which interrupts and syncs need";
        Finding::advice(CORES, seen, change, why)
    } else {
        Finding::ok(CORES, seen)
    }
}

fn siblings(system: &System, asked: &Asked) -> Finding {
    let own = asked.cores();
    let mut shared = BTreeSet::new();
    for cpu in &own {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        let Some(siblings) = system.read(&path).and_then(|text| cores(&text)) else {
            return Finding::not_readable(SIBLINGS, path);
        };
        let others = siblings.iter().filter(|other| *other != cpu);
        if others.clone().any(|other| own.contains(other)) {
            shared.insert(*cpu);
        }
    }
    if shared.is_empty() {
        return Finding::ok(SIBLINGS, "no two shards on one physical core");
    }
    Finding::advice(
        SIBLINGS,
        format!(
            "shards on both threads of one physical core: {}",
            list(&shared)
        ),
        "--cpus with one thread of each physical core",
        "two threads of a core share its caches and units, so that each shard's time depends on the other's",
    )
}

fn governor(system: &System, asked: &Asked) -> Finding {
    let path = |cpu: &usize| format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor");
    let (mut slow, mut name) = (Vec::new(), String::new());
    for cpu in &asked.cores() {
        let Some(governor) = system.read(&path(cpu)) else {
            let seen = format!("{} (a virtual machine mostly has none)", path(cpu));
            return Finding::not_readable(GOVERNOR, seen);
        };
        if governor != "performance" {
            slow.push(*cpu);
            name = governor;
        }
    }
    if slow.is_empty() {
        return Finding::ok(GOVERNOR, "performance");
    }
    Finding::advice(
        GOVERNOR,
        format!("{name} on cores {}", list(&slow)),
        format!("cpupower -c {} frequency-set -g performance", list(&slow)),
        "a core that has slowed down while it slept answers the first requests slowly",
    )
}

fn disk_interrupts(system: &System, asked: &Asked) -> Finding {
    let device = disk::mount(system, asked).and_then(|mount| disk::device(system, &mount));
    let Some(device) = device else {
        return Finding::not_readable(DISK_INTERRUPTS, "the data directory's block device");
    };
    let numbers = system.interrupts_of(&device.dir);
    let taking = system.cores_of(&numbers).filter(|cores| !cores.is_empty());
    let Some(taking) = taking else {
        let seen = format!("those of {}, in /sys and /proc/interrupts", device.name);
        return Finding::not_readable(DISK_INTERRUPTS, seen);
    };
    let own = asked.cores();
    let seen = format!(
        "{} on cores {}; shards on {}",
        device.name,
        list(&taking),
        list(&own)
    );
    let met: Vec<usize> = own
        .iter()
        .copied()
        .filter(|cpu| taking.contains(cpu))
        .collect();
    match (asked.poll, met.is_empty()) {
        (Poll::Spin, false) => Finding::advice(
            DISK_INTERRUPTS,
            seen,
            format!(
                "--cpus without {}, or another core in /proc/irq/N/smp_affinity_list of {numbers:?}",
                list(&met)
            ),
            "a shard that spins on the core of the disk's interrupts waits for them at its own expense",
        ),
        (Poll::Park | Poll::Adaptive { .. }, true) => Finding::advice(
            DISK_INTERRUPTS,
            seen,
            format!(
                "try --cpus {} for the shard with the most writes",
                list(&taking)
            ),
            "on the core that takes the disk's interrupts a durable write needs no wake from another core",
        ),
        _ => Finding::ok(DISK_INTERRUPTS, seen),
    }
}

fn network_interrupts(system: &System, asked: &Asked) -> Finding {
    let mut taking = BTreeSet::new();
    let mut seen = Vec::new();
    for name in system.list("/sys/class/net") {
        let dir = system.path(&format!("/sys/class/net/{name}/device"));
        let numbers = system.interrupts_of(&dir);
        if let Some(cores) = system.cores_of(&numbers).filter(|cores| !cores.is_empty()) {
            seen.push(format!("{name} on cores {}", list(&cores)));
            taking.extend(cores);
        }
    }
    if seen.is_empty() {
        let what = "no network device with interrupts of its own in /sys/class/net";
        return Finding::not_readable(NETWORK_INTERRUPTS, what);
    }
    let own = asked.cores();
    let seen = format!("{}; shards on {}", seen.join("; "), list(&own));
    let allowed = system.field("/proc/self/status", "Cpus_allowed_list");
    let allowed = allowed.and_then(|text| cores(&text)).unwrap_or_default();
    let free: Vec<usize> = allowed
        .iter()
        .copied()
        .filter(|cpu| !own.contains(cpu))
        .collect();
    let is_met = own.iter().any(|cpu| taking.contains(cpu));
    if is_met && !free.is_empty() {
        return Finding::advice(
            NETWORK_INTERRUPTS,
            seen,
            format!(
                "echo {} > /proc/irq/N/smp_affinity_list (stop irqbalance first)",
                list(&free)
            ),
            "a shard's core that takes the network's interrupts does their work, for other shards too",
        );
    }
    Finding::ok(NETWORK_INTERRUPTS, seen)
}

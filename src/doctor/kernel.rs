//! The kernel, its rings, its clock, and the limits that it has for this process.

use tailwater_server::Engine;
use tailwater_shards as shards;

use super::finding::Finding;
use super::system::{System, size};
use super::{Asked, Probes};
use crate::machine;

const KERNEL: &str = "kernel";
const IO_URING: &str = "io_uring";
const CLOCK: &str = "clock source";
const LOCKED: &str = "locked memory";
const FILES: &str = "open files";

const CAP_SYS_RESOURCE: u32 = 24;

/// Below this room for connections it is worth a word.
const FEW_CONNECTIONS: usize = 10_000;

pub(crate) fn examine(system: &System, asked: &Asked, probes: &Probes) -> Vec<Finding> {
    vec![
        kernel(system, asked.engine),
        io_uring(system, asked.engine, probes),
        clock(system),
        locked(system, asked),
        files(system, asked),
    ]
}

fn kernel(system: &System, engine: Engine) -> Finding {
    let Some(release) = system.read("/proc/sys/kernel/osrelease") else {
        return Finding::not_readable(KERNEL, "/proc/sys/kernel/osrelease");
    };
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let Some(version) = numbers.next().zip(numbers.next()) else {
        return Finding::not_readable(KERNEL, format!("`{release}` is no release"));
    };
    let (least, better) = match engine {
        Engine::Glommio => ((5, 8), (5, 15)),
        Engine::Uring => ((5, 19), (6, 1)),
    };
    let newer = |(major, minor)| format!("boot Linux {major}.{minor} or newer");
    if version < least {
        let why = "the engine is built on what older kernels do not have";
        Finding::problem(KERNEL, release, newer(least), why)
    } else if version < better {
        let why = "newer kernels do the same with fewer interruptions of the shards";
        Finding::advice(KERNEL, release, newer(better), why)
    } else {
        Finding::ok(KERNEL, release)
    }
}

fn io_uring(system: &System, engine: Engine, probes: &Probes) -> Finding {
    let name = match engine {
        Engine::Glommio => "glommio",
        Engine::Uring => "uring",
    };
    let disabled = system.read("/proc/sys/kernel/io_uring_disabled");
    let disabled = disabled.filter(|value| value != "0");
    let why = "all files and sockets of the broker go through io_uring";
    match (&probes.engine, disabled) {
        (Ok(()), None) => Finding::ok(IO_URING, format!("allowed, with all that {name} needs")),
        (Ok(()), Some(value)) => Finding::ok(
            IO_URING,
            format!(
                "allowed here, with all that {name} needs (kernel.io_uring_disabled is {value})"
            ),
        ),
        (Err(said), Some(value)) => Finding::problem(
            IO_URING,
            format!("{said} (kernel.io_uring_disabled is {value})"),
            "sysctl -w kernel.io_uring_disabled=0",
            why,
        ),
        (Err(said), None) => Finding::problem(
            IO_URING,
            said.clone(),
            "where a container's seccomp profile forbids it, allow io_uring_setup, io_uring_enter and \
             io_uring_register; else boot a newer kernel, or start with another --engine",
            why,
        ),
    }
}

fn clock(system: &System) -> Finding {
    const DIR: &str = "/sys/devices/system/clocksource/clocksource0";
    // Those that a process reads without entering the kernel.
    const FAST: [&str; 4] = [
        "tsc",
        "kvm-clock",
        "hyperv_clocksource_tsc_page",
        "arch_sys_counter",
    ];
    let current = format!("{DIR}/current_clocksource");
    let Some(source) = system.read(&current) else {
        return Finding::not_readable(CLOCK, current);
    };
    if FAST.contains(&source.as_str()) {
        return Finding::ok(CLOCK, source);
    }
    let available = system.read(&format!("{DIR}/available_clocksource"));
    let available = available.unwrap_or_default();
    let fast = FAST.iter().find(|name| {
        let mut words = available.split_whitespace();
        words.any(|word| word == **name)
    });
    let change = fast.map_or_else(
        || "boot with clocksource=tsc tsc=reliable if the processor's counter is stable".to_owned(),
        |name| format!("echo {name} > {current}"),
    );
    let why =
        "each request reads the clock several times, and this one costs a system call or worse";
    Finding::advice(CLOCK, source, change, why)
}

fn locked(system: &System, asked: &Asked) -> Finding {
    let Some((soft, hard)) = system.limit("Max locked memory") else {
        return Finding::not_readable(LOCKED, "/proc/self/limits");
    };
    let shards = asked.cpus.len();
    let needed = shards::locked_bytes_needed(shards);
    let seen = format!(
        "{} (at most {}), {} needed for {shards} shards",
        size(soft),
        size(hard),
        size(needed)
    );
    let raises = system.has_capability(CAP_SYS_RESOURCE);
    if soft.max(hard) >= needed {
        return Finding::ok(LOCKED, seen);
    }
    if raises == Some(true) {
        return Finding::ok(LOCKED, format!("{seen}; this process may raise it"));
    }
    let change = format!(
        "ulimit -l {} (LimitMEMLOCK= of systemd, --ulimit memlock= of a container)",
        needed >> 10
    );
    let why = "the rings and what is registered with them are locked";
    Finding::problem(LOCKED, seen, change, why)
}

fn files(system: &System, asked: &Asked) -> Finding {
    let Some((_, hard)) = system.limit("Max open files") else {
        return Finding::not_readable(FILES, "/proc/self/limits");
    };
    let room = machine::connections_within(hard, asked.cpus.len(), asked.wal_bytes);
    let seen = format!("at most {hard}, which leaves room for {room} connections");
    let change = |files: u64| {
        format!("ulimit -Hn {files} (LimitNOFILE= of systemd, --ulimit nofile= of a container)")
    };
    let why = "each connection is an open file, and those that logs need are kept free of them";
    // As many more files as there are connections missing.
    let missing = |wanted: usize| hard.saturating_add((wanted - room) as u64);
    match asked.connections_max {
        Some(wanted) if wanted > room => {
            let seen = format!("{seen}, and max.connections is {wanted}");
            Finding::problem(FILES, seen, change(missing(wanted)), why)
        }
        None if room == 0 => Finding::problem(FILES, seen, change(missing(FEW_CONNECTIONS)), why),
        None if room < FEW_CONNECTIONS => {
            Finding::advice(FILES, seen, change(missing(FEW_CONNECTIONS)), why)
        }
        _ => Finding::ok(FILES, seen),
    }
}

//! The machine that is measured on: cores, kernel, disk, and what else it is doing.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::thread::{CpuSet, sched_setaffinity};

/// Pins the calling thread.
pub fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("a core that this process may use");
}

/// Runs a client on a thread of its own, pinned: what is started from the main thread must not
/// inherit the pin.
pub fn on_cpu<T: Send>(cpu: usize, client: impl FnOnce() -> T + Send) -> T {
    let pinned = || {
        pin(cpu);
        client()
    };
    std::thread::scope(|scope| scope.spawn(pinned).join().expect("the client ends"))
}

/// Says where a figure comes from.
pub fn describe(dir: &Path) {
    let command: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    println!(
        "command  cargo bench --bench broker -- {}",
        command.join(" ")
    );
    println!("broker   {} (release)", env!("CARGO_PKG_VERSION"));
    println!(
        "machine  {} cores ({}), {} GiB, kernel {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal")
            .trim_end_matches(" kB")
            .parse::<u64>()
            .unwrap_or(0)
            >> 20,
        said("uname", &["-r"]),
    );
    let path = dir.to_string_lossy();
    let device = said("findmnt", &["-no", "SOURCE,FSTYPE,OPTIONS", "-T", &path]);
    println!("disk     {device}; write cache: {}", write_cache(&device));
    println!(
        "irqs     of the disk are taken by core(s) {:?}",
        disk_interrupts()
    );
    println!("load     {} when this began", load());
}

/// The machine's load averages.
pub fn load() -> String {
    said("cut", &["-d ", "-f1-3", "/proc/loadavg"])
}

/// The block device's name in /sys/block.
pub fn block_device(dir: &Path) -> Option<String> {
    let source = said("findmnt", &["-no", "SOURCE", "-T", &dir.to_string_lossy()]);
    let name = source.rsplit('/').next()?.to_owned();
    Path::new("/sys/block").join(&name).exists().then_some(name)
}

/// Flushes that the block device has carried out, for everybody.
pub fn device_flushes(device: &str) -> Option<u64> {
    let stat = fs::read_to_string(format!("/sys/block/{device}/stat")).ok()?;
    stat.split_whitespace().nth(15)?.parse().ok()
}

fn write_cache(device: &str) -> String {
    let name = device
        .split_whitespace()
        .next()
        .and_then(|path| path.rsplit('/').next());
    let path = format!("/sys/block/{}/queue/write_cache", name.unwrap_or(""));
    fs::read_to_string(path).map_or("unknown".to_owned(), |text| text.trim().to_owned())
}

/// The cores that have taken most of each disk queue's interrupts.
pub fn disk_interrupts() -> Vec<usize> {
    let text = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    let queues = text
        .lines()
        .filter(|line| line.contains("-req.") || line.contains("nvme"));
    let mut cores: Vec<usize> = queues
        .filter_map(|line| {
            let counts = line
                .split_whitespace()
                .skip(1)
                .map_while(|word| word.parse::<u64>().ok());
            counts
                .enumerate()
                .max_by_key(|(_, count)| *count)
                .filter(|(_, count)| *count > 0)
        })
        .map(|(core, _)| core)
        .collect();
    cores.sort_unstable();
    cores.dedup();
    cores
}

fn field(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_default();
    line.split_once(':')
        .map_or("unknown", |(_, value)| value)
        .trim()
        .to_owned()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or("unknown".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

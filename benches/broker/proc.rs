//! What the kernel says of a process.

use std::fs;
use std::time::Duration;

/// Processor time so far, of threads that have ended too.
pub fn cpu(pid: i32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let behind_name = stat.rsplit_once(") ").expect("a name in brackets").1;
    let ticks: u64 = behind_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|word| word.parse::<u64>().expect("ticks"))
        .sum();
    // The one has the threads that have ended, the other is exact.
    let exact = tasks_ns(pid).unwrap_or(0);
    Duration::from_nanos(exact.max(ticks * 1_000_000_000 / 100))
}

/// The same to the nanosecond, of the threads that live.
fn tasks_ns(pid: i32) -> Option<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(sum)
}

/// Switches of all its threads, voluntary and not.
pub fn switches(pid: i32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    let of = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path.join("status")).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("ctxt_switches"));
        lines
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum::<u64>()
    };
    tasks.filter_map(|task| Some(of(task.ok()?.path()))).sum()
}

/// A line of /proc/PID/status in KiB: `VmRSS`, `RssAnon`, `VmLck`, `VmPin`.
pub fn status_kib(pid: i32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// Its open files.
pub fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// What a process has had read from disks.
pub fn read_bytes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("read_bytes:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

//! The machine that is measured on: cores, kernel, disk, and what else it is doing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use crate::clock::SECOND_NS;

/// Pins the calling thread.
pub(crate) fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)
        .with_context(|| format!("core {cpu} is not one that this process may use"))
}

/// The cores that this process may use, in order.
pub(crate) fn usable_cpus() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None).context("the affinity of this process")?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}

/// Runs something on a thread of its own, pinned: what is started from this one does not inherit it.
pub(crate) fn on_cpu<T: Send>(
    cpu: usize,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let pinned = || {
        pin(cpu)?;
        work()
    };
    let ended = std::thread::scope(|scope| scope.spawn(pinned).join());
    ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a pinned thread panicked")))
}

/// Where figures come from. Written beside each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory: String,
    pub(crate) kernel: String,
    pub(crate) device: String,
    pub(crate) write_cache: String,
    /// The cores that take the disks' interrupts.
    pub(crate) disk_interrupt_cores: Vec<usize>,
    pub(crate) load: String,
    /// Of the working directory; `unknown` outside a checkout.
    pub(crate) commit: String,
}

impl Machine {
    /// This one, with the disk that `dir` is on.
    pub(crate) fn describe(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.to_string_lossy();
        let device = said("findmnt", &["-no", "SOURCE,FSTYPE,OPTIONS", "-T", &path]);
        Ok(Self {
            cores: usable_cpus()?.len(),
            processor: field("/proc/cpuinfo", "model name"),
            memory: field("/proc/meminfo", "MemTotal"),
            kernel: said("uname", &["-r"]),
            write_cache: write_cache(&device),
            device,
            disk_interrupt_cores: disk_interrupt_cores(),
            load: load(),
            commit: said("git", &["describe", "--always", "--dirty"]),
        })
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} cores ({}), {}, kernel {}, disk {} (write cache: {}; interrupts on cores {:?}), load {}, commit {}",
            self.cores,
            self.processor,
            self.memory,
            self.kernel,
            self.device,
            self.write_cache,
            self.disk_interrupt_cores,
            self.load,
            self.commit
        )
    }
}

/// The machine's load averages.
pub(crate) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
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
pub(crate) fn disk_interrupt_cores() -> Vec<usize> {
    let text = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    let queues = text
        .lines()
        .filter(|line| line.contains("-req.") || line.contains("nvme"));
    let busiest = |line: &str| {
        let counts = line
            .split_whitespace()
            .skip(1)
            .map_while(|word| word.parse::<u64>().ok());
        let most = counts.enumerate().max_by_key(|(_, count)| *count);
        most.filter(|(_, count)| *count > 0).map(|(core, _)| core)
    };
    let mut cores: Vec<usize> = queues.filter_map(busiest).collect();
    cores.sort_unstable();
    cores.dedup();
    cores
}

/// A tick of the processor times in /proc, for all architectures that this runs on (USER_HZ).
const TICK_NS: u64 = SECOND_NS / 100;

/// Processor time of a process so far, in nanoseconds, to a tick of 10 ms: of all its threads, those
/// that have ended among them.
pub(crate) fn cpu_ns(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    cpu_ticks(&text).unwrap_or(0) * TICK_NS
}

/// User and system time of a line of /proc/PID/stat.
fn cpu_ticks(line: &str) -> Option<u64> {
    // The name in parentheses may have spaces and parentheses itself. Behind it the state is the
    // third field; user and system time are the 14th and 15th.
    let (_, behind) = line.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// Bytes that a process has had read from disks so far, in all its threads; 0 if that is not known.
pub(crate) fn disk_read_bytes(pid: u32) -> u64 {
    let path = format!("/proc/{pid}/io");
    field(&path, "read_bytes").parse().unwrap_or(0)
}

/// Resident memory of a process now, in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    status_kib(pid, "VmRSS")
}

/// What of it is pinned: registered with rings.
pub(crate) fn pinned_kib(pid: u32) -> u64 {
    status_kib(pid, "VmPin")
}

fn status_kib(pid: u32, name: &str) -> u64 {
    let path = format!("/proc/{pid}/status");
    let kib = field(&path, name);
    kib.trim_end_matches(" kB").parse().unwrap_or(0)
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
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success());
    output.map_or("unknown".to_owned(), |output| {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_whatever_name_a_process_has() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 9 9 20 0 4 0 100";
        assert_eq!(cpu_ticks(line), Some(300));
        assert_eq!(cpu_ticks("7 (cut off"), None);
    }

    #[test]
    fn threads_that_have_ended_keep_their_time() {
        let me = std::process::id();
        let before = cpu_ns(me);
        let work = || {
            let began = crate::clock::now_ns();
            let mut ran = 0_u64;
            // Of its own time, however busy the machine is.
            while ran < SECOND_NS / 10 {
                let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                ran = u64::try_from(used.tv_nsec).unwrap_or(0);
                assert!(crate::clock::now_ns() - began < 120 * SECOND_NS);
            }
        };
        std::thread::spawn(work).join().unwrap();
        assert!(cpu_ns(me) - before >= SECOND_NS / 20);
    }
}

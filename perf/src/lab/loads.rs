//! Loads on a broker: topics are made, filled where a row wants that, and deleted again.

use std::net::SocketAddr;

use anyhow::ensure;

use super::{Lab, Measured};
use crate::clock::SECOND_NS;
use crate::control::{Control, NewTopic};
use crate::frames::Shape;
use crate::load::{self, Load, Pace};
use crate::machine;
use crate::poller::Wait;
use crate::reader::{ReaderPlan, Reads};
use crate::suite::{Beside, Workload};
use crate::tally::Outcome;

const WARM_UP_NS: u64 = SECOND_NS / 2;

/// Of what a reader of old data got, at least this part was read from the disk meanwhile, or the
/// row tells of the broker's memory.
const FROM_DISK: f64 = 0.75;

/// Bytes of values in a record of old data.
const OLD_VALUE_BYTES: usize = 1024;

impl Lab {
    pub(super) fn load(
        &mut self,
        addr: SocketAddr,
        pid: Option<u32>,
        workload: &Workload,
    ) -> anyhow::Result<Measured> {
        let lasting_ns = self.plan.slice_ns * workload.times_as_long;
        let outcome = self.run_load(addr, pid, workload, lasting_ns)?;
        Ok(Measured::of_outcome(&outcome, workload))
    }

    /// Makes the topics, carries the load out, deletes them.
    pub(super) fn run_load(
        &mut self,
        addr: SocketAddr,
        pid: Option<u32>,
        workload: &Workload,
        lasting_ns: u64,
    ) -> anyhow::Result<Outcome> {
        let topic = self.new_topic();
        let old = format!("{topic}-old");
        let mut control = Control::open(addr)?;
        control.check_versions(workload.reads())?;
        let new = NewTopic {
            name: &topic,
            partitions: workload.partitions,
            configs: workload.configs,
        };
        control.create(&new)?;
        let mut readers =
            vec![reader(&topic, workload.partitions, Reads::Tail); workload.tail_readers];
        match workload.beside {
            Beside::Nothing => {}
            Beside::Backfill { mib, .. } => {
                let backfill = NewTopic {
                    name: &old,
                    partitions: 1,
                    configs: &[],
                };
                control.create(&backfill)?;
                self.fill(addr, &old, mib)?;
                readers.push(reader(&old, 1, Reads::Again));
            }
            Beside::Backlog { mib } => {
                self.fill(addr, &topic, mib)?;
                readers.push(reader(&topic, workload.partitions, Reads::Backlog));
            }
        }
        let before = pid.map(Used::now);
        let ran = load::run(&Load {
            addr,
            topic: topic.clone(),
            partitions: workload.partitions,
            acks: workload.acks,
            shape: workload.shape,
            connections: workload.connections,
            pace: workload.pace,
            wait: workload.wait,
            readers,
            cpus: self.plan.client_cpus.clone(),
            warm_up_ns: warm_up_ns(workload),
            lasting_ns,
        });
        let used = pid
            .zip(before)
            .map(|(pid, then)| Used::now(pid).since(&then));
        // Deleted whatever came of it, so that rows do not fill the disk.
        let deleted = control.delete(&topic);
        let outcome = Outcome {
            broker_cpu_ns: used.map(|used| used.cpu_ns),
            ..ran?
        };
        deleted?;
        if let Beside::Backfill { from_disk, .. } = workload.beside {
            control.delete(&old)?;
            ensure!(
                !from_disk || used.is_some_and(|used| is_cold(&used, &outcome)),
                "the old data was not read from the disk: of {} bytes that came, {} were read there",
                outcome.read_bytes,
                used.map_or(0, |used| used.disk_bytes)
            );
        }
        Ok(outcome)
    }

    /// The name of a topic that nobody has.
    pub(super) fn new_topic(&mut self) -> String {
        self.topics += 1;
        format!("perf-{}-{}", std::process::id(), self.topics)
    }

    /// Writes at least `mib` MiB to partition 0 of a topic, in large batches.
    fn fill(&self, addr: SocketAddr, topic: &str, mib: u64) -> anyhow::Result<()> {
        let shape = Shape {
            value_bytes: OLD_VALUE_BYTES,
            key_bytes: 0,
            records: 200,
            batches: 1,
        };
        let mut written = 0;
        while (written * OLD_VALUE_BYTES as u64) >> 20 < mib {
            let outcome = load::run(&Load {
                addr,
                topic: topic.to_owned(),
                partitions: 1,
                acks: -1,
                shape,
                connections: 4,
                pace: Pace::Closed { depth: 2 },
                wait: Wait::Spin,
                readers: Vec::new(),
                cpus: self.plan.client_cpus.clone(),
                warm_up_ns: 0,
                lasting_ns: SECOND_NS / 4,
            })?;
            ensure!(outcome.records > 0, "old data could not be written");
            written += outcome.records;
        }
        Ok(())
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) cpu_ns: u64,
    disk_bytes: u64,
}

impl Used {
    pub(super) fn now(pid: u32) -> Self {
        Self {
            cpu_ns: machine::cpu_ns(pid),
            disk_bytes: machine::disk_read_bytes(pid),
        }
    }

    pub(super) fn since(&self, then: &Used) -> Used {
        Used {
            cpu_ns: self.cpu_ns.saturating_sub(then.cpu_ns),
            disk_bytes: self.disk_bytes.saturating_sub(then.disk_bytes),
        }
    }
}

fn is_cold(used: &Used, outcome: &Outcome) -> bool {
    outcome.read_bytes > 0 && used.disk_bytes as f64 >= FROM_DISK * outcome.read_bytes as f64
}

/// A backlog is drained from the first moment on: none of that is to be left out.
fn warm_up_ns(workload: &Workload) -> u64 {
    match workload.beside {
        Beside::Backlog { .. } => 0,
        Beside::Nothing | Beside::Backfill { .. } => WARM_UP_NS,
    }
}

fn reader(topic: &str, partitions: usize, reads: Reads) -> ReaderPlan {
    ReaderPlan {
        topic: topic.to_owned(),
        partitions,
        reads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_out_of_memory_is_not_cold() {
        let used = |disk_bytes| Used {
            cpu_ns: 0,
            disk_bytes,
        };
        let outcome = Outcome {
            read_bytes: 1000,
            ..Outcome::default()
        };
        assert!(is_cold(&used(990), &outcome) && is_cold(&used(5000), &outcome));
        assert!(!is_cold(&used(0), &outcome) && !is_cold(&used(700), &outcome));
        assert!(!is_cold(&used(1), &Outcome::default()), "nothing came");
    }
}

//! What a run has found: its tables, and whether it passes.

use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::broker::Broker;
use crate::crowd::Counted;
use crate::scheduler::Share;
use crate::times::Times;
use crate::witness::{CLIENT_THREADS, Heard, Witness};

const MIB: u64 = 1 << 20;

/// What a connection may cost beside `--memory`, as docs/tuning.md says: half a small frame, what
/// was read ahead, a small reply, and its task.
const CONNECTION_BYTES: u64 = 48 * 1024;

/// The longest that the client that behaves may wait, however little of the processors the crowd leaves
/// to it and to the broker.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Between two looks at the broker's memory.
const LOOK: Duration = Duration::from_millis(50);

/// One stretch of time: what the client that behaves waited for, and what the broker weighed.
pub(crate) struct Phase {
    heard: Heard,
    peak: u64,
    took: Duration,
    shards: Share,
    client: Share,
}

impl Phase {
    pub(crate) fn measure(broker: &Broker, witness: &Witness, lasting: Duration) -> Self {
        drop(witness.take());
        let client = || Share::of(std::process::id(), CLIENT_THREADS);
        let before = (broker.share(), client());
        let (began, mut peak) = (Instant::now(), 0);
        while began.elapsed() < lasting {
            peak = peak.max(broker.resident_bytes());
            thread::sleep(LOOK);
        }
        Self {
            heard: witness.take(),
            peak,
            took: began.elapsed(),
            shards: broker.share().since(before.0),
            client: client().since(before.1),
        }
    }
}

pub(crate) fn print_kinds(counted: &[(&'static str, Counted)]) {
    println!(
        "\n| hostile connections | most at a time | opened | closed by the broker | KiB sent | KiB received |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, counted) in counted {
        let Counted {
            opened,
            closed,
            sent_bytes,
            received_bytes,
            most,
        } = counted;
        let (sent, received) = (sent_bytes / 1024, received_bytes / 1024);
        println!("| {name} | {most} | {opened} | {closed} | {sent} | {received} |");
    }
}

pub(crate) fn print_times(alone: &Phase, beside: &Phase) {
    println!("\n| the client that behaves, ms | p50 | p99 | p99.9 | most | records a second |");
    println!("|---|---|---|---|---|---|");
    let row = |name: &str, times: &Times, took: Duration| {
        let [p50, p99, p999, most] = times.spread();
        let rate = times.len() as f64 / took.as_secs_f64();
        println!("| {name} | {p50:.2} | {p99:.2} | {p999:.2} | {most:.2} | {rate:.0} |");
        [p50, p99, p999, most]
    };
    let both = |name: &str, alone: [f64; 4], beside: [f64; 4]| {
        let ratio = |at: usize| format!("{:.1}", beside[at] / alone[at]);
        let cells: Vec<String> = (0..4).map(ratio).collect();
        println!("| {name} | {} | |", cells.join(" | "));
    };
    let before = row("produce, alone", &alone.heard.produce, alone.took);
    let after = row(
        "produce, beside the crowd",
        &beside.heard.produce,
        beside.took,
    );
    both("produce, beside over alone", before, after);
    let before = row("to the consumer, alone", &alone.heard.consume, alone.took);
    let after = row(
        "to the consumer, beside",
        &beside.heard.consume,
        beside.took,
    );
    both("to the consumer, beside over alone", before, after);
}

pub(crate) fn print_processor(alone: &Phase, beside: &Phase) {
    println!();
    for (when, phase) in [("alone", alone), ("beside", beside)] {
        println!("the broker's shards, {when}: {}", phase.shards);
        println!("the client that behaves, {when}: {}", phase.client);
    }
}

pub(crate) fn print_memory(at_start: u64, alone: &Phase, beside: &Phase, back: u64) {
    println!(
        "\nresident MiB: {} at the start, {} at most alone, {} at most beside the crowd, {} when it \
         has gone",
        at_start / MIB,
        alone.peak / MIB,
        beside.peak / MIB,
        back / MIB
    );
}

fn check_waits(what: &str, times: &Times) -> Result<(), Failure> {
    let [.., most] = times.spread();
    if most > WAIT_MAX.as_secs_f64() * 1e3 {
        return Err(format!(
            "the client that behaves waited {most:.0} ms for {what}"
        ));
    }
    Ok(())
}

/// What decides.
pub(crate) struct Judged<'a> {
    pub(crate) at_start: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) connections: usize,
    pub(crate) alone: &'a Phase,
    pub(crate) beside: &'a Phase,
    pub(crate) back: u64,
    pub(crate) files: usize,
    pub(crate) left_files: usize,
    pub(crate) counted: &'a [(&'static str, Counted)],
}

impl Judged<'_> {
    pub(crate) fn judge(&self) -> Result<(), Failure> {
        let budget = self.at_start + self.memory_bytes;
        let bound = budget + self.connections as u64 * CONNECTION_BYTES;
        let most = self.beside.peak.max(self.alone.peak);
        println!(
            "\nbounds: {} MiB beside the crowd (start, --memory, {} KiB a connection), {} MiB after",
            bound / MIB,
            CONNECTION_BYTES / 1024,
            budget / MIB
        );
        if most > bound {
            return Err(format!(
                "{} MiB resident, bound {}",
                most / MIB,
                bound / MIB
            ));
        }
        if self.back > budget {
            let (back, budget) = (self.back / MIB, budget / MIB);
            return Err(format!("{back} MiB when they had gone, bound {budget}"));
        }
        if !Broker::are_given_back(self.left_files, self.files) {
            let (left, before) = (self.left_files, self.files);
            return Err(format!(
                "{left} files open when they had gone, {before} before"
            ));
        }
        for (name, counted) in self.counted {
            if counted.opened == 0 || counted.most == 0 {
                return Err(format!("nobody came of: {name}"));
            }
        }
        for phase in [self.alone, self.beside] {
            if phase.heard.produce.len() == 0 || phase.heard.consume.len() == 0 {
                return Err("the client that behaves was not served".to_owned());
            }
            check_waits("an acknowledgement", &phase.heard.produce)?;
            check_waits("a record", &phase.heard.consume)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wait_that_is_too_long_is_told() {
        let mut times = Times::default();
        for _ in 0..1000 {
            times.push(WAIT_MAX);
        }
        assert_eq!(check_waits("an answer", &times), Ok(()));
        times.push(WAIT_MAX + Duration::from_millis(1));
        let told = check_waits("an answer", &times);
        assert!(told.is_err_and(|told| told.contains("10001 ms for an answer")));
    }
}

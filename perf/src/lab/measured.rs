//! What came of a row, from what was seen.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::SECOND_NS;
use crate::machine;
use crate::peers::Peer;
use crate::suite::{Beside, Workload};
use crate::tally::Outcome;
use crate::times::Times;

/// Histograms and single figures, by name with their unit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) histograms: BTreeMap<&'static str, Times>,
    pub(crate) facts: BTreeMap<&'static str, f64>,
}

impl Measured {
    /// Single figures only.
    pub(super) fn of_facts(facts: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        Self {
            histograms: BTreeMap::new(),
            facts: facts.into_iter().collect(),
        }
    }

    /// Of one kind of time.
    pub(super) fn of_latency(times: Times) -> Self {
        Self {
            histograms: BTreeMap::from([("latency", times)]),
            facts: BTreeMap::new(),
        }
    }

    pub(super) fn of_reads(bytes_per_second: f64) -> Self {
        Self::of_facts([("read MB/s", bytes_per_second / 1e6)])
    }

    /// A broker that has answered for the first time.
    pub(super) fn of_start(took: Duration, broker: &Peer) -> Self {
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        Self::of_facts([
            ("to the first answer, ms", took.as_secs_f64() * 1e3),
            ("resident MB", mb(machine::resident_kib(broker.pid))),
            // Registered with the rings, and part of what is resident.
            ("of it pinned MB", mb(machine::pinned_kib(broker.pid))),
        ])
    }

    /// A load.
    pub(super) fn of_outcome(outcome: &Outcome, workload: &Workload) -> Self {
        let mut measured = Self::default();
        for (name, times) in [
            ("latency", &outcome.latency),
            ("send delay", &outcome.send_delay),
            ("produce to consume", &outcome.consume),
        ] {
            if times.len() > 0 {
                measured.histograms.insert(name, times.clone());
            }
        }
        let facts = &mut measured.facts;
        if workload.acks != 0 {
            facts.insert("records/s", outcome.per_second());
            facts.insert("unanswered", outcome.unanswered as f64);
        }
        if workload.tail_readers > 0 {
            facts.insert("unread", outcome.unread as f64);
        }
        if let Some(spent_ns) = outcome.broker_cpu_ns.filter(|_| outcome.handled > 0) {
            let us = spent_ns as f64 / 1e3 / outcome.handled as f64;
            facts.insert("broker CPU us/record", us);
        }
        let seconds = outcome.lasting_ns as f64 / SECOND_NS as f64;
        if matches!(workload.beside, Beside::Backfill { .. }) {
            facts.insert("read MB/s", outcome.read_bytes as f64 / 1e6 / seconds);
        }
        if let (Some(ns), Beside::Backlog { .. }) = (outcome.caught_up_ns, workload.beside) {
            facts.insert("drained after, s", ns as f64 / SECOND_NS as f64);
        }
        measured
    }
}

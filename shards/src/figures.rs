//! What a process's shards write down for whoever watches them: counters, latencies, work.
//!
//! Owns the bundle that each shard is started with. All of it has one writer a cell, the shard,
//! and is readable on any thread, also after the shards have ended.

use crate::acknowledgements::Acknowledgements;
use crate::boot::Poll;
use crate::context;
use crate::counters::Counters;
use crate::latency::Latencies;
use crate::work::Work;

/// See the module. Clones are the same figures.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What is counted by name.
    pub counters: Counters,
    /// How long requests took.
    pub latencies: Latencies,
    /// How long the shards worked.
    pub work: Work,
    /// Durable acknowledgements against a target, if there is one.
    pub acknowledgements: Acknowledgements,
}

impl Figures {
    /// All zero, for a process of that many shards.
    pub(crate) fn new(shards: u16, poll: Poll) -> Figures {
        Figures {
            counters: Counters::new(shards),
            latencies: Latencies::new(shards),
            work: Work::new(shards, poll),
            acknowledgements: Acknowledgements::new(shards),
        }
    }
}

/// The figures of the process that the current shard belongs to. Panics outside one.
pub fn figures() -> Figures {
    context::with(|context| context.figures.clone())
}

//! A parked fetch is answered soon after a record that it waits for was acknowledged by acks=all,
//! and never long after its wait is over.

use std::collections::BTreeMap;

use super::Property;
use crate::event::{Event, Tp};
use crate::facts::Facts;

/// How long an answer may take on a disk that nothing slows down, behind readers who take their
/// time and hold the memory for replies meanwhile.
const SLACK_NS: u64 = 100_000_000;

struct Parked {
    wants: Vec<(Tp, i64)>,
    /// By then it is to be answered.
    due_ns: u64,
}

#[derive(Default)]
pub(crate) struct Woken {
    parked: BTreeMap<u64, Parked>,
}

impl Property for Woken {
    fn name(&self) -> &'static str {
        "woken"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::FetchBegan {
                fetch,
                wants,
                wait_ms,
            } => {
                let due_ns = facts.now_ns + u64::from(*wait_ms) * 1_000_000 + SLACK_NS;
                let wants = wants.clone();
                self.parked.insert(*fetch, Parked { wants, due_ns });
            }
            Event::Answered {
                batch,
                result: Ok(base),
            } => {
                let sent = &facts.batches[*batch];
                let wanted = |parked: &Parked| {
                    parked
                        .wants
                        .iter()
                        .any(|(tp, from)| *tp == sent.tp && base >= from)
                };
                for parked in self.parked.values_mut().filter(|parked| wanted(parked)) {
                    if sent.acks == -1 {
                        parked.due_ns = parked.due_ns.min(facts.now_ns + SLACK_NS);
                    }
                }
            }
            Event::FetchEnded { fetch, .. } => {
                let parked = self.parked.remove(fetch);
                if let Some(parked) = parked
                    && facts.now_ns > parked.due_ns
                    && !facts.was_slow_lately()
                {
                    return Err(format!(
                        "a fetch was answered {} ms late",
                        (facts.now_ns - parked.due_ns) / 1_000_000
                    ));
                }
            }
            Event::Ended { .. } => self.parked.clear(),
            _ => {}
        }
        Ok(())
    }
}

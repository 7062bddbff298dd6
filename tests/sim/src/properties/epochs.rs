//! Leader epochs rise with the offsets and with each start, and their ends are where the log has
//! them.

use std::collections::BTreeMap;

use super::Property;
use crate::event::{Event, Tp};
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Epochs {
    /// The partition's epoch, and the generation in which it was told.
    current: BTreeMap<Tp, (i32, u64)>,
}

impl Property for Epochs {
    fn name(&self) -> &'static str {
        "epochs"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        let Event::FullRead(read) = event else {
            return Ok(());
        };
        if read.error.is_some() {
            return Ok(());
        }
        let (before, generation) = self
            .current
            .insert(read.tp, (read.leader_epoch, facts.generation))
            .unwrap_or((-1, 0));
        let rises = generation == facts.generation || read.leader_epoch > before;
        if !rises || read.leader_epoch < before {
            return Err(format!(
                "{:?} had epoch {before} and has {}",
                read.tp, read.leader_epoch
            ));
        }
        let mut last = -1;
        for found in &read.batches {
            if found.epoch < last || found.epoch > read.leader_epoch {
                return Err(format!(
                    "{:?}: epoch {} at {}, after {last}",
                    read.tp, found.epoch, found.base
                ));
            }
            last = found.epoch;
        }
        for (asked, (epoch, end)) in &read.epochs {
            let after = read.batches.iter().find(|found| found.epoch > *asked);
            let expected = after.map_or(read.high_watermark, |found| found.base);
            if *epoch != *asked || *end != expected {
                return Err(format!(
                    "{:?}: epoch {asked} ends at {expected}, and {end} of {epoch} was told",
                    read.tp
                ));
            }
        }
        Ok(())
    }
}

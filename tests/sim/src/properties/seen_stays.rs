//! What a consumer saw stays. On a write-cached topic a power cut may take it back: then a fetch
//! that names the epoch of the consumer's last record is told that the logs part, or gets on from
//! where they still agree.

use std::collections::BTreeMap;

use super::Property;
use crate::event::{BatchId, Event, Fetched, Tp};
use crate::facts::Facts;

/// What one consumer has of one partition, by base offset.
type Log = BTreeMap<i64, (BatchId, i64, i32)>;

#[derive(Default)]
pub(crate) struct SeenStays {
    logs: BTreeMap<(u8, Tp), Log>,
    /// The partition as it was read last after a start: what a cut left of it.
    left: BTreeMap<Tp, BTreeMap<i64, BatchId>>,
    ends: BTreeMap<Tp, (i64, i64)>,
}

impl SeenStays {
    fn fetched(&mut self, facts: &Facts, fetched: &Fetched) -> Result<(), String> {
        let log = self.logs.entry((fetched.client, fetched.tp)).or_default();
        if let Some((_, end)) = fetched.diverging {
            log.retain(|_, (_, upto, _)| *upto <= end);
            return Ok(());
        }
        if fetched.error.is_some() || fetched.last_epoch < 0 {
            return Ok(());
        }
        // The broker agrees that the logs are one up to here: what it had at its start must be
        // what the consumer has.
        if let (Some(left), Some((start, end))) =
            (self.left.get(&fetched.tp), self.ends.get(&fetched.tp))
        {
            let last = log.range(..fetched.from).next_back();
            // Of what was deleted meanwhile no broker knows any more where the logs parted.
            let start = (*start).max(fetched.log_start);
            let judged = last.filter(|(base, (_, upto, _))| **base >= start && *upto <= *end);
            if let Some((base, (batch, upto, _))) = judged
                && *upto == fetched.from
                && left.get(base) != Some(batch)
            {
                return Err(format!(
                    "{:?}: client {} had {} at {base}, and no epoch told it that it is gone",
                    fetched.tp,
                    fetched.client,
                    facts.name_of(*batch)
                ));
            }
        }
        for found in &fetched.batches {
            log.insert(found.base, (found.batch, found.end, found.epoch));
        }
        Ok(())
    }
}

impl Property for SeenStays {
    fn name(&self) -> &'static str {
        "seen_stays"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Fetched(fetched) => {
                if fetched.last_epoch < 0 && fetched.error.is_none() {
                    let log = self.logs.entry((fetched.client, fetched.tp)).or_default();
                    log.split_off(&fetched.from);
                    for found in &fetched.batches {
                        log.insert(found.base, (found.batch, found.end, found.epoch));
                    }
                    return Ok(());
                }
                self.fetched(facts, fetched)
            }
            Event::FullRead(read) if read.error.is_none() => {
                let left = read.batches.iter().map(|found| (found.base, found.batch));
                self.left.insert(read.tp, left.collect());
                let first = read
                    .batches
                    .first()
                    .map_or(read.high_watermark, |found| found.base);
                self.ends.insert(read.tp, (first, read.high_watermark));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

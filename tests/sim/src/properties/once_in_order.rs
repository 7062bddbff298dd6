//! A batch is in its partition once, and one client's batches are in the order in which it sent
//! them. A batch whose sequence left one out is never taken.

use std::collections::{BTreeMap, BTreeSet};

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct OnceInOrder;

impl Property for OnceInOrder {
    fn name(&self) -> &'static str {
        "once_in_order"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        if let Event::Answered {
            batch,
            result: Ok(base),
        } = event
        {
            let sent = &facts.batches[*batch];
            if sent.forbidden {
                return Err(format!(
                    "{} left a sequence out and was taken",
                    facts.name_of(*batch)
                ));
            }
            let before = sent.acked.filter(|before| before != base && sent.acks != 0);
            if before.is_some() && !facts.may_lack(sent.tp) {
                return Err(format!(
                    "{} was acknowledged at {before:?} and at {base}",
                    facts.name_of(*batch)
                ));
            }
        }
        let Event::FullRead(read) = event else {
            return Ok(());
        };
        let mut there = BTreeSet::new();
        let mut last: BTreeMap<u8, u64> = BTreeMap::new();
        for found in &read.batches {
            let name = || facts.name_of(found.batch);
            if !there.insert(found.batch) {
                return Err(format!(
                    "{} is there twice, again at {}",
                    name(),
                    found.base
                ));
            }
            let sent = &facts.batches[found.batch];
            if sent.forbidden {
                return Err(format!("{} left a sequence out and is there", name()));
            }
            let before = last.insert(sent.client, sent.order);
            if before.is_some_and(|before| before > sent.order) {
                return Err(format!(
                    "{} at {} comes after a later one",
                    name(),
                    found.base
                ));
            }
        }
        Ok(())
    }
}

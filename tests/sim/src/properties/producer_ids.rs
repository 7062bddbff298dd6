//! No producer id is given twice.

use std::collections::BTreeSet;

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct ProducerIds {
    given: BTreeSet<i64>,
}

impl Property for ProducerIds {
    fn name(&self) -> &'static str {
        "producer_ids"
    }

    fn observe(&mut self, _: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::ProducerId { id } if !self.given.insert(*id) => {
                Err(format!("producer id {id} was given twice"))
            }
            // The block that it was of may be among what is lost.
            Event::Started(started) if started.unknown_losses => {
                self.given.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

//! Every start succeeds and finds no damage, unless a disk operation was told to fail or the disk is
//! full; a process ends itself only then. Damage is named only if an operation failed or something
//! has rotted, and generations rise whatever happens.

use super::Property;
use crate::event::{Ended, Event};
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Starts;

impl Property for Starts {
    fn name(&self) -> &'static str {
        "starts"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        let excused = facts.failing || facts.full;
        match event {
            Event::StartRefused { reason } if !excused && facts.rot.is_empty() => {
                Err(format!("a start was refused: {reason}"))
            }
            Event::Ended {
                how: Ended::Fatal(reason),
            } if !excused => Err(format!("it ended itself: {reason}")),
            Event::Started(started)
                if !started.damage.is_empty() && !facts.failing && facts.rot.is_empty() =>
            {
                Err(format!("damage where there is none: {:?}", started.damage))
            }
            Event::Started(started) if started.generation <= facts.generation => Err(format!(
                "generation {} comes after {}",
                started.generation, facts.generation
            )),
            _ => Ok(()),
        }
    }
}

//! Once nothing disturbs the machine any more, every request is answered.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Answered;

impl Property for Answered {
    fn name(&self) -> &'static str {
        "answered"
    }

    fn observe(&mut self, _facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Unanswered { waits } => Err(waits.clone()),
            _ => Ok(()),
        }
    }
}

//! What is read is, byte by byte, what some client has sent to that very partition, or what the
//! topic's configuration has it rewritten to.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Intact;

impl Property for Intact {
    fn name(&self) -> &'static str {
        "intact"
    }

    fn observe(&mut self, _facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Garbled { message } => Err(message.clone()),
            _ => Ok(()),
        }
    }
}

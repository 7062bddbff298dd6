//! Generations and epochs never go back: who asks is told of none that is lower than what somebody
//! was told before it asked. A member of the new protocol that is in the group already may be behind
//! the others, but never behind itself.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct GroupEpochs;

impl Property for GroupEpochs {
    fn name(&self) -> &'static str {
        "group_epochs"
    }

    fn observe(&mut self, _: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::GroupAssigned {
                protocol,
                client,
                floor,
                epoch,
                ..
            } if epoch < floor => Err(format!(
                "{protocol:?}: client {client} is told of epoch {epoch} after {floor}"
            )),
            _ => Ok(()),
        }
    }
}

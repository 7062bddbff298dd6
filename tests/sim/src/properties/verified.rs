//! With the machine off, `verify` finds nothing in the files of topics that live, unless something
//! has rotted.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Verified;

impl Property for Verified {
    fn name(&self) -> &'static str {
        "verified"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Verified { problems } if !problems.is_empty() && !facts.may_be_damaged() => {
                Err(format!("{problems:?}"))
            }
            _ => Ok(()),
        }
    }
}

//! The caches of a shard hold no more than their budget, and what is on its way to the disk.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Memory;

impl Property for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn observe(&mut self, _: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Memory {
                shard,
                bytes,
                bytes_max,
            } if bytes > bytes_max => Err(format!(
                "the caches of shard {shard} hold {bytes} bytes of {bytes_max}"
            )),
            _ => Ok(()),
        }
    }
}

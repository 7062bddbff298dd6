//! A shard's memory: its caches hold no more than their budget and what is on its way to the disk;
//! what waits for a commit no more than its bound and one request; and what fetched records keep
//! alive no more than the reply memory that is held for them.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;
use tailwater_broker::fetch::FETCH_BYTES_FREE;

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
                part,
                bytes,
                bytes_max,
            } if bytes > bytes_max => Err(format!(
                "the {part} of shard {shard} hold {bytes} bytes of {bytes_max}"
            )),
            Event::Replied {
                client,
                bytes,
                held,
            } if *bytes as u64 > (*held).max(FETCH_BYTES_FREE as u64) => Err(format!(
                "a reply to client {client} keeps {bytes} bytes and is charged with {held}"
            )),
            _ => Ok(()),
        }
    }
}

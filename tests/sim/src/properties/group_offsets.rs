//! Committed offsets: what was acknowledged or shown is never lost and never goes back, nothing is
//! shown that was never sent, and nothing is committed in a generation that is over.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct GroupOffsets;

impl Property for GroupOffsets {
    fn name(&self) -> &'static str {
        "group_offsets"
    }

    fn observe(&mut self, _: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::OffsetsRead(read) => {
                for (partition, floor) in &read.floor {
                    let found = read.found.get(partition).copied().unwrap_or(-1);
                    if found < *floor {
                        return Err(format!(
                            "{:?}: {floor} was committed for partition {partition}, and {found} is there",
                            read.protocol
                        ));
                    }
                }
                if read.never_sent {
                    return Err(format!(
                        "{:?}: nobody has committed all of {:?}",
                        read.protocol, read.found
                    ));
                }
                Ok(())
            }
            Event::GroupCommitted {
                protocol,
                epoch,
                late: true,
            } => Err(format!(
                "{protocol:?}: a commit was taken in generation {epoch}, which is over"
            )),
            _ => Ok(()),
        }
    }
}

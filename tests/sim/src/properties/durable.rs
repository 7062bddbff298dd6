//! What acks=all has acknowledged, and what the high watermark shows, is on the disk where no
//! power cut can take it, at the very moment it is told. The disk is asked, not the broker.

use memchr::memmem;

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

/// The disk is searched for one in so many.
const ONE_IN: u64 = 3;

#[derive(Default)]
pub(crate) struct Durable {
    seen: u64,
}

impl Durable {
    fn is_chosen(&mut self) -> bool {
        self.seen += 1;
        self.seen.is_multiple_of(ONE_IN)
    }
}

fn is_sure(facts: &Facts, batch: &[u8]) -> bool {
    // Offset and leader epoch are given by the broker; from the checksum on all is as sent.
    let sent = batch.get(17..).unwrap_or_default();
    // A record without headers ends in a zero, and a block of nothing but zeros is in no run.
    let upto = sent
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let finder = memmem::Finder::new(sent.get(..upto).unwrap_or_default());
    facts.disk.any_run(|run| finder.find(run).is_some())
}

impl Property for Durable {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Answered {
                batch: id,
                result: Ok(base),
            } => {
                let batch = &facts.batches[*id];
                let rewritten = facts
                    .topic(batch.tp)
                    .is_none_or(|topic| topic.is_rewritten());
                // Records that were deleted meanwhile may be gone from the disk too.
                let gone = *base
                    < facts
                        .known_span(batch.tp)
                        .0
                        .max(facts.log_start_asked(batch.tp));
                let judged = facts.is_power_safe(batch) && facts.lives(batch.tp) && !rewritten;
                if judged
                    && !gone
                    && facts.keeps_all(batch.tp)
                    && !facts.is_hurt(batch.tp)
                    && self.is_chosen()
                    && !is_sure(facts, &batch.body)
                {
                    return Err(format!(
                        "{} was acknowledged at {base} and a power cut now could take it",
                        facts.name_of(*id)
                    ));
                }
            }
            Event::Fetched(fetched)
                if !facts.ever_cached(fetched.tp) && facts.lives(fetched.tp) =>
            {
                let Some(last) = fetched.batches.last() else {
                    return Ok(());
                };
                let gone = last.base < facts.log_start_asked(fetched.tp);
                if !gone
                    && facts.keeps_all(fetched.tp)
                    && !facts.is_hurt(fetched.tp)
                    && self.is_chosen()
                    && !is_sure(facts, &last.bytes)
                {
                    return Err(format!(
                        "{} was seen at {} and a power cut now could take it",
                        facts.name_of(last.batch),
                        last.base
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

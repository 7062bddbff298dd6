//! A producer's last five batches are remembered, over every end of the process: one that was
//! acknowledged and is sent again is answered with its offset, and never refused for its sequence.

use tailwater_broker::error_code as code;

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

/// Kafka's default of `producer.id.expiration.ms`: a day without a batch, and it is forgotten.
const EXPIRATION_MS: i64 = 24 * 3600 * 1000;

#[derive(Default)]
pub(crate) struct Duplicates;

impl Property for Duplicates {
    fn name(&self) -> &'static str {
        "duplicates"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        let Event::Repeated {
            batch,
            base,
            result,
        } = event
        else {
            return Ok(());
        };
        let tp = facts.batches[*batch].tp;
        // A power cut may have taken a write-cached one, and rot one that no start could name.
        let expires = facts.wall_ms_max - facts.wall_ms_min >= EXPIRATION_MS;
        if facts.may_lack(tp) || !facts.lives(tp) || expires {
            return Ok(());
        }
        let name = || facts.name_of(*batch);
        match result {
            Ok(again) if again != base => Err(format!(
                "{} was acknowledged at {base}, sent again and acknowledged at {again}",
                name()
            )),
            Err(
                code @ (code::OUT_OF_ORDER_SEQUENCE_NUMBER
                | code::DUPLICATE_SEQUENCE_NUMBER
                | code::INVALID_PRODUCER_EPOCH),
            ) => Err(format!(
                "{} was acknowledged at {base}, sent again and refused with error {code}",
                name()
            )),
            _ => Ok(()),
        }
    }
}

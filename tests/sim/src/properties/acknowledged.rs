//! What was acknowledged is there, at its offset: after a kill what was acknowledged at all, after
//! a power cut what was acknowledged by acks=all on a topic without `write.caching`. A partition
//! that was named as damaged may refuse to be read, and never lacks records in silence.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Acknowledged;

impl Property for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        let Event::FullRead(read) = event else {
            return Ok(());
        };
        let Some(partition) = facts.partitions.get(&read.tp) else {
            return Ok(());
        };
        if !facts.lives(read.tp) {
            return Ok(());
        }
        if let Some(code) = read.error {
            // Of a deleted topic that damage has brought back the files are gone.
            let excused = facts.failing || partition.hurt || facts.unknown_losses;
            return if excused {
                Ok(())
            } else {
                Err(format!("{:?} cannot be read: error {code}", read.tp))
            };
        }
        let promised = partition.promised();
        if read.high_watermark < promised {
            let mut lost = partition.places.range(read.high_watermark..promised);
            let lost = lost
                .next()
                .map(|(base, place)| format!("{} at {base}", facts.name_of(place.batch)));
            return Err(format!(
                "{:?} ends at {} and was to reach {promised}; lost: {}",
                read.tp,
                read.high_watermark,
                lost.as_deref().unwrap_or("records that somebody saw"),
            ));
        }
        let found = |base: i64| read.batches.binary_search_by_key(&base, |found| found.base);
        let kept = partition.places.range(read.log_start..read.high_watermark);
        for (base, place) in kept.filter(|(_, place)| place.end <= promised) {
            match found(*base).map(|index| read.batches[index].batch) {
                Ok(batch) if batch == place.batch => {}
                Ok(other) => {
                    return Err(format!(
                        "at {base} there was {} and now there is {}",
                        facts.name_of(place.batch),
                        facts.name_of(other)
                    ));
                }
                Err(_) => return Err(format!("{} is not at {base}", facts.name_of(place.batch))),
            }
        }
        Ok(())
    }
}

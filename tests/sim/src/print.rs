//! A line for each event of a history.

use crate::event::Event;
use crate::facts::Facts;

pub(crate) fn event(facts: &Facts, event: &Event) -> String {
    match event {
        Event::Sent { batch } => format!("sent     {}", facts.name_of(*batch)),
        Event::Answered {
            batch,
            result: Ok(base),
        } => {
            format!("answered {} at {base}", facts.name_of(*batch))
        }
        Event::Answered {
            batch,
            result: Err(code),
        } => {
            format!("refused  {} with error {code}", facts.name_of(*batch))
        }
        Event::Fetched(fetched) => format!(
            "fetched  by client {} {:?} from {} (epoch {}): {:?}, error {:?}, high watermark {}, start {}, diverging {:?}",
            fetched.client,
            fetched.tp,
            fetched.from,
            fetched.last_epoch,
            fetched
                .batches
                .iter()
                .map(|f| (f.base, f.batch, f.epoch))
                .collect::<Vec<_>>(),
            fetched.error,
            fetched.high_watermark,
            fetched.log_start,
            fetched.diverging
        ),
        Event::FullRead(read) => format!(
            "read     {:?} {}..{} in epoch {}: {:?}, error {:?}",
            read.tp,
            read.log_start,
            read.high_watermark,
            read.leader_epoch,
            read.batches
                .iter()
                .map(|f| (f.base, f.batch, f.epoch))
                .collect::<Vec<_>>(),
            read.error
        ),
        Event::Started(started) => format!(
            "started  generation {}, {} topics, damage {:?}",
            started.generation,
            started.topics.len(),
            started.damage
        ),
        Event::Met(topic) => format!("met      {} {}", topic.name, topic.id),
        other => format!("{other:?}"),
    }
}

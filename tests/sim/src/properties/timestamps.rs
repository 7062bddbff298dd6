//! ListOffsets by time agrees with the log.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Timestamps;

impl Property for Timestamps {
    fn name(&self) -> &'static str {
        "timestamps"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::FullRead(read) if read.error.is_none() => {
                for (asked, (offset, timestamp, _)) in &read.times {
                    let hits = read.batches.iter().flat_map(|found| {
                        (found.base..found.end)
                            .zip(0..)
                            .filter_map(|(offset, record)| {
                                let time = facts.time_of(found, record);
                                (time >= *asked && offset >= read.log_start)
                                    .then_some((offset, time))
                            })
                    });
                    let expected = hits.take(1).next().unwrap_or((-1, -1));
                    if (*offset, *timestamp) != expected {
                        return Err(format!(
                            "{:?}: the first record at {asked} or later is {expected:?}, and {:?} was told",
                            read.tp,
                            (offset, timestamp)
                        ));
                    }
                }
                Ok(())
            }
            Event::TimeFound {
                tp,
                asked,
                offset,
                timestamp,
            } if *offset >= 0 => {
                if timestamp < asked {
                    return Err(format!("{tp:?}: {timestamp} was told for {asked}"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

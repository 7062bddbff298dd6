//! A log start never falls, is durable once it was answered, and passes nothing that neither
//! DeleteRecords nor retention gave up.

use super::Property;
use crate::event::{Event, Tp};
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct LogStart;

fn passes_nothing(facts: &Facts, tp: Tp, log_start: i64) -> Result<(), String> {
    let (Some(partition), Some(topic)) = (facts.partitions.get(&tp), facts.topic(tp)) else {
        return Ok(());
    };
    if log_start <= partition.log_start_asked || topic.retention_bytes_min >= 0 {
        return Ok(());
    }
    let oldest = facts.wall_ms_max - topic.retention_ms_min;
    let given_up = partition.places.range(partition.log_start_asked..log_start);
    for (base, place) in given_up {
        let times = &facts.batches[place.batch].timestamps;
        let newest = times.iter().max().copied().unwrap_or(-1);
        if newest > oldest && !topic.is_rewritten() && place.end <= log_start {
            return Err(format!(
                "the log start {log_start} has passed {} at {base}, which nothing had given up",
                facts.name_of(place.batch)
            ));
        }
    }
    Ok(())
}

impl Property for LogStart {
    fn name(&self) -> &'static str {
        "log_start"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::FullRead(read) if read.error.is_none() && facts.lives(read.tp) => {
                let told = facts
                    .partitions
                    .get(&read.tp)
                    .map_or(0, |p| p.answered_start);
                if read.log_start < told {
                    return Err(format!(
                        "{:?}: the log start {told} was told and is {} now",
                        read.tp, read.log_start
                    ));
                }
                passes_nothing(facts, read.tp, read.log_start)
            }
            Event::Fetched(fetched) if fetched.error.is_none() => {
                passes_nothing(facts, fetched.tp, fetched.log_start)
            }
            _ => Ok(()),
        }
    }
}

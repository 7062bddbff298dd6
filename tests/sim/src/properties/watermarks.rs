//! High watermarks: the last stable offset never passes it, it shows no less than what acks=all
//! has acknowledged, and it never falls but where a power cut took a write-cached tail.

use std::collections::BTreeMap;

use super::Property;
use crate::event::{Event, Tp};
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Watermarks {
    /// In this life of the process: told when, and how far.
    highest: BTreeMap<Tp, i64>,
}

impl Watermarks {
    fn tell(&mut self, tp: Tp, high: i64, stable: i64, start: i64) -> Result<(), String> {
        if stable > high || start > high {
            return Err(format!(
                "{tp:?}: log start {start}, stable {stable}, high {high}"
            ));
        }
        let highest = self.highest.entry(tp).or_insert(high);
        *highest = high.max(*highest);
        Ok(())
    }
}

impl Property for Watermarks {
    fn name(&self) -> &'static str {
        "watermarks"
    }

    fn observe(&mut self, _: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Ended { .. } => self.highest.clear(),
            Event::Fetched(fetched) if fetched.error.is_none() => {
                if let Some(last) = fetched.batches.last()
                    && last.end > fetched.high_watermark
                {
                    return Err(format!(
                        "{:?}: {} is above the high watermark",
                        fetched.tp, last.base
                    ));
                }
                self.tell(
                    fetched.tp,
                    fetched.high_watermark,
                    fetched.last_stable,
                    fetched.log_start,
                )?;
            }
            Event::FullRead(read) if read.error.is_none() => {
                let highest = self.highest.get(&read.tp).copied().unwrap_or(0);
                if read.high_watermark < highest {
                    return Err(format!(
                        "{:?}: the high watermark fell from {highest}",
                        read.tp
                    ));
                }
                self.tell(
                    read.tp,
                    read.high_watermark,
                    read.last_stable,
                    read.log_start,
                )?;
            }
            _ => {}
        }
        Ok(())
    }
}

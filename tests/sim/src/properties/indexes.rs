//! A fetch from any offset begins with the batch that holds it.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Indexes;

impl Property for Indexes {
    fn name(&self) -> &'static str {
        "indexes"
    }

    fn observe(&mut self, _: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Fetched(fetched) => {
                let mut at = fetched.from;
                for found in &fetched.batches {
                    if found.base > at || found.end <= at {
                        return Err(format!(
                            "{:?}: {}..{} where {at} was wanted",
                            fetched.tp, found.base, found.end
                        ));
                    }
                    at = found.end;
                }
            }
            Event::FullRead(read) => {
                let mut at = read.log_start;
                for found in &read.batches {
                    if read.error.is_none() && found.end > read.log_start {
                        if found.base > at {
                            return Err(format!(
                                "{:?}: nothing from {at} to {}",
                                read.tp, found.base
                            ));
                        }
                        at = found.end;
                    }
                }
                for (from, base) in &read.probes {
                    let holds = read
                        .batches
                        .iter()
                        .find(|found| (found.base..found.end).contains(from));
                    let holds = holds.map(|found| found.base);
                    if base.is_some() && *base != holds {
                        return Err(format!(
                            "{:?}: {from} was found in {base:?}, not {holds:?}",
                            read.tp
                        ));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

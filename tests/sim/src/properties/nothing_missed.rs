//! A fetch that comes back without a record leaves none that was visible when it began.

use std::collections::BTreeMap;

use super::Property;
use crate::event::{Event, Tp};
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct NothingMissed {
    /// For each fetch under way that has found nothing yet: what was there to be read, from where
    /// to where.
    missed: BTreeMap<u64, BTreeMap<Tp, (i64, i64)>>,
}

impl Property for NothingMissed {
    fn name(&self) -> &'static str {
        "nothing_missed"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::FetchBegan { fetch, wants, .. } => {
                let visible = |tp: &Tp| facts.partitions.get(tp).map_or(0, |p| p.visible);
                let spans = wants.iter().map(|(tp, from)| (*tp, (*from, visible(tp))));
                let there = spans.filter(|(_, (from, end))| from < end).collect();
                self.missed.insert(*fetch, there);
            }
            Event::Fetched(fetched) => {
                let Some(missed) = self.missed.get_mut(&fetched.fetch) else {
                    return Ok(());
                };
                if !fetched.batches.is_empty() {
                    self.missed.remove(&fetched.fetch);
                } else if fetched.error.is_some() || fetched.diverging.is_some() {
                    missed.remove(&fetched.tp);
                }
            }
            Event::FetchEnded { fetch, refused } => {
                let missed = self.missed.remove(fetch).unwrap_or_default();
                let missed = missed.iter().find(|(tp, _)| facts.lives(**tp));
                if let Some((tp, (from, end))) = missed.filter(|_| !refused) {
                    return Err(format!(
                        "{tp:?}: {from}..{end} was there, and fetch {fetch} found nothing at all"
                    ));
                }
            }
            Event::Ended { .. } => self.missed.clear(),
            _ => {}
        }
        Ok(())
    }
}

//! An offset never shows two values: not in one leader epoch, and on a topic that was never
//! write-cached not at all.

use std::collections::BTreeMap;

use super::Property;
use crate::event::{BatchId, Event, Found, Tp};
use crate::facts::Facts;

/// A leader epoch, a batch, and the offset behind it.
type Shown = (i32, BatchId, i64);

#[derive(Default)]
pub(crate) struct OneValue {
    /// What each base offset showed: epoch, batch, end.
    shown: BTreeMap<(Tp, i64), Vec<Shown>>,
}

impl OneValue {
    fn show(&mut self, facts: &Facts, tp: Tp, found: &Found) -> Result<(), String> {
        let cached = facts.ever_cached(tp);
        let before = self.shown.entry((tp, found.base)).or_default();
        for (epoch, batch, end) in before.iter() {
            let same = (*batch, *end) == (found.batch, found.end);
            if !same && (*epoch == found.epoch || !cached) {
                return Err(format!(
                    "{tp:?}: {} showed {} and shows {}, in epochs {epoch} and {}",
                    found.base,
                    facts.name_of(*batch),
                    facts.name_of(found.batch),
                    found.epoch
                ));
            }
            if same && *epoch != found.epoch && !cached {
                return Err(format!("{tp:?}: {} has changed its epoch", found.base));
            }
        }
        let now = (found.epoch, found.batch, found.end);
        if !before.contains(&now) {
            before.push(now);
        }
        Ok(())
    }
}

impl Property for OneValue {
    fn name(&self) -> &'static str {
        "one_value"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        let (tp, found) = match event {
            Event::Fetched(fetched) => (fetched.tp, &fetched.batches),
            Event::FullRead(read) => (read.tp, &read.batches),
            Event::Started(started) if started.unknown_losses => {
                self.shown.clear();
                return Ok(());
            }
            _ => return Ok(()),
        };
        found
            .iter()
            .try_for_each(|found| self.show(facts, tp, found))
    }
}

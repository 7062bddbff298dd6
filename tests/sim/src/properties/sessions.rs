//! A fetch session lives as long as the process, and an answer in it names only what it holds.

use std::collections::{BTreeMap, BTreeSet};

use super::Property;
use crate::event::{Event, Tp};
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Sessions {
    /// What each fetch under way speaks of.
    wanted: BTreeMap<u64, BTreeSet<Tp>>,
}

impl Property for Sessions {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn observe(&mut self, _: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::FetchBegan { fetch, wants, .. } => {
                let wanted = wants.iter().map(|(tp, _)| *tp).collect();
                self.wanted.insert(*fetch, wanted);
            }
            Event::Fetched(fetched) => {
                let wanted = self.wanted.get(&fetched.fetch);
                if wanted.is_some_and(|wanted| !wanted.contains(&fetched.tp)) {
                    return Err(format!("nobody had asked for {:?}", fetched.tp));
                }
            }
            Event::FetchEnded { fetch, .. } => {
                self.wanted.remove(fetch);
            }
            Event::SessionLost { code } => {
                return Err(format!("a session of this start is refused: error {code}"));
            }
            Event::Ended { .. } => self.wanted.clear(),
            _ => {}
        }
        Ok(())
    }
}

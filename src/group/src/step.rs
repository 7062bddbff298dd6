//! One step of a machine: what it is told, and what it comes to.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::GroupConfig;
use crate::memory::Room;
use crate::outcome::{Moment, Outcome, Record, ReplyTo};
use crate::reply::Reply;
use crate::timers::Timers;
use crate::topics::Topics;

/// What a group sees of its machine while it handles one event.
pub(crate) struct Step<'a> {
    pub(crate) moment: &'a Moment,
    pub(crate) config: &'a GroupConfig,
    pub(crate) topics: &'a dyn Topics,
    pub(crate) timers: &'a mut Timers,
    /// Askers whose replies wait for other members. Two a member at most: its join and its sync.
    pub(crate) parked: &'a mut BTreeSet<ReplyTo>,
    /// How much more the machine may take.
    pub(crate) room: Room,
    pub(crate) outcome: Outcome,
}

impl Step<'_> {
    /// When `ms` milliseconds will have gone by.
    pub(crate) fn after_ms(&self, ms: i32) -> Duration {
        self.moment.now + Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// Appends a record.
    pub(crate) fn record(&mut self, record: Record) {
        self.outcome.records.push(record);
    }

    /// Answers whoever asked just now.
    pub(crate) fn reply(&mut self, to: ReplyTo, reply: Reply) {
        self.outcome.replies.push((to, reply));
    }

    /// Lets an asker wait.
    pub(crate) fn park(&mut self, to: ReplyTo) {
        let fresh = self.parked.insert(to);
        debug_assert!(fresh, "a reply's number is used once");
    }

    /// Answers an asker that waited, unless it has gone.
    pub(crate) fn answer(&mut self, to: ReplyTo, reply: Reply) {
        if self.parked.remove(&to) {
            self.outcome.replies.push((to, reply));
        }
    }
}

//! One machine: the groups and offsets of one partition of `__consumer_offsets`.
//!
//! Owns the groups, their timers and the askers that wait for other members. Invariants: what it
//! answers follows from records that it has given out; [`Coordinator::replay`] of all of them
//! makes a machine with the same [`Coordinator::snapshot`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::config::GroupConfig;
use crate::groups::Groups;
use crate::outcome::{Moment, Outcome, Record, ReplyTo};
use crate::parts::SnapshotCursor;
use crate::records::RecordError;
use crate::request::Request;
use crate::step::Step;
use crate::timers::Timers;
use crate::topics::Topics;

/// A group coordinator's state.
#[derive(Debug)]
pub struct Coordinator {
    config: Arc<GroupConfig>,
    groups: Groups,
    timers: Timers,
    parked: BTreeSet<ReplyTo>,
}

impl Coordinator {
    /// A machine without groups.
    pub fn new(config: Arc<GroupConfig>) -> Coordinator {
        Coordinator {
            config,
            groups: Groups::default(),
            timers: Timers::default(),
            parked: BTreeSet::new(),
        }
    }

    /// What the machine may do and hold.
    pub fn config(&self) -> &Arc<GroupConfig> {
        &self.config
    }

    /// What groups and offsets take, about.
    pub fn bytes(&self) -> u64 {
        self.groups.bytes()
    }

    /// Takes a record of the machine's log, in the order of the log. Records of kinds that are not
    /// known are skipped, as Kafka does.
    ///
    /// # Errors
    /// If the record is of a known kind and cannot be read. The machine is as it was before.
    pub fn replay(&mut self, record: &Record) -> Result<(), RecordError> {
        debug_assert_eq!(
            self.timers.len(),
            0,
            "records are replayed before any event"
        );
        self.groups.replay(record)
    }

    /// Begins the sessions of some groups, after all records have been replayed. Says whether there
    /// are more: a machine of many is made ready in steps.
    pub fn begin_sessions(&mut self, moment: &Moment, topics: &dyn Topics) -> bool {
        let mut has_more = false;
        let outcome = self.step(moment, topics, |groups, step| {
            has_more = groups.begin_sessions(step);
        });
        assert!(
            outcome.records.is_empty() && outcome.replies.is_empty(),
            "a session that begins is nobody's business"
        );
        has_more
    }

    /// Starts to serve, after all records have been replayed: sessions begin anew, those that have
    /// not begun yet.
    pub fn loaded(&mut self, moment: &Moment, topics: &dyn Topics) -> Outcome {
        self.step(moment, topics, Groups::loaded)
    }

    /// Handles a request. The reply is in this outcome or in a later one; there is always one,
    /// unless the asker is [cancelled](Coordinator::cancel).
    pub fn handle(
        &mut self,
        moment: &Moment,
        topics: &dyn Topics,
        to: ReplyTo,
        request: Request,
    ) -> Outcome {
        self.step(moment, topics, |groups, step| {
            groups.handle(step, to, &request);
        })
    }

    /// Forgets an asker that has gone: it gets no reply. Its member stays until its session ends.
    pub fn cancel(&mut self, to: ReplyTo) {
        self.parked.remove(&to);
    }

    /// Does what is due.
    pub fn tick(&mut self, moment: &Moment, topics: &dyn Topics) -> Outcome {
        self.step(moment, topics, |groups, step| {
            // What is set on the way and is due at once waits for the next tick.
            let newest = step.timers.newest();
            while let Some((id, timer)) = step.timers.pop_due(step.moment.now, newest) {
                groups.due(step, id, &timer);
            }
        })
    }

    /// When [`Coordinator::tick`] is to be called next.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.timers.next()
    }

    /// Takes notice that topics were deleted: their offsets are removed, and none of them is shown
    /// any more.
    pub fn topics_deleted(&mut self, moment: &Moment, topics: &dyn Topics) -> Outcome {
        self.step(moment, topics, Groups::topics_deleted)
    }

    /// Records that rebuild the machine: the newest of each key.
    pub fn snapshot(&self) -> Vec<Record> {
        self.groups.snapshot_after(None, usize::MAX).0
    }

    /// Some of the records that rebuild the machine: those behind `after`, until they have `bytes`
    /// or one is longer; and where to go on, if there may be more.
    ///
    /// Steps may be made between two calls. Whoever replays what all calls gave, and then every
    /// record since the first one, has the machine that all records make.
    pub fn snapshot_after(
        &self,
        after: Option<&SnapshotCursor>,
        bytes: usize,
    ) -> (Vec<Record>, Option<SnapshotCursor>) {
        self.groups.snapshot_after(after, bytes)
    }

    /// Panics if the machine contradicts itself.
    pub fn check_invariants(&self) {
        let (timers, waiting) = self.groups.check_invariants();
        assert_eq!(
            timers.len(),
            self.timers.len(),
            "timers that nobody waits for"
        );
        for timer in timers {
            assert!(self.timers.is_set(timer), "a timer is missing");
        }
        let waiting: BTreeSet<ReplyTo> = waiting.into_iter().collect();
        assert!(self.parked.is_subset(&waiting), "who waits in vain");
    }

    fn step(
        &mut self,
        moment: &Moment,
        topics: &dyn Topics,
        act: impl FnOnce(&mut Groups, &mut Step<'_>),
    ) -> Outcome {
        let mut step = Step {
            moment,
            config: &self.config,
            topics,
            timers: &mut self.timers,
            parked: &mut self.parked,
            room: moment.room,
            outcome: Outcome::default(),
        };
        act(&mut self.groups, &mut step);
        step.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Rig, simple_commit, to_commit};

    #[test]
    fn many_groups_begin_their_sessions_in_steps() {
        let mut rig = Rig::eager();
        let (ids, generation) = rig.stable("g-member", 2);
        let config = Arc::new(GroupConfig::default());
        let mut machine = Coordinator::new(config.clone());
        let mut log = rig.log.clone();
        for number in 0..2_500 {
            let commit = simple_commit(&format!("g-{number}"), vec![to_commit("alpha", 0, 1)]);
            let to = ReplyTo(number);
            let moment = rig.moment();
            let outcome = machine.handle(&moment, &rig.topics, to, Request::Commit(commit));
            log.extend(outcome.records);
        }
        let mut machine = Coordinator::new(config);
        for record in &log {
            machine.replay(record).unwrap();
        }
        let moment = rig.moment();
        let steps = (0..).take_while(|_| machine.begin_sessions(&moment, &rig.topics));
        assert_eq!(steps.count(), 2);
        machine.loaded(&moment, &rig.topics);
        machine.check_invariants();
        let beat = crate::testing::heartbeat("g-member", generation, &ids[1]);
        let outcome = machine.handle(&moment, &rig.topics, ReplyTo(0), Request::Heartbeat(beat));
        let (_, reply) = &outcome.replies[0];
        assert_eq!(*reply, crate::Reply::Heartbeat(Ok(())));
    }
}

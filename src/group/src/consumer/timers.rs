//! The deadlines of a group's members. They are not in the log: after a start they begin anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a member has to do in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// To be heard of.
    Session,
    /// To let go of what it has to, while it is at this epoch.
    Rebalance(i32),
    /// To join again (classic protocol).
    Join,
    /// To sync after it joined (classic protocol).
    Sync,
}

impl Due {
    const fn kind(self) -> u8 {
        match self {
            Due::Session => 0,
            Due::Rebalance(_) => 1,
            Due::Join => 2,
            Due::Sync => 3,
        }
    }
}

/// One deadline of each kind for each member at most.
#[derive(Debug, Default)]
pub(super) struct Timers {
    of_member: BTreeMap<(Arc<str>, u8), (Duration, Due)>,
    by_time: BTreeSet<(Duration, Arc<str>, Due)>,
}

impl Timers {
    /// Sets a deadline in place of the one of its kind.
    pub(super) fn set(&mut self, member: &Arc<str>, due: Due, at: Duration) {
        let key = (member.clone(), due.kind());
        if let Some((before, old)) = self.of_member.insert(key, (at, due)) {
            self.by_time.remove(&(before, member.clone(), old));
        }
        self.by_time.insert((at, member.clone(), due));
    }

    /// Sets a deadline unless there is one of its kind.
    pub(super) fn set_if_none(&mut self, member: &Arc<str>, due: Due, at: Duration) {
        if !self.of_member.contains_key(&(member.clone(), due.kind())) {
            self.set(member, due, at);
        }
    }

    /// Forgets the deadline of this kind.
    pub(super) fn cancel(&mut self, member: &Arc<str>, due: Due) {
        let key = (member.clone(), due.kind());
        if let Some((at, old)) = self.of_member.remove(&key) {
            self.by_time.remove(&(at, member.clone(), old));
        }
    }

    /// Forgets all deadlines of a member.
    pub(super) fn cancel_all(&mut self, member: &Arc<str>) {
        for due in [Due::Session, Due::Rebalance(0), Due::Join, Due::Sync] {
            self.cancel(member, due);
        }
    }

    /// When the next one comes.
    pub(super) fn next(&self) -> Option<Duration> {
        self.by_time.first().map(|(at, _, _)| *at)
    }

    /// Takes the next one that has come.
    pub(super) fn pop(&mut self, now: Duration) -> Option<(Arc<str>, Due)> {
        let (_, member, due) = self
            .by_time
            .first()
            .filter(|(at, _, _)| *at <= now)?
            .clone();
        self.cancel(&member, due);
        Some((member, due))
    }
}

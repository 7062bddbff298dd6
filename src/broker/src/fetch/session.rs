//! Fetch sessions (KIP-227): which there are on a shard, and at which epoch.
//!
//! The cache of one shard is bounded by its share of `max.incremental.fetch.session.cache.slots`.
//! When it is full, a new session takes the place of one that was not used for two minutes, or of a
//! smaller one that has lived for two minutes; else the fetch is answered without a session, as in
//! Kafka's `FetchSession.java`. The session's id tells its shard: `id % shards`.

use super::interest::Interest;
use crate::BrokerError;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tailwater_shards::{Instant, ShardId};

/// A session may be evicted once it was idle, or has lived, for this long.
const EVICTION: Duration = Duration::from_secs(120);
/// The epoch of a request that ends its session.
pub(super) const FINAL_EPOCH: i32 = -1;
/// The epoch of a request that asks for a new session.
pub(super) const INITIAL_EPOCH: i32 = 0;

/// A session.
pub(super) struct Session {
    pub(super) id: i32,
    /// The epoch that the next request must have.
    epoch: Cell<i32>,
    uses_topic_ids: bool,
    created: Instant,
    last_used: Cell<Instant>,
    /// A fetch of it is under way.
    busy: Cell<bool>,
    /// A fetch of it was given up in its midst.
    given_up: Cell<bool>,
    pub(super) interest: RefCell<Interest>,
}

/// A session in use by one fetch; ends the use when dropped. A fetch that was given up in its
/// midst may have left watches unregistered: its session is not used again.
pub(super) struct InUse {
    session: Rc<Session>,
    finished: Cell<bool>,
}

impl InUse {
    /// The fetch has its answer: the session may go on.
    pub(super) fn finish(&self) {
        self.finished.set(true);
    }
}

impl std::ops::Deref for InUse {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.session
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.session.busy.set(false);
        if !self.finished.get() {
            self.session.given_up.set(true);
        }
    }
}

/// The sessions of one shard.
pub(crate) struct SessionCache {
    sessions: BTreeMap<i32, Rc<Session>>,
    sessions_max: usize,
    shard: ShardId,
    shards: u16,
}

impl SessionCache {
    /// A cache with its share of the slots, at least one if there are any.
    pub(crate) fn new(slots: usize, shard: ShardId, shards: u16) -> Self {
        let sessions_max = slots.div_ceil(usize::from(shards));
        Self {
            sessions: BTreeMap::new(),
            sessions_max,
            shard,
            shards,
        }
    }

    /// The shard that a session lives on.
    pub(crate) fn home(id: i32, shards: u16) -> ShardId {
        let index = id.unsigned_abs() % u32::from(shards);
        ShardId(u16::try_from(index).expect("a remainder of a u16 fits"))
    }

    /// Takes a session out: it was ended, or a new one is asked for in its place.
    pub(super) fn remove(&mut self, id: i32) -> Option<Rc<Session>> {
        self.sessions.remove(&id)
    }

    /// The session for an incremental fetch; its epoch has moved on then.
    pub(super) fn resume(
        &mut self,
        id: i32,
        epoch: i32,
        uses_topic_ids: bool,
        now: Instant,
    ) -> Result<InUse, BrokerError> {
        let Some(session) = self.sessions.get(&id) else {
            return Err(BrokerError::FetchSessionIdNotFound { id });
        };
        let expected = session.epoch.get();
        // An earlier fetch of it that still waits belongs to a connection that was given up: who
        // comes back from there has to begin anew.
        if expected != epoch || session.busy.get() || session.given_up.get() {
            return Err(BrokerError::InvalidFetchSessionEpoch {
                got: epoch,
                expected,
            });
        }
        if session.uses_topic_ids != uses_topic_ids {
            return Err(BrokerError::FetchSessionTopicId);
        }
        session.epoch.set(next_epoch(expected));
        session.last_used.set(now);
        session.busy.set(true);
        Ok(InUse {
            session: session.clone(),
            finished: Cell::new(false),
        })
    }

    /// Makes a session of that many partitions, if there is room. `random` gives numbers for ids.
    pub(super) fn create(
        &mut self,
        interest: Interest,
        uses_topic_ids: bool,
        now: Instant,
        mut random: impl FnMut() -> u64,
    ) -> Result<Rc<Session>, Box<Interest>> {
        if !self.make_room(interest.len(), now) {
            return Err(Box::new(interest));
        }
        let id = loop {
            let id = self.candidate(random());
            if id > 0 && !self.sessions.contains_key(&id) {
                break id;
            }
        };
        let session = Rc::new(Session {
            id,
            epoch: Cell::new(next_epoch(INITIAL_EPOCH)),
            uses_topic_ids,
            created: now,
            last_used: Cell::new(now),
            busy: Cell::new(false),
            given_up: Cell::new(false),
            interest: RefCell::new(interest),
        });
        self.sessions.insert(id, session.clone());
        Ok(session)
    }

    /// An id of this shard's, out of a random number.
    fn candidate(&self, random: u64) -> i32 {
        let shards = i32::from(self.shards);
        let rows = i32::MAX / shards;
        let row = i32::try_from(random % u64::from(rows.unsigned_abs()))
            .expect("a remainder of an i32 fits");
        row * shards + i32::from(self.shard.0)
    }

    fn make_room(&mut self, partitions: usize, now: Instant) -> bool {
        if self.sessions.len() < self.sessions_max {
            return true;
        }
        let Some(oldest) = self
            .sessions
            .values()
            .min_by_key(|session| session.last_used.get())
        else {
            return false;
        };
        let victim = if now - oldest.last_used.get() > EVICTION {
            Some(oldest.id)
        } else {
            let old_enough = self
                .sessions
                .values()
                .filter(|session| now - session.created > EVICTION);
            old_enough
                .map(|session| {
                    (
                        session.interest.borrow().len(),
                        session.last_used.get(),
                        session.id,
                    )
                })
                .min()
                .filter(|(size, _, _)| *size <= partitions)
                .map(|(_, _, id)| id)
        };
        victim.is_some_and(|id| self.sessions.remove(&id).is_some())
    }

    /// Panics if what must hold does not.
    pub(crate) fn check_invariants(&self) {
        assert!(
            self.sessions.len() <= self.sessions_max,
            "the cache is bounded"
        );
        for (id, session) in &self.sessions {
            assert_eq!(*id, session.id, "a session is kept by its id");
            assert_eq!(
                Self::home(*id, self.shards),
                self.shard,
                "an id tells its shard"
            );
            assert!(
                session.epoch.get() > 0,
                "a session's next epoch is positive"
            );
        }
    }
}

/// After the largest comes 1 again.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
mod tests;

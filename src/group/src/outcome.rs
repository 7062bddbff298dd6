//! What goes into a coordinator besides requests, and what comes out.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::memory::Room;
use crate::reply::Reply;

/// When a step happens, the chance it may need, and the memory: a machine has neither clock nor
/// dice, and others may have a part of its memory.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Time that never jumps; deadlines count in it.
    pub now: Duration,
    /// Milliseconds since the Unix epoch; what records are stamped with.
    pub wall_ms: i64,
    /// An id nobody has had: the end of a new member's id.
    pub fresh: Uuid,
    /// How much more the machine may take.
    pub room: Room,
    /// Nothing can be written: what nobody asked for is put off. Whoever gives the time to a machine
    /// gives it no other requests than those that do not write, and no ticks.
    pub is_full: bool,
}

#[cfg(test)]
impl Moment {
    /// A moment of a machine with room for everything.
    pub(crate) fn at(now: Duration, fresh: impl Into<u128>) -> Moment {
        Moment {
            now,
            wall_ms: 0,
            fresh: Uuid::from_u128(fresh.into()),
            room: Room::UNBOUNDED,
            is_full: false,
        }
    }
}

/// Whom a reply is for: a number that the caller chose and uses once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyTo(pub u64);

/// A record for `__consumer_offsets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Kafka's key: a version that says of what kind, and what it is about.
    pub key: Bytes,
    /// Kafka's value; none is a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    /// Bytes of key and value.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// What one step comes to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// To be appended in this order, all or none, in one batch. The machine is already where they
    /// lead: if they cannot be appended it is thrown away, and read anew from its log.
    pub records: Vec<Record>,
    /// To be sent when everything appended so far is durable, these records included.
    pub replies: Vec<(ReplyTo, Reply)>,
}

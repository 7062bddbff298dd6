//! Large answers that are no fetch: one at a time.
//!
//! How large an answer is is known once it is there, and then it may have to wait for reply memory.
//! So that only one waits while nothing counts it, an answer that may be large is made in its turn:
//! the turn ends when its memory is reserved. There are lines of their own for answers that come
//! from this shard's own image, so that they never wait for a disk or another shard, and for
//! readers that lag, so that who reads does not wait behind who does not.
//!
//! Who holds reply memory never waits for a turn: those who hold can always finish or be closed.
//! Who waits for a turn while somebody waits for memory counts as waiting for memory too.

use std::cell::Cell;

use tailwater_broker::fetch::{HeldReply, ReplyMemory};
use tailwater_shards::sync::{Permit, Semaphore};
use tailwater_wire::Request;

use crate::handlers::metadata;
use crate::limits::{LARGE_REQUEST_BYTES, REPLY_UNCHARGED_BYTES};
use crate::shard::Shard;

/// The lines of a shard, and the memory that all of them lead to.
pub(crate) struct LargeReplies {
    from_image: Line,
    others: Line,
    memory: ReplyMemory,
    /// What the last large answer had: what the next may be expected to want.
    bytes_last: Cell<u64>,
}

struct Line {
    prompt: Semaphore,
    lagging: Semaphore,
}

impl Line {
    fn new() -> Self {
        Self {
            prompt: Semaphore::new(1),
            lagging: Semaphore::new(1),
        }
    }
}

impl LargeReplies {
    pub(crate) fn new(memory: ReplyMemory) -> Self {
        Self {
            from_image: Line::new(),
            others: Line::new(),
            memory,
            bytes_last: Cell::new(REPLY_UNCHARGED_BYTES as u64),
        }
    }

    /// Waits for the turn of a request whose answer may be large; `None` if it cannot be.
    pub(crate) async fn turn(
        &self,
        shard: &Shard,
        request: &Request,
        frame_bytes: usize,
        lags: bool,
    ) -> Option<Permit> {
        let line = match request {
            Request::Metadata(request) if metadata::creates(shard, request) => &self.others,
            Request::Metadata(_)
            | Request::DescribeConfigs(_)
            | Request::DescribeTopicPartitions(_) => &self.from_image,
            // Its answer has all configurations of each topic.
            Request::CreateTopics(_) | Request::DescribeLogDirs(_) => &self.others,
            // As many groups, members and offsets as the coordinators hold.
            Request::OffsetFetch(_)
            | Request::DescribeGroups(_)
            | Request::ConsumerGroupDescribe(_)
            | Request::ListGroups(_) => &self.others,
            _ if frame_bytes > LARGE_REQUEST_BYTES => &self.others,
            _ => return None,
        };
        Some(self.turn_in(line, lags).await)
    }

    /// The turn of an answer that is there already and has yet to be encoded. Who waited for it waited
    /// without a turn.
    pub(crate) async fn turn_of_answer(&self, lags: bool) -> Permit {
        self.turn_in(&self.from_image, lags).await
    }

    async fn turn_in(&self, line: &Line, lags: bool) -> Permit {
        let line = if lags { &line.lagging } else { &line.prompt };
        if let Some(turn) = line.try_acquire(1) {
            return turn;
        }
        let _queued = self.memory.queue(self.bytes_last.get());
        line.acquire(1).await
    }

    /// What an answer may weigh while it is made: as much as one may hold when it is sent.
    pub(crate) fn bytes_max(&self) -> usize {
        usize::try_from(self.memory.reply_bytes_max()).unwrap_or(usize::MAX)
    }

    /// Reply memory for an answer of so many bytes that is there already, if it is large.
    pub(crate) async fn charge(&self, bytes: usize, lags: bool) -> Option<HeldReply> {
        if bytes <= REPLY_UNCHARGED_BYTES {
            return None;
        }
        self.bytes_last.set(bytes as u64);
        Some(self.memory.reserve(bytes as u64, lags).await)
    }
}

//! What every handler of a shard works with.

use std::cell::Cell;
use std::rc::Rc;

use tailwater_broker::Broker;
use tailwater_shards::Stream;
use tailwater_shards::sync::Semaphore;

use crate::admission::Place;
use crate::config::ConnectionLimits;
use crate::connection::{self, Ending, Resources, Scratch};
use crate::identity::Identity;
use crate::limits::{REPLY_MEMORY_DIVISOR, REQUEST_MEMORY_BYTES_MIN, REQUEST_MEMORY_DIVISOR};
use crate::registry::Registry;
use crate::router::Router;

/// One shard's server: its broker, its connections and their memory.
pub(crate) struct Shard {
    pub(crate) broker: Broker,
    pub(crate) identity: Identity,
    pub(crate) registry: Rc<Registry>,
    pub(crate) replies: ReplyMemory,
    request_memory: Semaphore,
    scratch: Scratch,
    limits: ConnectionLimits,
}

impl Shard {
    /// A server on top of `broker` that may use `memory_bytes`.
    pub(crate) fn new(
        broker: Broker,
        identity: Identity,
        limits: ConnectionLimits,
        memory_bytes: u64,
    ) -> Rc<Self> {
        let request_memory = (memory_bytes / REQUEST_MEMORY_DIVISOR).max(REQUEST_MEMORY_BYTES_MIN);
        let request_bytes = usize::try_from(request_memory).unwrap_or(usize::MAX);
        let limits = ConnectionLimits {
            // A frame that could never be let in is refused at once.
            request_bytes_max: limits.request_bytes_max.min(request_bytes),
            ..limits
        };
        Rc::new(Self {
            broker,
            identity,
            registry: Rc::new(Registry::default()),
            replies: ReplyMemory::new(memory_bytes / REPLY_MEMORY_DIVISOR),
            request_memory: Semaphore::new(request_memory),
            scratch: connection::scratch(),
            limits,
        })
    }

    /// Starts what runs beside the connections.
    pub(crate) fn start_sweeping(&self) {
        if let Some(idle_max) = self.limits.idle_max {
            let registry = Rc::clone(&self.registry);
            tailwater_shards::spawn("idle connections", registry.close_idle(idle_max)).detach();
        }
    }

    /// Serves a connection, in a task of its own, until it ends.
    pub(crate) fn serve(self: &Rc<Self>, stream: Stream, place: Place) {
        let shard = Rc::clone(self);
        let connection = async move {
            let _place = place;
            let registered = shard.registry.register();
            let resources = Resources {
                request_memory: shard.request_memory.clone(),
                scratch: Rc::clone(&shard.scratch),
                request_bytes_max: shard.limits.request_bytes_max,
            };
            let peer = stream.peer_addr().ok();
            let shown = peer.map(tracing::field::display);
            let router = Router::new(Rc::clone(&shard), peer);
            let ending = connection::serve(stream, registered.control(), resources, &router).await;
            match ending {
                Ending::ByPeer | Ending::Drained => {
                    tracing::trace!(peer = shown, "connection ended: {ending}");
                }
                _ => tracing::debug!(peer = shown, "connection closed: {ending}"),
            }
        };
        tailwater_shards::spawn("connection", connection).detach();
    }
}

/// Bytes of fetched records that wait in replies of this shard's connections.
///
/// At the bound a fetch is cut to its first batch, so that each further reader adds one batch at
/// most; readers that do not take what they asked for are closed by the connection.
pub(crate) struct ReplyMemory {
    bytes_max: u64,
    bytes: Rc<Cell<u64>>,
}

impl ReplyMemory {
    fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            bytes: Rc::default(),
        }
    }

    /// What a fetch that asks for `wanted` bytes may have now; 0 still means one batch. The broker
    /// keeps it within `fetch.max.bytes`.
    pub(crate) fn allow(&self, wanted: i32) -> i32 {
        let free = self.bytes_max.saturating_sub(self.bytes.get());
        wanted.min(i32::try_from(free).unwrap_or(i32::MAX))
    }

    /// Counts bytes until the result is dropped.
    pub(crate) fn hold(&self, bytes: u64) -> HeldReply {
        self.bytes.set(self.bytes.get() + bytes);
        HeldReply {
            bytes,
            total: Rc::clone(&self.bytes),
        }
    }
}

/// Bytes of one reply, counted until it has been sent.
#[derive(Debug)]
pub(crate) struct HeldReply {
    bytes: u64,
    total: Rc<Cell<u64>>,
}

impl Drop for HeldReply {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_that_wait_to_be_sent_cut_the_fetches_after_them() {
        let memory = ReplyMemory::new(1_000_000);
        assert_eq!(memory.allow(i32::MAX), 1_000_000);
        let first = memory.hold(400_000);
        let second = memory.hold(700_000);
        assert_eq!(memory.allow(500), 0, "one batch");
        drop(first);
        assert_eq!(memory.allow(500), 500);
        assert_eq!(memory.allow(i32::MAX), 300_000);
        drop(second);
        assert_eq!(memory.allow(i32::MAX), 1_000_000);
    }
}

//! What every handler of a shard works with.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use tailwater_broker::Broker;
use tailwater_broker::fetch::ReplyMemory;
use tailwater_shards::Stream;

use crate::admission::Place;
use crate::config::ConnectionLimits;
use crate::connection::{self, Ending, Resources, Scratch};
use crate::identity::Identity;
use crate::large_replies::LargeReplies;
use crate::limits::REPLY_MEMORY_DIVISOR;
use crate::registry::Registry;
use crate::request_memory::RequestMemory;
use crate::router::Router;
use crate::slow_readers::SlowReaders;
use crate::slow_senders;
use crate::turns::Turns;

/// One shard's server: its broker, its connections and their memory. Clones have the same.
#[derive(Clone)]
pub(crate) struct Shard {
    pub(crate) broker: Broker,
    pub(crate) identity: Identity,
    pub(crate) registry: Rc<Registry>,
    replies: ReplyMemory,
    pub(crate) large_replies: Rc<LargeReplies>,
    slow: Rc<SlowReaders>,
    request_memory: RequestMemory,
    scratch: Scratch,
    turns: Rc<Turns>,
    limits: ConnectionLimits,
}

impl Shard {
    /// A server on top of `broker` that may use `memory_bytes`, of it `request_memory_bytes` for
    /// requests.
    pub(crate) fn new(
        broker: Broker,
        identity: Identity,
        limits: ConnectionLimits,
        request_memory_bytes: u64,
        memory_bytes: u64,
    ) -> Rc<Self> {
        let replies = broker.bound_replies(memory_bytes / REPLY_MEMORY_DIVISOR);
        Rc::new(Self {
            broker,
            identity,
            registry: Rc::new(Registry::default()),
            large_replies: Rc::new(LargeReplies::new(replies.clone())),
            replies,
            slow: Rc::default(),
            request_memory: RequestMemory::new(request_memory_bytes),
            scratch: connection::scratch(),
            turns: Turns::start(),
            limits,
        })
    }

    /// The same server for connections of the shard's own port: it answers for this shard alone.
    pub(crate) fn direct(&self) -> Self {
        Self {
            broker: self.broker.direct(),
            ..self.clone()
        }
    }

    /// Starts what runs beside the connections.
    pub(crate) fn start_sweeping(&self) {
        let slow = Rc::clone(&self.slow).watch(self.replies.clone());
        tailwater_shards::spawn("slow readers", slow).detach();
        let senders = slow_senders::watch(Rc::clone(&self.registry), self.request_memory.clone());
        tailwater_shards::spawn("slow senders", senders).detach();
        let unfinished = slow_senders::close_unfinished(Rc::clone(&self.registry));
        tailwater_shards::spawn("unfinished frames", unfinished).detach();
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
                slow: Rc::clone(&shard.slow),
                turns: Rc::clone(&shard.turns),
            };
            let stream = Rc::new(stream);
            let peer = stream.peer_addr().ok();
            let shown = peer.map(tracing::field::display);
            let router = Router::new(Rc::clone(&shard), peer, Rc::clone(&stream));
            // One whose address cannot be told is gone already.
            let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
            let control = registered.control();
            let ending = connection::serve(stream, address, control, resources, &router).await;
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

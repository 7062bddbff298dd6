//! What a shard has of one other: a ring out, a ring in, and the other's wake cell.

use super::cache_line::CacheLine;
use super::reply::ReplySlot;
use super::ring::{Consumer, Producer, ring};
use super::sync::Arc;
use super::wake_cell::WakeCell;
use crate::ShardId;

/// What travels in a ring: the requests of one shard, and its replies to the other's.
pub(super) enum Message<Q, A> {
    Request(ReplySlot, Q),
    Reply(ReplySlot, A),
    /// Instead of a reply: the handler panicked or was ended.
    NoReply(ReplySlot),
}

/// The wake cell of a shard.
pub(super) type Bell = Arc<CacheLine<WakeCell>>;

/// See the module. Closed when dropped.
pub(super) struct Link<Q, A> {
    pub(super) peer: ShardId,
    out: Producer<Message<Q, A>>,
    inbox: Consumer<Message<Q, A>>,
    /// The peer's.
    bell: Bell,
}

impl<Q, A> Link<Q, A> {
    fn new(
        peer: u16,
        out: Producer<Message<Q, A>>,
        inbox: Consumer<Message<Q, A>>,
        bell: &Bell,
    ) -> Link<Q, A> {
        Link {
            peer: ShardId(peer),
            out,
            inbox,
            bell: Arc::clone(bell),
        }
    }

    /// Panics if the ring is full: the credits see to it that it never is.
    /// True if it had to wake the peer.
    pub(super) fn push(&self, message: Message<Q, A>) -> bool {
        if self.out.push(message).is_err() {
            unreachable!("a credit reserves a slot for a request and one for its reply");
        }
        self.bell.ring()
    }

    pub(super) fn pop(&self) -> Option<Message<Q, A>> {
        self.inbox.pop()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    /// The peer has closed its end, and all it had sent has been popped.
    pub(super) fn is_finished(&self) -> bool {
        self.inbox.is_finished()
    }

    /// Tells the peer that nothing follows, and drops what it has sent. May be repeated.
    pub(super) fn close(&self) {
        self.out.close();
        self.bell.ring();
        while let Some(message) = self.inbox.pop() {
            drop(message);
        }
    }
}

impl<Q, A> Drop for Link<Q, A> {
    fn drop(&mut self) {
        self.close();
    }
}

/// What one shard has of the mesh.
pub(super) struct Links<Q, A> {
    /// By which it is woken.
    pub(super) bell: Bell,
    /// One for each other shard, in their order.
    pub(super) links: Vec<Link<Q, A>>,
}

/// Joins each shard with each other. A ring holds `requests` requests of one side and the replies
/// to as many of the other's.
pub(super) fn links<Q, A>(shards: u16, requests: usize) -> Vec<Links<Q, A>> {
    let unlinked = || Links {
        bell: Arc::new(CacheLine(WakeCell::new())),
        links: Vec::new(),
    };
    let mut all: Vec<Links<Q, A>> = (0..shards).map(|_| unlinked()).collect();
    for high in 0..shards {
        for low in 0..high {
            let (low_out, high_inbox) = ring(requests * 2);
            let (high_out, low_inbox) = ring(requests * 2);
            let (at_low, at_high) = (usize::from(low), usize::from(high));
            let to_high = Link::new(high, low_out, low_inbox, &all[at_high].bell);
            let to_low = Link::new(low, high_out, high_inbox, &all[at_low].bell);
            all[at_low].links.push(to_high);
            all[at_high].links.push(to_low);
        }
    }
    all
}

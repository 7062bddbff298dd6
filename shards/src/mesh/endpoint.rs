//! A shard's end of the mesh: all that its handles and its drain task share.
//!
//! Single-threaded. Invariants: what is under way to a peer is covered by a credit of that peer's;
//! nothing here is borrowed while a handler, a waker or a destructor of a message runs, for each of
//! them may come back with a send.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::future::LocalBoxFuture;

use super::credits::Credits;
use super::link::{Bell, Link, Links, Message};
use super::reply::{MeshClosed, PendingReply, Replies, ReplySlot};
use super::wake_cell::WakeCell;
use crate::{ShardId, spawn, task};

/// The name of the tasks that finish what a handler could not answer at once.
const TASK_NAME: &str = "mesh request";

/// What a handler answers: see [`Mesh::serve_answers`](super::Mesh::serve_answers).
pub enum Answer<A> {
    /// The reply itself: nothing is allocated, nothing is spawned.
    Now(A),
    /// Polled once in place, and spawned if it is pending then.
    Later(LocalBoxFuture<'static, A>),
}

/// What this shard has counted since it attached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MeshStats {
    /// Requests and replies sent to other shards.
    pub messages_sent: u64,
    /// How many of them had to wake the other shard.
    pub wakes: u64,
    /// How often a request had to wait for a credit.
    pub credit_waits: u64,
}

type Handler<Q, A> = Rc<dyn Fn(ShardId, Q) -> Answer<A>>;

/// See the module.
pub(super) struct Endpoint<Q, A> {
    pub(super) me: ShardId,
    peers: Vec<Peer<Q, A>>,
    bell: Bell,
    replies: Rc<Replies<A>>,
    handler: RefCell<Option<Handler<Q, A>>>,
    /// Requests that came before there was a handler; as many as the peers have credits.
    unserved: RefCell<VecDeque<(ShardId, ReplySlot, Q)>>,
    messages_sent: Cell<u64>,
    wakes: Cell<u64>,
    closed: Cell<bool>,
}

pub(super) struct Peer<Q, A> {
    pub(super) link: Link<Q, A>,
    credits: Credits,
}

impl<Q, A> Peer<Q, A> {
    /// Its end has been noticed.
    pub(super) fn is_lost(&self) -> bool {
        self.credits.is_closed()
    }
}

impl<Q: 'static, A: 'static> Endpoint<Q, A> {
    pub(super) fn new(me: ShardId, links: Links<Q, A>, capacity: usize) -> Self {
        let peer = |link| Peer {
            link,
            credits: Credits::new(capacity),
        };
        Endpoint {
            me,
            peers: links.links.into_iter().map(peer).collect(),
            bell: links.bell,
            replies: Replies::new(),
            handler: RefCell::new(None),
            unserved: RefCell::new(VecDeque::new()),
            messages_sent: Cell::new(0),
            wakes: Cell::new(0),
            closed: Cell::new(false),
        }
    }

    pub(super) fn peers(&self) -> &[Peer<Q, A>] {
        &self.peers
    }

    pub(super) fn shards(&self) -> u16 {
        u16::try_from(self.peers.len() + 1).expect("shards are counted in u16")
    }

    pub(super) fn bell(&self) -> &WakeCell {
        &self.bell
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    pub(super) fn stats(&self) -> MeshStats {
        MeshStats {
            messages_sent: self.messages_sent.get(),
            wakes: self.wakes.get(),
            credit_waits: self.peers.iter().map(|peer| peer.credits.waits()).sum(),
        }
    }

    #[cfg(test)]
    pub(super) fn replies_in_use(&self) -> usize {
        self.replies.entries_in_use()
    }

    /// None for this shard itself. Panics if there is no such shard.
    fn peer(&self, shard: ShardId) -> Option<&Peer<Q, A>> {
        assert!(shard.0 < self.shards(), "{shard} of {}", self.shards());
        // Peers stand in order, with a gap where we would be.
        let index = match shard.cmp(&self.me) {
            std::cmp::Ordering::Less => shard.0,
            std::cmp::Ordering::Equal => return None,
            std::cmp::Ordering::Greater => shard.0 - 1,
        };
        Some(&self.peers[usize::from(index)])
    }

    /// Hands `q` to the handler of `to`, having waited for a credit.
    pub(super) async fn send(self: &Rc<Self>, to: ShardId, q: Q) -> PendingReply<A> {
        match self.peer(to) {
            None => self.send_to_self(q),
            Some(peer) => match peer.credits.take().await {
                Ok(()) => self.send_with_credit(peer, q),
                Err(_closed) => self.replies.closed(),
            },
        }
    }

    pub(super) fn try_send(self: &Rc<Self>, to: ShardId, q: Q) -> Result<PendingReply<A>, Q> {
        match self.peer(to) {
            None => Ok(self.send_to_self(q)),
            Some(peer) if peer.credits.is_closed() => Ok(self.replies.closed()),
            Some(peer) if peer.credits.try_take() => Ok(self.send_with_credit(peer, q)),
            Some(_) => Err(q),
        }
    }

    fn send_with_credit(&self, peer: &Peer<Q, A>, q: Q) -> PendingReply<A> {
        let (slot, reply) = self.replies.expect(peer.link.peer);
        self.push(peer, Message::Request(slot, q));
        reply
    }

    /// A call of our own handler: no ring, no credit. What it holds is its caller's to bound.
    fn send_to_self(self: &Rc<Self>, q: Q) -> PendingReply<A> {
        if self.is_closed() {
            return self.replies.closed();
        }
        let (slot, reply) = self.replies.expect(self.me);
        self.handle_request(self.me, slot, q);
        reply
    }

    fn push(&self, peer: &Peer<Q, A>, message: Message<Q, A>) {
        if self.is_closed() {
            return;
        }
        let woke = peer.link.push(message);
        self.messages_sent.set(self.messages_sent.get() + 1);
        self.wakes.set(self.wakes.get() + u64::from(woke));
    }

    /// From now on `handler` gets the requests, first those that came before it.
    pub(super) fn serve(self: &Rc<Self>, handler: Handler<Q, A>) {
        assert!(
            self.handler.borrow().is_none(),
            "a shard serves the mesh once"
        );
        // Set only afterwards, so that what comes meanwhile queues behind what came before.
        loop {
            let next = self.unserved.borrow_mut().pop_front();
            let Some((from, slot, q)) = next else { break };
            self.run_handler(&handler, from, slot, q);
        }
        if !self.is_closed() {
            *self.handler.borrow_mut() = Some(handler);
        }
    }

    pub(super) fn handle(self: &Rc<Self>, peer: &Peer<Q, A>, message: Message<Q, A>) {
        let from = peer.link.peer;
        match message {
            Message::Request(slot, q) => self.handle_request(from, slot, q),
            Message::Reply(slot, a) => {
                peer.credits.give_back();
                self.replies.arrive(from, slot, Ok(a));
            }
            Message::NoReply(slot) => {
                peer.credits.give_back();
                self.replies.arrive(from, slot, Err(MeshClosed));
            }
        }
    }

    fn handle_request(self: &Rc<Self>, from: ShardId, slot: ReplySlot, q: Q) {
        let handler = self.handler.borrow().clone();
        match handler {
            Some(handler) => self.run_handler(&handler, from, slot, q),
            None => self.unserved.borrow_mut().push_back((from, slot, q)),
        }
    }

    fn run_handler(self: &Rc<Self>, handler: &Handler<Q, A>, from: ShardId, slot: ReplySlot, q: Q) {
        let debt = Debt {
            endpoint: Rc::clone(self),
            from,
            slot,
            paid: false,
        };
        let answered = catch_unwind(AssertUnwindSafe(|| match handler(from, q) {
            Answer::Now(reply) => Ok(reply),
            Answer::Later(mut future) => {
                // If it is pending, its own task polls it again at once: nobody need be woken.
                let mut cx = Context::from_waker(Waker::noop());
                match future.as_mut().poll(&mut cx) {
                    Poll::Ready(reply) => Ok(reply),
                    Poll::Pending => Err(future),
                }
            }
        }));
        match answered {
            Ok(Ok(reply)) => debt.pay(reply),
            Ok(Err(future)) => spawn(TASK_NAME, async move { debt.pay(future.await) }).detach(),
            // Logged and counted; the debt's destructor tells the caller.
            Err(payload) => drop(task::caught(TASK_NAME, payload)),
        }
    }

    fn answer(&self, to: ShardId, slot: ReplySlot, reply: Result<A, MeshClosed>) {
        let Some(peer) = self.peer(to) else {
            if !self.is_closed() {
                self.replies.arrive(to, slot, reply);
            }
            return;
        };
        self.push(
            peer,
            match reply {
                Ok(reply) => Message::Reply(slot, reply),
                Err(MeshClosed) => Message::NoReply(slot),
            },
        );
    }

    /// The peer has closed its end: whoever waits for it, or for a credit of its, goes without.
    pub(super) fn lose(&self, peer: &Peer<Q, A>) {
        if !peer.credits.is_closed() {
            peer.credits.close();
            self.replies.fail_all(peer.link.peer);
        }
    }

    /// Ends this shard's part in the mesh: every peer learns of it, all that is owed fails.
    pub(super) fn close(&self) {
        if self.closed.replace(true) {
            return;
        }
        for peer in &self.peers {
            peer.link.close();
            self.lose(peer);
        }
        self.replies.fail_all(self.me);
        let handler = self.handler.borrow_mut().take();
        let unserved = std::mem::take(&mut *self.unserved.borrow_mut());
        drop((handler, unserved));
        // SAFETY: an endpoint stays on its shard and is the only one that sleeps by this bell.
        let drain = unsafe { self.bell.retire() };
        // If it sleeps, it learns of the end.
        if let Some(drain) = drain {
            drain.wake();
        }
    }
}

/// A reply that we owe. Dropped unpaid (a panic, a cancelled task), it tells the caller so.
struct Debt<Q: 'static, A: 'static> {
    endpoint: Rc<Endpoint<Q, A>>,
    from: ShardId,
    slot: ReplySlot,
    paid: bool,
}

impl<Q, A> Debt<Q, A> {
    fn pay(mut self, reply: A) {
        self.paid = true;
        self.endpoint.answer(self.from, self.slot, Ok(reply));
    }
}

impl<Q, A> Drop for Debt<Q, A> {
    fn drop(&mut self) {
        if !self.paid {
            self.endpoint.answer(self.from, self.slot, Err(MeshClosed));
        }
    }
}

//! The task that empties a shard's inbound rings, always: also while the outbound ones are full.
//!
//! It never waits for anything but messages: a request that cannot be answered at once goes on in a
//! task of its own, and a reply has its slot. So two shards that fill each other's rings both go on.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::endpoint::Endpoint;
use super::look_on::LookOn;
use crate::{now, task};

/// Messages handled from one peer before the next peer's turn.
const TURN_MESSAGES: usize = 32;

/// Messages handled before the shard's other tasks have their turn.
const POLL_MESSAGES: usize = 256;

/// How long messages are handled before the shard's other tasks, its sockets and its files have
/// their turn: one message may carry much.
const POLL_MAX: Duration = Duration::from_micros(250);

/// Ends when the mesh was closed on this shard; dropped before, it closes it.
pub(super) struct Drain<Q: 'static, A: 'static> {
    endpoint: Rc<Endpoint<Q, A>>,
    look_on: LookOn,
}

impl<Q, A> Drain<Q, A> {
    /// For the current shard.
    pub(super) fn new(endpoint: Rc<Endpoint<Q, A>>) -> Drain<Q, A> {
        Drain {
            endpoint,
            look_on: LookOn::here(),
        }
    }

    /// One turn for each peer, of one message at least. How many messages there were.
    fn turn(&self) -> usize {
        let mut handled = 0;
        let peers = self.endpoint.peers();
        let share = POLL_MAX / u32::try_from(peers.len().max(1)).unwrap_or(u32::MAX);
        for peer in peers {
            let began = now();
            for _ in 0..TURN_MESSAGES {
                if now() - began >= share {
                    break;
                }
                let Some(message) = peer.link.pop() else {
                    break;
                };
                self.endpoint.handle(peer, message);
                handled += 1;
            }
            if peer.link.is_finished() {
                self.endpoint.lose(peer);
            }
        }
        handled
    }

    /// Nothing to pop, and no peer's end to be noticed.
    fn is_idle(&self) -> bool {
        let mut peers = self.endpoint.peers().iter();
        peers.all(|peer| peer.link.is_empty() && (peer.is_lost() || !peer.link.is_finished()))
    }

    /// Nothing was found: looks on, or sleeps. False if something has come meanwhile.
    fn rest(&mut self, cx: &mut Context<'_>) -> bool {
        if self.look_on.again(cx) {
            return true;
        }
        // SAFETY: this shard's one drain task is the sleeper of its bell.
        unsafe { self.endpoint.bell().announce(cx.waker()) };
        self.is_idle()
    }
}

impl<Q, A> Unpin for Drain<Q, A> {}

impl<Q, A> Future for Drain<Q, A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let mut handled = 0;
        let began = now();
        while !this.endpoint.is_closed() {
            // SAFETY: this shard's one drain task is the sleeper of its bell.
            unsafe { this.endpoint.bell().rise() };
            let count = this.turn();
            handled += count;
            if count > 0 {
                this.look_on.had_some();
            } else if !this.endpoint.is_closed() && this.rest(cx) {
                if handled == 0 {
                    task::looked_on();
                }
                return Poll::Pending;
            }
            if handled >= POLL_MESSAGES || (count > 0 && now() - began >= POLL_MAX) {
                task::wake_after_io(cx);
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl<Q, A> Drop for Drain<Q, A> {
    fn drop(&mut self) {
        self.endpoint.close();
    }
}

//! What the code of a shard holds of the mesh.

use std::fmt;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::endpoint::{Answer, Endpoint, MeshStats};
use super::reply::{MeshClosed, PendingReply};
use crate::{ShardId, Task};

/// This shard's handle of the mesh. When the last clone is dropped, or after [`close`](Self::close),
/// the shard is gone from it. A handler that owns a clone keeps it: close it then.
pub struct Mesh<Q: 'static, A: 'static> {
    pub(super) handle: Rc<Handle<Q, A>>,
}

pub(super) struct Handle<Q: 'static, A: 'static> {
    endpoint: Rc<Endpoint<Q, A>>,
    _drain: Task<()>,
}

#[cfg(test)]
impl<Q: 'static, A: 'static> Handle<Q, A> {
    pub(super) fn replies_in_use(&self) -> usize {
        self.endpoint.replies_in_use()
    }
}

impl<Q, A> Drop for Handle<Q, A> {
    fn drop(&mut self) {
        self.endpoint.close();
    }
}

impl<Q, A> Clone for Mesh<Q, A> {
    fn clone(&self) -> Self {
        Mesh {
            handle: Rc::clone(&self.handle),
        }
    }
}

impl<Q: 'static, A: 'static> Mesh<Q, A> {
    pub(super) fn new(endpoint: Rc<Endpoint<Q, A>>, drain: Task<()>) -> Mesh<Q, A> {
        let handle = Handle {
            endpoint,
            _drain: drain,
        };
        Mesh {
            handle: Rc::new(handle),
        }
    }

    /// Sends `q` to `to` and returns as soon as it is on its way; waits for a credit if there is
    /// none, in the order of the first polls. To this shard itself it is a direct call of the
    /// handler, which takes no credit.
    ///
    /// To a shard that is gone, the reply is [`MeshClosed`]. Panics if there is no such shard.
    pub async fn send(&self, to: ShardId, q: Q) -> PendingReply<A> {
        self.handle.endpoint.send(to, q).await
    }

    /// As [`send`](Self::send), but gives `q` back when there is no credit, or others wait for one.
    pub fn try_send(&self, to: ShardId, q: Q) -> Result<PendingReply<A>, Q> {
        self.handle.endpoint.try_send(to, q)
    }

    /// Sends `q` to `to` and awaits the reply.
    pub async fn call(&self, to: ShardId, q: Q) -> Result<A, MeshClosed> {
        self.handle.endpoint.send(to, q).await.await
    }

    /// Hands all requests to `handler`, with the shard each is from. What the handler does before
    /// it returns runs in the order of the ring, as does its future's first poll; a future that is
    /// pending then goes on in a task of its own. A panic is logged, and its caller gets
    /// [`MeshClosed`].
    ///
    /// Requests that came before are kept and handled now. Panics when called twice.
    pub fn serve(&self, handler: impl Fn(ShardId, Q) -> LocalBoxFuture<'static, A> + 'static) {
        self.serve_answers(move |from, q| Answer::Later(handler(from, q)));
    }

    /// As [`serve`](Self::serve), for handlers which often have the reply at once: [`Answer::Now`]
    /// allocates nothing.
    pub fn serve_answers(&self, handler: impl Fn(ShardId, Q) -> Answer<A> + 'static) {
        self.handle.endpoint.serve(Rc::new(handler));
    }

    /// The shard this handle is of.
    pub fn shard(&self) -> ShardId {
        self.handle.endpoint.me
    }

    /// How many shards the mesh joins.
    pub fn shards(&self) -> u16 {
        self.handle.endpoint.shards()
    }

    /// What this shard has counted.
    pub fn stats(&self) -> MeshStats {
        self.handle.endpoint.stats()
    }

    /// Leaves the mesh: requests not yet handled are dropped, whoever awaits us gets
    /// [`MeshClosed`], and so does whoever awaits another here. Handlers under way go on.
    pub fn close(&self) {
        self.handle.endpoint.close();
    }
}

impl<Q, A> fmt::Debug for Mesh<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mesh")
            .field("shard", &self.handle.endpoint.me)
            .finish_non_exhaustive()
    }
}

//! How far a request reaches: to every shard, or to the one that has its connection; and the way
//! to other shards.

use crate::broker::Inner;
use crate::messages::{ShardReply, ShardRequest};
use tailwater_shards::{Counter, MeshClosed, PendingReply, ShardId, count};
use tailwater_storage::TopicPartition;

/// How far requests reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What other shards own is asked of them.
    All,
    /// What other shards own is refused: who asks is to ask them.
    Own,
}

impl Reach {
    /// Whether what that shard owns is within reach on this one.
    pub(crate) fn covers(self, broker: &Inner, owner: ShardId) -> bool {
        self == Self::All || owner == broker.shard
    }

    /// As [`Reach::covers`], of a partition.
    pub(crate) fn covers_partition(self, broker: &Inner, tp: TopicPartition) -> bool {
        self.covers(broker, broker.owner(tp))
    }
}

impl Inner {
    /// Sends to another shard, or asks this one; returns when it is on its way. What clients ask
    /// of other shards is counted here and nowhere else.
    pub(crate) async fn send(
        &self,
        to: ShardId,
        request: ShardRequest,
    ) -> PendingReply<ShardReply> {
        if to != self.shard && request.is_of_client() {
            count(Counter::MeshRequests);
        }
        self.mesh.send(to, request).await
    }

    /// As [`Inner::send`], and awaits the reply.
    pub(crate) async fn call(
        &self,
        to: ShardId,
        request: ShardRequest,
    ) -> Result<ShardReply, MeshClosed> {
        self.send(to, request).await.await
    }
}

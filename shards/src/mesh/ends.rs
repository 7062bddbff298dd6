//! The ends of a mesh, made together and then carried each to its shard.

use std::fmt;
use std::rc::Rc;

use super::drain::Drain;
use super::endpoint::Endpoint;
use super::handle::Mesh;
use super::link::{Links, links};
use crate::{ShardId, shard, spawn};

/// A mesh between `shards` shards for requests `Q` and replies `A`: one end for each, in order.
///
/// A shard has at most `capacity` requests under way to each other shard. A ring has
/// `2 * capacity` slots (rounded up to a power of two) of the larger of `Q` and `A`, and there are
/// `shards * (shards - 1)` rings; their memory is touched only as it is used.
pub fn mesh<Q: Send + 'static, A: Send + 'static>(
    shards: u16,
    capacity: usize,
) -> Vec<MeshEnds<Q, A>> {
    assert!(capacity > 0, "without credits nothing can be asked");
    let end = |(index, links)| MeshEnds {
        me: ShardId(index),
        links,
        capacity,
    };
    (0..shards).zip(links(shards, capacity)).map(end).collect()
}

/// One shard's end of a mesh, on its way there. Dropped unattached, that shard is gone from it.
pub struct MeshEnds<Q, A> {
    me: ShardId,
    links: Links<Q, A>,
    capacity: usize,
}

impl<Q: Send + 'static, A: Send + 'static> MeshEnds<Q, A> {
    /// Whose end it is.
    pub fn shard(&self) -> ShardId {
        self.me
    }

    /// Starts the drain task on the shard whose end it is. Panics on another.
    pub fn attach(self) -> Mesh<Q, A> {
        assert_eq!(self.me, shard(), "an end of the mesh belongs to one shard");
        let endpoint = Rc::new(Endpoint::new(self.me, self.links, self.capacity));
        let drain = Drain::new(Rc::clone(&endpoint));
        Mesh::new(endpoint, spawn("mesh drain", drain))
    }
}

impl<Q, A> fmt::Debug for MeshEnds<Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshEnds")
            .field("shard", &self.me)
            .finish_non_exhaustive()
    }
}

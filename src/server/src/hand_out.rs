//! Things made before the shards run, each taken by its shard.

use std::sync::{Mutex, PoisonError};

use tailwater_shards::ShardId;

/// One thing for each shard. Used at the boot only, so its lock is never waited for later.
pub(crate) struct HandOut<T> {
    places: Mutex<Vec<Option<T>>>,
}

impl<T> HandOut<T> {
    /// `things` are for the shards in their order.
    pub(crate) fn new(things: impl IntoIterator<Item = T>) -> Self {
        Self {
            places: Mutex::new(things.into_iter().map(Some).collect()),
        }
    }

    /// The shard's thing, the first time it asks.
    pub(crate) fn take(&self, shard: ShardId) -> Option<T> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.get_mut(usize::from(shard.0)).and_then(Option::take)
    }
}

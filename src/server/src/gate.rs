//! A gate that opens for all shards once every one of them has come to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tailwater_shards::{Shutdown, timeout};

/// Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    missing: Arc<AtomicUsize>,
    open: Shutdown,
}

impl Gate {
    /// A gate for that many shards.
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            missing: Arc::new(AtomicUsize::new(usize::from(shards))),
            open: Shutdown::new(),
        }
    }

    /// Comes to the gate, once for each shard, and waits until all have. A shard that never comes
    /// keeps the others for no longer than `within`.
    pub(crate) async fn pass(&self, within: Duration) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.open.trigger();
        }
        // Late or not, this shard goes on.
        let _opened = timeout(within, self.open.triggered()).await;
    }
}

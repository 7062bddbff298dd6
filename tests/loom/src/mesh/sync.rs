//! Loom's side of `shards/src/mesh/sync.rs`.

pub(super) use loom::cell::UnsafeCell;
pub(super) use loom::sync::Arc;
pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// Loom runs another thread before it comes back here.
pub(super) fn relax() {
    loom::thread::yield_now();
}

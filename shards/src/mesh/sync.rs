//! The primitives under the lock-free parts of the mesh.
//!
//! `ring`, `wake_cell` and `ready_set` name nothing from `std::sync` or `std::cell` but through
//! this module. The package `tailwater-loom` includes the same files beside a `sync` of its own,
//! which puts loom's primitives in their place.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

/// `std::cell::UnsafeCell` with the accessors of loom's, which lets loom see each access.
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) const fn new(value: T) -> UnsafeCell<T> {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// For reading: any number of threads may be inside at once.
    pub(super) fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
        access(self.0.get())
    }

    /// For writing: one thread alone may be inside.
    pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// Lets another thread go on: called only where that thread is about to finish a few
/// instructions, or one wake.
pub(super) fn relax() {
    std::thread::yield_now();
}

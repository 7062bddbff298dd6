//! Keeps what different cores write on different cache lines.

use std::ops::Deref;

/// A value with cache lines of its own. 128 bytes, because the prefetcher of current x86 cores
/// fetches lines in pairs.
#[repr(align(128))]
pub(super) struct CacheLine<T>(pub(super) T);

impl<T> Deref for CacheLine<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

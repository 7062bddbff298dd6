//! Which thread this is.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names a thread that a shard runs, or has run, on. Ids are never used twice, unlike a thread's
/// addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ThreadMark(u64);

thread_local! {
    static MARK: Cell<u64> = const { Cell::new(0) };
}

impl ThreadMark {
    /// This thread's mark, made at the first call on it.
    pub(crate) fn of_this_thread() -> ThreadMark {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        MARK.with(|mark| {
            if mark.get() == 0 {
                mark.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            ThreadMark(mark.get())
        })
    }

    /// Whether the caller runs on the marked thread.
    pub(crate) fn is_here(self) -> bool {
        MARK.try_with(|mark| mark.get() == self.0).unwrap_or(false)
    }
}

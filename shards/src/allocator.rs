//! What the C library's allocator is told, once a process.
//!
//! By itself glibc raises the size from which it gives memory back to up to 32 MiB, and what it
//! keeps to twice that: buffers of commits and cold reads then stay in the arenas of the shards'
//! threads, and a process that held much once weighs as much for ever. With its first values,
//! 128 KiB for both, an arena's end is given back and asked for again with each commit: up to a fifth
//! of the throughput. What lies between was measured: docs/decisions/reply-memory.md.

mod recycling;

use std::ffi::c_int;

pub use recycling::Recycling;
pub(crate) use recycling::keep_buffers;

/// Allocations of this size and more are given back to the kernel when they are freed.
const GIVEN_BACK_BYTES: c_int = 128 * 1024;

/// What an arena keeps at its end at most before it is given back.
const KEPT_BYTES: c_int = 8 * 1024 * 1024;

/// Has large allocations given back when they are freed, and of small ones what is much.
pub(crate) fn give_back_large() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (what, bytes) in [
        (libc::M_MMAP_THRESHOLD, GIVEN_BACK_BYTES),
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
    ] {
        // SAFETY: it takes two numbers, and may be called at any time.
        let taken = unsafe { libc::mallopt(what, bytes) };
        if taken == 0 {
            tracing::debug!("the allocator keeps its own threshold");
        }
    }
}

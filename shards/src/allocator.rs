//! What the C library's allocator is told, once a process.

/// Allocations of this size and more are given back to the kernel when they are freed. That is
/// glibc's own first value, which it would raise to 32 MiB by itself: buffers of commits and cold
/// reads then stay in the arenas of the shards' threads, and a process that held much once weighs
/// as much for ever. See docs/decisions/reply-memory.md for what that came to.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const GIVEN_BACK_BYTES: std::ffi::c_int = 128 * 1024;

/// Has large allocations given back when they are freed. Costs nothing but the faults of their
/// pages; smaller ones are not affected.
pub(crate) fn give_back_large() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes two numbers, and may be called at any time.
        let taken = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, GIVEN_BACK_BYTES) };
        if taken == 0 {
            tracing::debug!("the allocator keeps its own threshold");
        }
    }
}

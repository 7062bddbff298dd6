//! The memory barriers by which glommio's threads wake each other (`membarrier`).
//!
//! A process registers for them once. glommio does it when its first executor parks; by then there
//! are several threads, and the kernel makes them wait for a grace period, some 5 to 15 ms of a
//! start. With one thread it waits for nothing, and a second registration costs nothing.

use std::ffi::c_long;

/// Registers the process, which should have one thread still. Without membarrier glommio has a way
/// of its own, so a failure is no matter.
pub(crate) fn register() {
    // SAFETY: it takes two numbers and no memory, and may be called at any time.
    let outcome: c_long = unsafe {
        libc::syscall(
            libc::SYS_membarrier,
            libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
            0,
        )
    };
    if outcome < 0 {
        tracing::debug!("the kernel registers nobody for memory barriers");
    }
}

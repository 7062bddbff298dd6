//! Locked memory: what glommio and the kernel demand of RLIMIT_MEMLOCK.
//!
//! Registered memory counts against the limit, and so do the rings themselves (on kernels
//! before 5.12, and again on recent ones), over all processes of the user.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::boot::BootError;

/// glommio refuses to start below this, also for those whom the limit does not bind (root).
const FLOOR_BYTES: u64 = 512 * 1024;

/// Three rings of 128 entries, and 64 KiB registered with each.
const SHARD_BYTES: u64 = 256 * 1024;

/// Raises the soft limit if it is too low for `shards`, and says what is missing if that is
/// not enough.
pub(crate) fn ensure(shards: usize) -> Result<(), BootError> {
    ensure_with(shards, getrlimit(Resource::Memlock), |limit| {
        setrlimit(Resource::Memlock, limit).is_ok()
    })
}

/// What the limit has to allow for that many shards.
pub(crate) fn needed_bytes(shards: usize) -> u64 {
    FLOOR_BYTES.max(SHARD_BYTES.saturating_mul(shards as u64))
}

/// As [`ensure`], with `set` to try a new limit.
fn ensure_with(shards: usize, now: Rlimit, set: impl Fn(Rlimit) -> bool) -> Result<(), BootError> {
    let needed_bytes = needed_bytes(shards);
    // None is no limit at all.
    if now.current.is_none_or(|soft| soft >= needed_bytes) {
        return Ok(());
    }
    let to_hard = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    if now.maximum.is_none_or(|hard| hard >= needed_bytes) && set(to_hard) {
        return Ok(());
    }
    // Only with CAP_SYS_RESOURCE.
    let above_hard = Rlimit {
        current: Some(needed_bytes),
        maximum: now.maximum.map(|hard| hard.max(needed_bytes)),
    };
    if set(above_hard) {
        return Ok(());
    }
    Err(BootError::LockedMemory {
        hard_bytes: now.maximum.unwrap_or(u64::MAX),
        needed_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn limit(current: u64, maximum: u64) -> Rlimit {
        Rlimit {
            current: Some(current),
            maximum: Some(maximum),
        }
    }

    #[test]
    fn enough_is_left_alone() {
        let result = ensure_with(2, limit(FLOOR_BYTES, FLOOR_BYTES), |_| panic!("set"));
        assert!(result.is_ok());
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let set_to = Cell::new(None);
        let result = ensure_with(1, limit(65536, 8 << 20), |limit| {
            set_to.set(limit.current);
            true
        });
        assert!(result.is_ok());
        assert_eq!(set_to.get(), Some(8 << 20));
    }

    #[test]
    fn a_low_hard_limit_is_named_when_it_cannot_be_raised() {
        let error = ensure_with(1, limit(65536, 65536), |_| false).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("65536") && said.contains("524288"), "{said}");
    }

    #[test]
    fn many_shards_need_more() {
        let error = ensure_with(64, limit(8 << 20, 8 << 20), |_| false).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("16777216"), "{said}");
    }
}

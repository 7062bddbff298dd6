//! Locked memory: what glommio demands of RLIMIT_MEMLOCK.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::boot::BootError;

/// glommio refuses to start below this, also for those whom the limit does not bind (root).
const NEEDED_BYTES: u64 = 512 * 1024;

/// Raises the soft limit as far as it goes, and says what is missing if that is not enough.
pub(crate) fn ensure() -> Result<(), BootError> {
    ensure_with(getrlimit(Resource::Memlock), |limit| {
        setrlimit(Resource::Memlock, limit).is_ok()
    })
}

/// As [`ensure`], with `set` to try a new limit.
fn ensure_with(now: Rlimit, set: impl Fn(Rlimit) -> bool) -> Result<(), BootError> {
    // None is no limit at all.
    let soft_fits = now.current.is_none_or(|soft| soft >= NEEDED_BYTES);
    if soft_fits {
        return Ok(());
    }
    let to_hard = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    let hard_fits = now.maximum.is_none_or(|hard| hard >= NEEDED_BYTES);
    if hard_fits && set(to_hard) {
        return Ok(());
    }
    // Only with CAP_SYS_RESOURCE.
    let above_hard = Rlimit {
        current: Some(NEEDED_BYTES),
        maximum: now.maximum.map(|hard| hard.max(NEEDED_BYTES)),
    };
    if set(above_hard) {
        return Ok(());
    }
    Err(BootError::LockedMemory {
        hard_bytes: now.maximum.unwrap_or(u64::MAX),
        needed_bytes: NEEDED_BYTES,
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
        let result = ensure_with(limit(NEEDED_BYTES, NEEDED_BYTES), |_| panic!("set"));
        assert!(result.is_ok());
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let set_to = Cell::new(None);
        let result = ensure_with(limit(65536, 8 << 20), |limit| {
            set_to.set(limit.current);
            true
        });
        assert!(result.is_ok());
        assert_eq!(set_to.get(), Some(8 << 20));
    }

    #[test]
    fn a_low_hard_limit_is_named_when_it_cannot_be_raised() {
        let error = ensure_with(limit(65536, 65536), |_| false).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("65536") && said.contains("524288"), "{said}");
    }
}

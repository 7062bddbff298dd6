//! What somebody has used of late: what it used half a [`USAGE_HALF_LIFE`] ago counts more than what
//! it used before.

use crate::limits::USAGE_HALF_LIFE;

/// Nanoseconds.
pub(super) type Nanos = u64;

const HALF_LIFE: Nanos = USAGE_HALF_LIFE.as_nanos() as Nanos;

/// Time used, halved with each half-life that passes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    used: Nanos,
    at: Nanos,
}

impl Usage {
    /// What counts now.
    pub(super) fn now(&self, at: Nanos) -> Nanos {
        let passed = at.saturating_sub(self.at);
        let halvings = u32::try_from(passed / HALF_LIFE).unwrap_or(u32::MAX);
        let whole = self.used.checked_shr(halvings).unwrap_or(0);
        // Between two halvings in a straight line.
        let part = u128::from(whole) * u128::from(passed % HALF_LIFE) / u128::from(2 * HALF_LIFE);
        whole - u64::try_from(part).unwrap_or(whole)
    }

    /// So much more was used.
    pub(super) fn add(&mut self, cost: Nanos, at: Nanos) {
        self.used = self.now(at).saturating_add(cost);
        self.at = self.at.max(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_counts_half_after_a_half_life_and_nothing_in_the_end() {
        let mut usage = Usage::default();
        usage.add(1000, 5);
        assert_eq!(usage.now(5), 1000);
        assert_eq!(usage.now(5 + HALF_LIFE / 2), 750);
        assert_eq!(usage.now(5 + HALF_LIFE), 500);
        usage.add(100, 5 + HALF_LIFE);
        assert_eq!(usage.now(5 + 2 * HALF_LIFE), 300);
        assert_eq!(usage.now(5 + 100 * HALF_LIFE), 0);
        // A clock that seems to go back changes nothing.
        assert_eq!(usage.now(0), 600);
    }
}

//! What the machine's scheduler did: for how long threads had a processor, and for how long they
//! were ready and waited for one. So what a crowd on the same processors takes from the broker and
//! from the client is told from what the broker makes them wait.

use std::fs;

/// Of some threads together, since they began.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share {
    ran_ns: u64,
    waited_ns: u64,
    turns: u64,
}

impl Share {
    /// Of those threads of the process whose names begin so.
    pub(crate) fn of(process: u32, names: &str) -> Self {
        let mut sum = Self::default();
        let threads = fs::read_dir(format!("/proc/{process}/task"));
        for thread in threads.into_iter().flatten().flatten() {
            let read = |what: &str| fs::read_to_string(thread.path().join(what));
            // One that ends meanwhile is left out.
            let (Ok(name), Ok(stat)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            if !name.starts_with(names) {
                continue;
            }
            let mut numbers = stat.split_whitespace().map_while(|word| word.parse().ok());
            sum.ran_ns += numbers.next().unwrap_or(0);
            sum.waited_ns += numbers.next().unwrap_or(0);
            sum.turns += numbers.next().unwrap_or(0);
        }
        sum
    }

    /// Since then.
    pub(crate) fn since(self, then: Self) -> Self {
        Self {
            ran_ns: self.ran_ns.saturating_sub(then.ran_ns),
            waited_ns: self.waited_ns.saturating_sub(then.waited_ns),
            turns: self.turns.saturating_sub(then.turns),
        }
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        let each = ms(self.waited_ns) / (self.turns.max(1) as f64);
        write!(
            f,
            "ran {:.0} ms, ready and waiting {:.0} ms, {each:.3} ms a turn",
            ms(self.ran_ns),
            ms(self.waited_ns)
        )
    }
}

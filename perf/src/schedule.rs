//! When requests are due, and which of them count.

use crate::clock::SECOND_NS;

/// An open loop's times: request `k` of all is due at `start + k / rate`, whatever became of those
/// before it. A thread has every `step`-th of them from `first` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) start_ns: u64,
    /// Requests a second of all threads together.
    pub(crate) rate: u64,
    pub(crate) first: u64,
    pub(crate) step: u64,
}

impl Schedule {
    /// When this thread's request number `index` is due. Computed from the start each time: nothing
    /// adds up, and nothing is put off because an earlier request was late.
    pub(crate) fn due_ns(&self, index: u64) -> u64 {
        self.start_ns + (self.first + index * self.step) * SECOND_NS / self.rate
    }
}

/// What counts: requests that were meant to be sent from `begin_ns` on and before `end_ns`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) begin_ns: u64,
    pub(crate) end_ns: u64,
}

impl Window {
    /// Of a load that begins at `start_ns`.
    pub(crate) fn of(start_ns: u64, warm_up_ns: u64, lasting_ns: u64) -> Self {
        let begin_ns = start_ns + warm_up_ns;
        Self {
            begin_ns,
            end_ns: begin_ns + lasting_ns,
        }
    }

    pub(crate) fn has(&self, intended_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&intended_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::times::Times;

    const MS: u64 = 1_000_000;

    /// When a server that takes 0.1 ms, one request at a time, and stands still from 1 s to 1.05 s,
    /// answers what arrives at `ns` while it is busy until `busy`.
    fn answered(ns: u64, busy: u64) -> u64 {
        let begin = ns.max(busy);
        let done = begin + MS / 10;
        if (1000 * MS..1050 * MS).contains(&begin) {
            1050 * MS + MS / 10
        } else {
            done
        }
    }

    #[test]
    fn a_planted_stall_stands_at_its_true_percentile_and_a_closed_loop_would_hide_it() {
        let schedule = Schedule {
            start_ns: 0,
            rate: 1000,
            first: 0,
            step: 1,
        };
        let (mut open, mut exact, mut busy) = (Times::default(), Vec::new(), 0);
        for index in 0..2000 {
            let due = schedule.due_ns(index);
            busy = answered(due, busy);
            open.record(busy - due);
            exact.push(busy - due);
        }
        exact.sort_unstable();
        for (part, at) in [(0.99, 1979), (0.995, 1989), (0.999, 1997)] {
            let (told, truth) = (open.ns(part) as f64, exact[at] as f64);
            assert!(
                (told / truth - 1.0).abs() < 0.002,
                "{part}: {told} for {truth}"
            );
        }
        assert!(open.us(0.99) > 29_000.0 && open.us(0.9) < 1000.0);

        let (mut closed, mut now) = (Times::default(), 0);
        while now < 2000 * MS {
            let done = answered(now, now);
            closed.record(done - now);
            now = done;
        }
        assert!(
            closed.us(0.9999) < 1000.0,
            "one request of many thousand saw it"
        );
        assert!(closed.max_us() > 49_000.0);
    }

    #[test]
    fn threads_share_a_schedule_without_gaps_or_doubles() {
        let of = |first, step| Schedule {
            start_ns: 7,
            rate: 3,
            first,
            step,
        };
        let mut shared: Vec<u64> = (0..3)
            .flat_map(|first| (0..4).map(move |k| of(first, 3).due_ns(k)))
            .collect();
        shared.sort_unstable();
        let alone: Vec<u64> = (0..12).map(|k| of(0, 1).due_ns(k)).collect();
        assert_eq!(shared, alone);
        assert_eq!(
            alone[3] - alone[0],
            SECOND_NS,
            "thirds of a second do not add up to an error"
        );
    }
}

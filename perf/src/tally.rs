//! What came of a load, counted while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::clock::SECOND_NS;
use crate::schedule::Window;
use crate::times::Times;

/// What came of it. A request counts if it was meant to be sent in the measured time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// From when a request was meant to be sent to its answer.
    pub(crate) latency: Times,
    /// From when a request was meant to be sent to when it was begun to be: the client's own delay.
    pub(crate) send_delay: Times,
    /// From when a record was meant to be sent to when a reader of the tail had it.
    pub(crate) consume: Times,
    /// Records that were acknowledged within the measured time.
    pub(crate) records: u64,
    /// Records that the broker has had, whenever: acknowledged, or sent with acks=0.
    pub(crate) handled: u64,
    /// Requests that no answer came to; they count in `latency` with the age they reached.
    pub(crate) unanswered: u64,
    /// Records that a reader of the tail never got, once for each reader; they count in `consume`
    /// with the age they reached.
    pub(crate) unread: u64,
    /// Bytes of batches that readers of old data got within the measured time.
    pub(crate) read_bytes: u64,
    /// When a reader of a backlog had reached the end, from the begin of the load.
    pub(crate) caught_up_ns: Option<u64>,
    pub(crate) lasting_ns: u64,
    /// Processor time of the broker's process meanwhile, warm-up included, where it is known.
    pub(crate) broker_cpu_ns: Option<u64>,
    /// Of the records that readers are to get.
    pub(crate) sent: Moments,
    /// Of those that they got.
    pub(crate) read: Moments,
}

impl Outcome {
    /// Acknowledged records a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.records as f64 * SECOND_NS as f64 / self.lasting_ns.max(1) as f64
    }

    /// Adds another thread's.
    pub(crate) fn merge(&mut self, other: &Outcome) {
        self.latency.merge(&other.latency);
        self.send_delay.merge(&other.send_delay);
        self.consume.merge(&other.consume);
        self.records += other.records;
        self.handled += other.handled;
        self.unanswered += other.unanswered;
        self.read_bytes += other.read_bytes;
        self.caught_up_ns = self.caught_up_ns.or(other.caught_up_ns);
        self.sent.merge(&other.sent);
        self.read.merge(&other.read);
    }

    /// What `readers` of the tail have not got by `now_ns` is as old as it is then, at least. Of the
    /// outcome of all threads together, which measured `window`.
    pub(crate) fn give_up_reading(&mut self, readers: u64, window: Window, now_ns: u64) {
        let (sent, read) = (&self.sent.0, &self.read.0);
        for (at, sent) in sent.iter().enumerate() {
            let read = read.get(at).copied().unwrap_or(0);
            let missing = (sent * readers).saturating_sub(read);
            if missing > 0 {
                let meant_ns = window.begin_ns + at as u64 * MOMENT_NS;
                let age_ns = now_ns.saturating_sub(meant_ns + MOMENT_NS);
                self.consume.record_many(age_ns, missing);
                self.unread += missing;
            }
        }
    }
}

/// So finely it is known when a record that did not come was meant to be sent.
const MOMENT_NS: u64 = SECOND_NS / 1000;

/// How many records were meant to be sent in each moment of the measured time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moments(Vec<u64>);

impl Moments {
    fn of(window: Window) -> Self {
        let lasting_ns = window.end_ns - window.begin_ns;
        let count = usize::try_from(lasting_ns.div_ceil(MOMENT_NS)).unwrap_or(0);
        Self(vec![0; count])
    }

    fn add(&mut self, window: Window, intended_ns: u64, records: u64) {
        let at = intended_ns.saturating_sub(window.begin_ns) / MOMENT_NS;
        let cell = usize::try_from(at).ok().and_then(|at| self.0.get_mut(at));
        if let Some(cell) = cell.filter(|_| window.has(intended_ns)) {
            *cell += records;
        }
    }

    fn merge(&mut self, other: &Moments) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (cell, more) in self.0.iter_mut().zip(&other.0) {
            *cell += more;
        }
    }
}

/// What the threads of a load know of each other.
#[derive(Default)]
pub(crate) struct Shared {
    /// Records sent, counted or not.
    pub(crate) sent_records: AtomicU64,
    /// Threads that will send nothing more.
    pub(crate) silent: AtomicUsize,
}

/// One thread's outcome in the making.
pub(crate) struct Tally {
    pub(crate) window: Window,
    start_ns: u64,
    outcome: Outcome,
    shared: Arc<Shared>,
    expects_answers: bool,
}

impl Tally {
    /// Of a load that begins at `start_ns`. Whether anybody reads the tail, and whether anything is
    /// answered, decides what is kept.
    pub(crate) fn new(
        window: Window,
        start_ns: u64,
        shared: Arc<Shared>,
        reads_tail: bool,
        expects_answers: bool,
    ) -> Self {
        let mut outcome = Outcome::default();
        if reads_tail {
            outcome.sent = Moments::of(window);
            outcome.read = Moments::of(window);
        }
        Self {
            window,
            start_ns,
            outcome,
            shared,
            expects_answers,
        }
    }

    /// What it has come to.
    pub(crate) fn outcome(self) -> Outcome {
        self.outcome
    }

    /// A request is about to be written.
    pub(crate) fn sent(&mut self, intended_ns: u64, now_ns: u64, records: u64) {
        self.shared
            .sent_records
            .fetch_add(records, Ordering::Relaxed);
        self.outcome.sent.add(self.window, intended_ns, records);
        if !self.expects_answers {
            self.outcome.handled += records;
        }
        if self.window.has(intended_ns) {
            self.outcome
                .send_delay
                .record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// Its answer has come.
    pub(crate) fn answered(&mut self, intended_ns: u64, now_ns: u64, records: u64) {
        self.outcome.handled += records;
        if self.window.has(intended_ns) {
            self.outcome
                .latency
                .record(now_ns.saturating_sub(intended_ns));
        }
        if self.window.has(now_ns) {
            self.outcome.records += records;
        }
    }

    /// No answer will be waited for.
    pub(crate) fn unanswered(&mut self, intended_ns: u64, now_ns: u64) {
        if self.window.has(intended_ns) {
            self.outcome.unanswered += 1;
            self.outcome
                .latency
                .record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// It was due and will not even be sent: nobody can read it.
    pub(crate) fn unsent(&mut self, intended_ns: u64, records: u64) {
        self.outcome.sent.add(self.window, intended_ns, records);
    }

    /// A record came out at the other end.
    pub(crate) fn consumed(&mut self, intended_ns: u64, now_ns: u64) {
        self.outcome.read.add(self.window, intended_ns, 1);
        if self.window.has(intended_ns) {
            self.outcome
                .consume
                .record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// Old records came.
    pub(crate) fn read(&mut self, now_ns: u64, bytes: usize) {
        if self.window.has(now_ns) {
            self.outcome.read_bytes += bytes as u64;
        }
    }

    /// A backlog has been read to its end.
    pub(crate) fn caught_up(&mut self, now_ns: u64) {
        self.outcome
            .caught_up_ns
            .get_or_insert(now_ns.saturating_sub(self.start_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const WINDOW: Window = Window {
        begin_ns: 1000 * MS,
        end_ns: 2000 * MS,
    };

    fn tally() -> Tally {
        Tally::new(WINDOW, 0, Arc::default(), true, true)
    }

    #[test]
    fn records_that_nobody_got_count_with_their_age() {
        let (mut one, mut other) = (tally(), tally());
        for ms in 1000..2000 {
            one.sent(ms * MS, ms * MS, 1);
            // One reader has all of them, the other stands still after half.
            other.consumed(ms * MS, ms * MS + 100_000);
            if ms < 1500 {
                other.consumed(ms * MS, ms * MS + 100_000);
            }
        }
        one.sent(5 * MS, 5 * MS, 1);
        one.unsent(1999 * MS, 1);
        let mut all = one.outcome();
        all.merge(&other.outcome());
        all.give_up_reading(2, WINDOW, 7000 * MS);
        assert_eq!(all.unread, 500 + 2, "and what was never sent, twice");
        assert_eq!(all.consume.len(), 2 * 1001);
        assert_eq!(all.consume.count_from(4900 * MS), 502);
        assert!(all.consume.us(0.99) > 5_000_000.0);
        assert!(all.consume.us(0.5) < 101.0);
    }

    #[test]
    fn nothing_is_unread_when_all_came_in_whatever_order() {
        let mut tally = tally();
        for ms in 1000..2000 {
            tally.sent(ms * MS, ms * MS, 3);
        }
        for ms in (1000..2000).rev() {
            (0..3).for_each(|_| tally.consumed(ms * MS, 3000 * MS));
        }
        let mut all = tally.outcome();
        all.give_up_reading(1, WINDOW, 7000 * MS);
        assert_eq!((all.unread, all.consume.len()), (0, 3000));
    }

    #[test]
    fn records_of_the_warm_up_are_handled_too() {
        let mut tally = tally();
        tally.answered(5 * MS, 6 * MS, 4);
        tally.answered(1005 * MS, 1006 * MS, 4);
        let outcome = tally.outcome();
        assert_eq!((outcome.records, outcome.handled), (4, 8));
    }
}

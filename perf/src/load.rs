//! A load: connections that produce, in an open or a closed loop, and connections that consume, on
//! pinned threads of the client's cores.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};

use crate::clock::{self, SECOND_NS};
use crate::frames::Shape;
use crate::machine;
use crate::poller::{Poller, Wait};
use crate::producer::Producer;
use crate::reader::{Reader, ReaderPlan, Reads};
use crate::schedule::{Schedule, Window};
use crate::tally::{Outcome, Shared, Tally};

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// `depth` in flight on each connection: the next goes out when an answer has come.
    Closed { depth: usize },
    /// So many a second over all connections in turn, whatever is still unanswered.
    Open { rate: u64 },
}

/// What to do to a broker.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) addr: SocketAddr,
    /// A new topic: readers of the tail begin at offset 0.
    pub(crate) topic: String,
    pub(crate) partitions: usize,
    pub(crate) acks: i16,
    pub(crate) shape: Shape,
    /// Connections that produce.
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) wait: Wait,
    pub(crate) readers: Vec<ReaderPlan>,
    /// One thread on each.
    pub(crate) cpus: Vec<usize>,
    pub(crate) warm_up_ns: u64,
    pub(crate) lasting_ns: u64,
}

/// From opening the sockets to the first request.
const LEAD_NS: u64 = 20_000_000;
/// So long answers are waited for after the last request was due.
const DRAIN_NS: u64 = 5 * SECOND_NS;

/// Carries a load out.
pub(crate) fn run(load: &Load) -> anyhow::Result<Outcome> {
    ensure!(!load.cpus.is_empty(), "a load needs a core");
    ensure!(
        load.partitions > 0 && load.shape.batches <= load.partitions,
        "more batches than partitions"
    );
    let closed = matches!(load.pace, Pace::Closed { .. });
    ensure!(
        load.acks != 0 || !closed,
        "acks=0 has no answers that a closed loop could wait for"
    );
    ensure!(
        !matches!(load.pace, Pace::Open { rate: 0 }),
        "a rate of nothing"
    );
    let threads = load.cpus.len().min(load.connections.max(1));
    let shared = Arc::new(Shared::default());
    let mut workers = Vec::new();
    for thread in 0..threads {
        workers.push(Worker::open(load, thread, threads, Arc::clone(&shared))?);
    }
    let start_ns = clock::now_ns() + LEAD_NS;
    let mut outcome = Outcome {
        lasting_ns: load.lasting_ns,
        ..Outcome::default()
    };
    let ended: Vec<anyhow::Result<Outcome>> = std::thread::scope(|scope| {
        let running: Vec<_> = workers
            .into_iter()
            .zip(&load.cpus)
            .map(|(worker, cpu)| {
                scope.spawn(move || {
                    machine::pin(*cpu)?;
                    worker.run(start_ns)
                })
            })
            .collect();
        let joined = running.into_iter().map(|thread| thread.join());
        joined
            .map(|ended| {
                ended.unwrap_or_else(|_| Err(anyhow::anyhow!("a client's thread panicked")))
            })
            .collect()
    });
    for ended in ended {
        outcome.merge(&ended?);
    }
    let tails = load.readers.iter().filter(|plan| plan.reads == Reads::Tail);
    let window = Window::of(start_ns, load.warm_up_ns, load.lasting_ns);
    outcome.give_up_reading(tails.count() as u64, window, clock::now_ns());
    Ok(outcome)
}

/// One thread's connections.
struct Worker {
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    poller: Poller,
    pace: Pace,
    thread: usize,
    threads: usize,
    warm_up_ns: u64,
    lasting_ns: u64,
    /// Whether anybody reads the tail, on any thread.
    reads_tail: bool,
    expects_answers: bool,
    shared: Arc<Shared>,
}

impl Worker {
    /// Connections `thread`, `thread + threads` and so on; the first thread has the readers.
    fn open(
        load: &Load,
        thread: usize,
        threads: usize,
        shared: Arc<Shared>,
    ) -> anyhow::Result<Self> {
        let own = (thread..load.connections).step_by(threads);
        let producers = own
            .map(|index| Producer::open(load, index))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let plans = if thread == 0 {
            load.readers.as_slice()
        } else {
            &[]
        };
        let readers = plans
            .iter()
            .map(|plan| Reader::open(load.addr, plan))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let poller = Poller::new(load.wait, producers.len() + readers.len())?;
        for (number, producer) in producers.iter().enumerate() {
            poller.add(&producer.connection.stream, number)?;
        }
        for (number, reader) in readers.iter().enumerate() {
            poller.add(&reader.connection.stream, producers.len() + number)?;
        }
        let (warm_up_ns, lasting_ns) = (load.warm_up_ns, load.lasting_ns);
        let is_tail = |plan: &ReaderPlan| plan.reads == Reads::Tail;
        Ok(Self {
            producers,
            readers,
            poller,
            pace: load.pace,
            thread,
            threads,
            warm_up_ns,
            lasting_ns,
            reads_tail: load.readers.iter().any(is_tail),
            expects_answers: load.acks != 0,
            shared,
        })
    }

    fn run(mut self, start_ns: u64) -> anyhow::Result<Outcome> {
        let window = Window::of(start_ns, self.warm_up_ns, self.lasting_ns);
        let shared = Arc::clone(&self.shared);
        let (reads_tail, expects_answers) = (self.reads_tail, self.expects_answers);
        let mut tally = Tally::new(window, start_ns, shared, reads_tail, expects_answers);
        for reader in &mut self.readers {
            reader.ask()?;
        }
        while clock::now_ns() < start_ns {
            std::hint::spin_loop();
        }
        let mut schedule = self.schedule(start_ns);
        self.begin_closed_loops(&mut tally)?;
        let (mut index, mut silent) = (0, false);
        loop {
            let now_ns = clock::now_ns();
            let mut next_ns = window.end_ns;
            if let Some(schedule) = &mut schedule {
                next_ns = self.send_due(schedule, &mut index, now_ns, &mut tally)?;
            }
            if now_ns >= window.end_ns {
                let idle = self.producers.iter().all(Producer::is_idle);
                if idle && !std::mem::replace(&mut silent, true) {
                    self.shared.silent.fetch_add(1, Ordering::Release);
                }
                if (idle && self.readers_are_done()) || now_ns >= window.end_ns + DRAIN_NS {
                    self.producers
                        .iter()
                        .for_each(|producer| producer.give_up(&mut tally));
                    return Ok(tally.outcome());
                }
            }
            self.look(next_ns, window, &mut tally)?;
        }
    }

    fn schedule(&self, start_ns: u64) -> Option<Schedule> {
        let (first, step) = (self.thread as u64, self.threads as u64);
        match self.pace {
            Pace::Open { rate } if !self.producers.is_empty() => Some(Schedule {
                start_ns,
                rate,
                first,
                step,
            }),
            Pace::Open { .. } | Pace::Closed { .. } => None,
        }
    }

    fn begin_closed_loops(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        if let Pace::Closed { depth } = self.pace {
            for number in 0..self.producers.len() {
                (0..depth).for_each(|_| self.producers[number].push(clock::now_ns()));
                self.pump(number, tally)?;
            }
        }
        Ok(())
    }

    /// Sends everything that is due by now; says when the next is.
    fn send_due(
        &mut self,
        schedule: &Schedule,
        index: &mut u64,
        now_ns: u64,
        tally: &mut Tally,
    ) -> anyhow::Result<u64> {
        let count = self.producers.len() as u64;
        loop {
            let due_ns = schedule.due_ns(*index);
            if due_ns >= tally.window.end_ns || due_ns > now_ns {
                return Ok(due_ns.min(tally.window.end_ns));
            }
            let number = usize::try_from(*index % count).context("a connection's number")?;
            self.producers[number].push(due_ns);
            self.pump(number, tally)?;
            *index += 1;
        }
    }

    fn pump(&mut self, number: usize, tally: &mut Tally) -> anyhow::Result<()> {
        let producer = &mut self.producers[number];
        let was_blocked = producer.blocked;
        producer.pump(tally)?;
        if producer.blocked != was_blocked {
            self.poller
                .blocked(&producer.connection.stream, number, producer.blocked)?;
        }
        Ok(())
    }

    /// Takes what has come, and sends what can be sent again.
    fn look(&mut self, next_ns: u64, window: Window, tally: &mut Tally) -> anyhow::Result<()> {
        let until_ns = if clock::now_ns() < next_ns {
            next_ns
        } else {
            next_ns + DRAIN_NS
        };
        let count = self.poller.ready(until_ns)?.len();
        for at in 0..count {
            let number = self.poller.nth(at);
            let Some(reader) = number.checked_sub(self.producers.len()) else {
                let closed = matches!(self.pace, Pace::Closed { .. });
                self.producers[number].receive(tally, |now_ns| {
                    (closed && now_ns < window.end_ns).then_some(now_ns)
                })?;
                self.pump(number, tally)?;
                continue;
            };
            let reader = &mut self.readers[reader];
            let was_blocked = reader.blocked;
            if was_blocked {
                reader.pump()?;
            }
            reader.receive(tally)?;
            if reader.blocked != was_blocked {
                self.poller
                    .blocked(&reader.connection.stream, number, reader.blocked)?;
            }
        }
        Ok(())
    }

    /// Whether the readers of the tail have all that was sent, by any thread.
    fn readers_are_done(&self) -> bool {
        let all_silent = self.shared.silent.load(Ordering::Acquire) == self.threads;
        let sent = self.shared.sent_records.load(Ordering::Relaxed);
        let mut tails = self.readers.iter().filter(|reader| reader.is_tail());
        self.readers.is_empty() || (all_silent && tails.all(|reader| reader.records >= sent))
    }
}

//! Topics and writers that live through some rounds together, then make room for the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::check::Checker;
use crate::failure::{Failure, fail};
use crate::java::Java;
use crate::ledger::Ledger;
use crate::load::{Reader, Writer};
use crate::rng::Rng;

/// How long the clients may take to get every answer once the broker stays up.
const FINISH_MAX: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Topic {
    pub(crate) number: u32,
    pub(crate) partitions: i32,
    segment_bytes: u64,
}

impl Topic {
    pub(crate) fn name(self) -> String {
        format!("torture-{}", self.number)
    }
}

/// One producer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WriterSpec {
    pub(crate) id: u32,
    pub(crate) topic: Topic,
    /// Each record is there once, in order, whatever happened.
    pub(crate) idempotent: bool,
    /// One request in flight: no record comes before an earlier one's first appearance.
    pub(crate) ordered: bool,
    pub(crate) codec: &'static str,
    pub(crate) java: bool,
    pub(crate) in_flight_max: u64,
}

impl WriterSpec {
    pub(crate) fn partition(&self, number: u64) -> i32 {
        i32::try_from(number % self.stride()).expect("few partitions")
    }

    /// From one record of a partition to its next.
    pub(crate) fn stride(&self) -> u64 {
        u64::try_from(self.topic.partitions).expect("positive")
    }
}

/// What an era consists of, decided by its seed.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) topics: Vec<Topic>,
    pub(crate) writers: Vec<WriterSpec>,
}

impl Plan {
    /// `first` is the number of its first topic and writer.
    pub(crate) fn drawn(rng: &mut Rng, first: u32, java: bool) -> Self {
        let topics: Vec<Topic> = (0..3)
            .map(|index| Topic {
                number: first + index,
                partitions: i32::try_from(rng.between(1, 6)).expect("few"),
                segment_bytes: *rng.pick(&[1 << 20, 4 << 20, 64 << 20]),
            })
            .collect();
        // Topic, client, idempotence: two idempotent producers share a topic's partitions.
        let kinds = [
            (0, false, true),
            (1, false, true),
            (1, java, true),
            (1, false, false),
            (2, java, false),
            (2, java, true),
        ];
        let writers = kinds.iter().zip(first..).map(|(kind, id)| {
            let (topic, java, idempotent) = *kind;
            WriterSpec {
                id,
                topic: topics[topic],
                idempotent,
                ordered: !java,
                codec: rng.pick::<&str>(&["none", "none", "lz4", "zstd", "gzip", "snappy"]),
                java,
                in_flight_max: *rng.pick(&[1, 20, 100, 400]),
            }
        });
        let writers = writers.collect();
        Self { topics, writers }
    }
}

/// A plan at work.
pub(crate) struct Era {
    pub(crate) plan: Arc<Plan>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) checker: Checker,
    writers: Vec<Writer>,
    reader: Reader,
}

impl Era {
    /// Creates the topics and starts the clients, paused.
    pub(crate) fn begin(
        bootstrap: &str,
        seed: u64,
        plan: Plan,
        java: Option<&mut Java>,
    ) -> Result<Self, Failure> {
        let (plan, ledger) = (Arc::new(plan), Arc::new(Ledger::default()));
        let admin = Admin::new(bootstrap)?;
        for topic in &plan.topics {
            let segment_bytes = topic.segment_bytes.to_string();
            let configs = [("segment.bytes", segment_bytes.as_str())];
            admin.create(&topic.name(), topic.partitions, &configs)?;
        }
        let natives = plan.writers.iter().filter(|writer| !writer.java);
        let writers = natives
            .map(|spec| Writer::start(bootstrap, seed, *spec, &ledger))
            .collect::<Result<_, _>>()?;
        if let Some(java) = java {
            java.serve(&plan, &ledger)?;
        }
        Ok(Self {
            checker: Checker::new(seed, &plan),
            writers,
            reader: Reader::start(bootstrap, seed, &plan, &ledger)?,
            plan,
            ledger,
        })
    }

    pub(crate) fn pause(&self, paused: bool) {
        for writer in &self.writers {
            writer.pause(paused);
        }
    }

    /// No record is sent any more; every one that was gets its answer.
    fn finish(&mut self, java: Option<&mut Java>) -> Result<Vec<(u32, u64)>, Failure> {
        let mut sent = Vec::new();
        for writer in &self.writers {
            writer.finish();
        }
        let deadline = Instant::now() + FINISH_MAX;
        for writer in self.writers.drain(..) {
            let id = writer.id();
            while !writer.is_done() {
                if Instant::now() > deadline {
                    return fail(format!(
                        "writer {id} has no answer to {} of its records within {FINISH_MAX:?}",
                        writer.unanswered()
                    ));
                }
                std::thread::park_timeout(PAUSE);
            }
            sent.push((id, writer.join()));
        }
        if let Some(java) = java {
            sent.extend(java.finish(&self.plan, FINISH_MAX)?);
        }
        Ok(sent)
    }

    /// Ends the clients, reads everything once more from its start, and deletes the topics if asked to.
    pub(crate) fn end(
        mut self,
        bootstrap: &str,
        java: Option<&mut Java>,
        delete: bool,
    ) -> Result<u64, Failure> {
        let sent = self.finish(java)?;
        self.reader.stop();
        let checked = self.checker.check_all(bootstrap, &self.ledger, &sent)?;
        let admin = Admin::new(bootstrap)?;
        for topic in self.plan.topics.iter().filter(|_| delete) {
            admin.delete(&topic.name())?;
        }
        Ok(checked)
    }
}

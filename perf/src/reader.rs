//! One connection that consumes, by parked fetches.

use anyhow::{Context, ensure};

use crate::answers;
use crate::clock;
use crate::connection::Connection;
use crate::frames::{self, FetchFrame};
use crate::tally::Tally;

/// What a reader is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The end of the topic that is produced to; each record's stamp is read.
    Tail,
    /// From the begin to the end and again from the begin, as fast as it comes.
    Again,
    /// From the begin to the end, once; then it goes on at the end.
    Backlog,
}

/// A reader to come.
#[derive(Clone, Debug)]
pub(crate) struct ReaderPlan {
    pub(crate) topic: String,
    pub(crate) partitions: usize,
    pub(crate) reads: Reads,
}

/// How long a fetch may park.
const WAIT_MS: i32 = 500;
const TAIL_BYTES_MAX: i32 = 4 << 20;
const BULK_BYTES_MAX: i32 = 1 << 20;

/// A reader with a fetch on its way at all times.
pub(crate) struct Reader {
    pub(crate) connection: Connection,
    frame: FetchFrame,
    written: usize,
    sent: i32,
    reads: Reads,
    /// Records read so far, by a reader of the tail.
    pub(crate) records: u64,
    /// Partitions whose end a reader of a backlog has seen.
    seen_end: Vec<bool>,
    pub(crate) blocked: bool,
}

impl Reader {
    pub(crate) fn open(addr: std::net::SocketAddr, plan: &ReaderPlan) -> anyhow::Result<Self> {
        let bytes_max = if plan.reads == Reads::Tail {
            TAIL_BYTES_MAX
        } else {
            BULK_BYTES_MAX
        };
        let frame = FetchFrame::new(&plan.topic, plan.partitions, WAIT_MS, bytes_max);
        Ok(Self {
            connection: Connection::open(addr)?,
            written: frame.bytes().len(),
            frame,
            sent: 0,
            reads: plan.reads,
            records: 0,
            seen_end: vec![false; plan.partitions],
            blocked: false,
        })
    }

    /// Sends the next fetch.
    pub(crate) fn ask(&mut self) -> anyhow::Result<()> {
        self.sent = self.sent.wrapping_add(1);
        self.frame.stamp(self.sent);
        self.written = 0;
        self.pump()
    }

    /// Sends on what did not fit.
    pub(crate) fn pump(&mut self) -> anyhow::Result<()> {
        self.blocked = false;
        while self.written < self.frame.bytes().len() {
            let count = self.connection.write(&self.frame.bytes()[self.written..])?;
            self.written += count;
            if count == 0 {
                self.blocked = true;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes an answer if one has come, and asks on.
    pub(crate) fn receive(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        while self.connection.fill()? {
            let now_ns = clock::now_ns();
            let Some(answer) = self.connection.take() else {
                continue;
            };
            let number = answers::correlation(answer)?;
            ensure!(
                number == self.sent,
                "an answer to fetch {number} instead of {}",
                self.sent
            );
            let (frame, reads) = (&mut self.frame, self.reads);
            let (seen_end, records) = (&mut self.seen_end, &mut self.records);
            answers::fetched(answer, |part| {
                let end = seen_end
                    .get_mut(part.partition)
                    .context("a partition that is not there")?;
                let next = match reads {
                    Reads::Tail => frames::read_stamps(part.records, |stamp| {
                        *records += 1;
                        tally.consumed(stamp, now_ns);
                    })?,
                    Reads::Again | Reads::Backlog => {
                        tally.read(now_ns, part.records.len());
                        frames::next_offset(part.records)
                    }
                };
                let at_end = next.is_some_and(|next| next >= part.high_watermark);
                *end |= at_end;
                match next {
                    Some(_) if reads == Reads::Again && at_end => {
                        frame.set_offset(part.partition, 0)
                    }
                    Some(next) => frame.set_offset(part.partition, next),
                    None => {}
                }
                Ok(())
            })?;
            if reads == Reads::Backlog && self.seen_end.iter().all(|seen| *seen) {
                tally.caught_up(now_ns);
            }
            self.ask()?;
        }
        Ok(())
    }

    /// A reader of the tail.
    pub(crate) fn is_tail(&self) -> bool {
        self.reads == Reads::Tail
    }
}

//! One connection that produces.

use std::collections::VecDeque;

use anyhow::ensure;

use crate::clock;
use crate::connection::Connection;
use crate::frames::ProduceFrame;
use crate::load::Load;
use crate::tally::Tally;
use crate::{answers, frames};

/// Its requests go out in the order in which they were due, and its answers come in that order.
///
/// Requests that are due wait here as the eight bytes of their times, so a socket that takes nothing
/// holds nobody up: an open loop's schedule is kept whatever the broker does. At most there are as many
/// as the schedule has.
pub(crate) struct Producer {
    pub(crate) connection: Connection,
    frame: ProduceFrame,
    /// How much of the frame has been written: all of it when no request is being sent.
    written: usize,
    due: VecDeque<u64>,
    unanswered: VecDeque<u64>,
    sent: i32,
    answered: i32,
    partition: usize,
    partitions: usize,
    shape: frames::Shape,
    expects_answers: bool,
    pub(crate) blocked: bool,
}

impl Producer {
    /// Connection number `index` of `load`.
    pub(crate) fn open(load: &Load, index: usize) -> anyhow::Result<Self> {
        let frame = ProduceFrame::new(&load.topic, load.acks, load.shape, index as u64)?;
        Ok(Self {
            connection: Connection::open(load.addr)?,
            written: frame.bytes().len(),
            frame,
            due: VecDeque::new(),
            unanswered: VecDeque::new(),
            sent: 0,
            answered: 0,
            partition: index * load.shape.batches % load.partitions,
            partitions: load.partitions,
            shape: load.shape,
            expects_answers: load.acks != 0,
            blocked: false,
        })
    }

    /// A request is due.
    pub(crate) fn push(&mut self, intended_ns: u64) {
        self.due.push_back(intended_ns);
    }

    /// Sends what is due, as far as the socket takes it.
    pub(crate) fn pump(&mut self, tally: &mut Tally) -> anyhow::Result<()> {
        self.blocked = false;
        loop {
            if self.written == self.frame.bytes().len() {
                let Some(intended_ns) = self.due.pop_front() else {
                    return Ok(());
                };
                self.begin(intended_ns, tally);
            }
            let count = self.connection.write(&self.frame.bytes()[self.written..])?;
            self.written += count;
            if count == 0 {
                self.blocked = true;
                return Ok(());
            }
        }
    }

    fn begin(&mut self, intended_ns: u64, tally: &mut Tally) {
        self.sent = self.sent.wrapping_add(1);
        self.frame
            .stamp(self.sent, self.partition, self.partitions, intended_ns);
        self.partition = (self.partition + self.shape.batches) % self.partitions;
        self.written = 0;
        let records = (self.shape.records * self.shape.batches) as u64;
        tally.sent(intended_ns, clock::now_ns(), records);
        if self.expects_answers {
            self.unanswered.push_back(intended_ns);
        }
    }

    /// Takes the answers that have come; `answered` is told when.
    pub(crate) fn receive(
        &mut self,
        tally: &mut Tally,
        mut answered: impl FnMut(u64) -> Option<u64>,
    ) -> anyhow::Result<()> {
        while self.connection.fill()? {
            let now_ns = clock::now_ns();
            while let Some(answer) = self.connection.take() {
                let intended_ns = self.unanswered.pop_front();
                self.answered = self.answered.wrapping_add(1);
                let number = answers::correlation(answer)?;
                ensure!(
                    number == self.answered,
                    "an answer to request {number} before that to {}",
                    self.answered
                );
                answers::produced(answer)?;
                let records = (self.shape.records * self.shape.batches) as u64;
                tally.answered(intended_ns.expect("its request was sent"), now_ns, records);
                if let Some(due_ns) = answered(now_ns) {
                    self.due.push_back(due_ns);
                }
            }
        }
        Ok(())
    }

    /// Whether everything due has been sent and answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.due.is_empty()
            && self.unanswered.is_empty()
            && self.written == self.frame.bytes().len()
    }

    /// The requests that are not answered, sent or not, are as old as they are now, at least.
    pub(crate) fn give_up(&self, tally: &mut Tally) {
        let now_ns = clock::now_ns();
        for intended_ns in self.due.iter().chain(&self.unanswered) {
            tally.unanswered(*intended_ns, now_ns);
        }
        let records = (self.shape.records * self.shape.batches) as u64;
        for intended_ns in &self.due {
            tally.unsent(*intended_ns, records);
        }
    }
}

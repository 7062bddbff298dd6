//! The flusher: as soon as a commit may go to the disk, it takes what has gathered.
//!
//! No linger. At most `commits_in_flight_max` commits are on their way; what gathers meanwhile is
//! the next one. A commit in which nobody waits for durability is written and left unsynced until
//! its time comes or another sync covers it. A failed write or sync ends the process: the kernel
//! may have dropped the page, so there is no safe retry.

use std::rc::Rc;

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{Counter, IoClass, SharedBuf, count, fatal, sleep_until, spawn, timeout};

use super::commit::{Built, Chain, Plan, build_carries, build_headers, build_items};
use super::gather::{CarryItem, Item, List, partition_of};
use super::progress::{Advance, CarriedTo, Flight, Touched};
use super::ring::{For, Placement};
use super::{ChainState, Ticket, Wal};
use crate::log::{NewRun, Place};

/// What the flusher finds to do.
enum Step {
    Commit(Box<Outgoing>),
    /// Nothing until somebody rings.
    Wait,
    /// Nothing but to cover the last commit, if it stays so.
    CoverSoon,
    Stop,
}

/// What a commit does when it has come through.
struct Content {
    completes: u64,
    urgent: bool,
    touched: Vec<Touched>,
    carried: Vec<CarriedTo>,
    metadata_end: u64,
}

impl Content {
    /// Nothing but to be durable.
    fn none(completes: u64) -> Self {
        Self {
            completes,
            urgent: true,
            touched: Vec::new(),
            carried: Vec::new(),
            metadata_end: 0,
        }
    }
}

/// A commit on its way out.
struct Outgoing {
    id: u64,
    placement: Placement,
    buf: SharedBuf,
    /// One operation for write and sync.
    at_once: bool,
}

impl Wal {
    pub(super) fn spawn_tasks(self: &Rc<Self>) {
        spawn("wal-flusher", Rc::clone(self).flush()).detach();
        spawn("wal-keeper", Rc::clone(self).keep_ring()).detach();
        spawn("wal-cached", Rc::clone(self).sync_cached()).detach();
        spawn("wal-witness", Rc::clone(self).bear_witness()).detach();
    }

    async fn flush(self: Rc<Self>) {
        loop {
            let rung = self.work.notified();
            match self.next_step() {
                Step::Commit(outgoing) => self.send(*outgoing),
                Step::Wait => rung.await,
                Step::CoverSoon => {
                    if timeout(self.idle_cover, rung).await.is_err() {
                        self.witness.say_now();
                        if let Some(outgoing) = self.cover() {
                            self.send(outgoing);
                        }
                    }
                }
                Step::Stop => break,
            }
        }
        self.witness.say(self.replay_lsn(), true).await;
        self.stopped.set(true);
        self.witness.rung.notify_one();
        self.ended.notify_all();
        self.room.notify_all();
    }

    /// Says from time to time, and when nothing else is to come, what has become durable.
    async fn bear_witness(self: Rc<Self>) {
        while !self.stopped.get() {
            let rung = self.witness.rung.notified();
            let due = self.witness.since.get();
            match due.map(|since| since + self.witness_interval) {
                None if !self.witness.now.get() => rung.await,
                Some(due) if !self.witness.now.get() && tailwater_shards::now() < due => {
                    let rung = std::pin::pin!(rung);
                    let due = std::pin::pin!(sleep_until(due));
                    futures_util::future::select(due, rung).await;
                }
                _ => {
                    let durably = self.witness.now.get();
                    self.witness.say(self.replay_lsn(), durably).await;
                }
            }
        }
    }

    fn next_step(&self) -> Step {
        if self.in_flight.get() >= self.commits_in_flight_max || self.is_far_ahead() {
            return Step::Wait;
        }
        if let Some(outgoing) = self.next_commit() {
            return Step::Commit(Box::new(outgoing));
        }
        let waiting = !self.gather.borrow().is_empty();
        let settled = self.progress.borrow().is_settled();
        let uncovered = {
            let chain = self.chain.get();
            self.is_uncovered(&chain)
        };
        match (waiting, settled, uncovered) {
            (true, ..) | (false, false, _) => Step::Wait,
            (false, true, true) if self.stopping.get() => match self.cover() {
                Some(outgoing) => Step::Commit(Box::new(outgoing)),
                None => Step::Stop,
            },
            (false, true, true) => Step::CoverSoon,
            (false, true, false) if self.stopping.get() => Step::Stop,
            (false, true, false) => Step::Wait,
        }
    }

    /// Whether commits wait for a slow one before them, and hold as much memory as they may.
    fn is_far_ahead(&self) -> bool {
        let unwritten = self.progress.borrow().unwritten_bytes();
        unwritten >= self.ahead_bytes_max() as u64
    }

    /// Carried runs and appended lists take turns; what finds no place in the ring leaves the
    /// turn to the other.
    fn next_commit(&self) -> Option<Outgoing> {
        let carries_first = !self.carried_last.get();
        let first = if carries_first {
            self.commit_carries()
        } else {
            self.commit_list()
        };
        first.or_else(|| {
            if carries_first {
                self.commit_list()
            } else {
                self.commit_carries()
            }
        })
    }

    fn commit_list(&self) -> Option<Outgoing> {
        // The list's own count is an upper bound: a place is taken for its exact size below.
        self.gather.borrow().front_bytes()?;
        let (list, mut plan) = {
            let mut gather = self.gather.borrow_mut();
            let list = gather.pop()?;
            let plan = Plan::of_items(&list.items);
            (list, plan)
        };
        let purpose = self.purpose_of(list.seq);
        let Some(placement) = self.ring.borrow_mut().place(plan.length as u64, purpose) else {
            self.gather.borrow_mut().put_back(list);
            if !self.starved.replace(true) {
                count(Counter::WaitsForWalFile);
            }
            self.starving.notify_all();
            self.keep.notify_one();
            self.behind.notify_one();
            return None;
        };
        self.starved.set(false);
        self.carried_last.set(false);
        let built = build_items(&mut plan, &list.items, self.chain_at(&placement));
        let mut metadata_end = 0;
        for item in &list.items {
            if let Some(tp) = partition_of(item) {
                placement.file.note(tp);
            }
            if let Item::Metadata { number, .. } = item {
                metadata_end = number + 1;
                placement.file.metadata_end.set(metadata_end);
            }
        }
        let touched = self.place_runs(&plan, &placement, &built);
        let List { seq, urgent, .. } = list;
        self.room.notify_all();
        let content = Content {
            completes: seq,
            urgent,
            touched,
            carried: Vec::new(),
            metadata_end,
        };
        Some(self.outgoing(content, placement, plan.length, built))
    }

    fn purpose_of(&self, seq: u64) -> For {
        if seq <= self.drain_upto.get() {
            For::Freeing
        } else if seq <= self.through_upto.get() && self.ring.borrow().is_growth_stopped() {
            For::MakingRoom
        } else {
            For::Appends
        }
    }

    fn commit_carries(&self) -> Option<Outgoing> {
        if !self.gather.borrow().has_carries() {
            return None;
        }
        let items = self.gather.borrow_mut().pop_carries(self.commit_bytes_max);
        let mut plan = Plan::of_carries(&items);
        let Some(placement) = self
            .ring
            .borrow_mut()
            .place(plan.length as u64, For::Freeing)
        else {
            self.gather.borrow_mut().put_back_carries(items);
            return None;
        };
        self.carried_last.set(true);
        let built = build_carries(&mut plan, &items, self.chain_at(&placement));
        let memory = self.tail_cache.borrow_mut().memory_of(&plan, &built);
        let place = |(item, entry): (CarryItem, &super::commit::PlannedEntry)| {
            placement.file.note(item.log.topic_partition());
            CarriedTo {
                item,
                position: placement.position + u64::from(entry.header.body_offset),
                mem: memory.slice(&entry.header),
                memory: memory.clone(),
            }
        };
        let carried = items.into_iter().zip(&plan.entries).map(place).collect();
        let content = Content {
            carried,
            ..Content::none(self.chain.get().last_completes)
        };
        Some(self.outgoing(content, placement, plan.length, built))
    }

    /// Whether the last commit says less than could be said: of what is durable, or of the
    /// checkpoint that counts.
    fn is_uncovered(&self, chain: &ChainState) -> bool {
        chain.last_end_lsn > chain.told_durable_lsn || chain.told_checkpoint < self.checkpoint.get()
    }

    /// An empty commit, so that the last one is covered by a `durable_lsn` too.
    fn cover(&self) -> Option<Outgoing> {
        let chain = self.chain.get();
        let idle = self.gather.borrow().is_empty() && self.progress.borrow().is_settled();
        if !idle || self.in_flight.get() > 0 || !self.is_uncovered(&chain) {
            return None;
        }
        let mut plan = Plan::of_headers(Vec::new());
        let placement = self
            .ring
            .borrow_mut()
            .place(plan.length as u64, For::Appends)?;
        let built = build_headers(&mut plan, self.chain_at(&placement));
        let last_end_lsn = chain.last_end_lsn;
        let content = Content::none(chain.last_completes);
        let outgoing = self.outgoing(content, placement, plan.length, built);
        // Nobody waits for this one: it needs no cover of its own.
        self.chain.set(ChainState {
            last_end_lsn,
            ..self.chain.get()
        });
        Some(outgoing)
    }

    fn chain_at(&self, placement: &Placement) -> Chain {
        let (prev_lsn, prev_crc) = self.chain.get().before.unwrap_or((placement.lsn, 0));
        Chain {
            generation: self.generation,
            shard: self.shard,
            lsn: placement.lsn,
            prev_lsn,
            prev_crc,
            durable_lsn: self.progress.borrow().durable_lsn,
            checkpoint: self.checkpoint.get(),
        }
    }

    /// Tells each log where its new runs lie, and keeps their memory for the tail cache.
    fn place_runs(&self, plan: &Plan, placement: &Placement, built: &Built) -> Vec<Touched> {
        let mut touched = Vec::with_capacity(plan.entries.len());
        let mut cached = Vec::with_capacity(plan.entries.len());
        let memory = self.tail_cache.borrow_mut().memory_of(plan, built);
        for entry in &plan.entries {
            let Some(log) = &entry.log else { continue };
            let header = &entry.header;
            if !header.kind.is_run() {
                touched.push(Touched {
                    log: log.clone(),
                    end: None,
                    log_start: Some(header.base),
                    bytes: 0,
                });
                continue;
            }
            log.place_run(NewRun {
                header,
                place: Place {
                    file: Rc::clone(&placement.file),
                    position: placement.position + u64::from(header.body_offset),
                },
                lsn: placement.lsn,
                mem: memory.slice(header),
            });
            let bytes = u64::from(header.body_len);
            touched.push(Touched {
                log: log.clone(),
                end: Some(header.end),
                log_start: None,
                bytes,
            });
            cached.push((log.clone(), header.base));
        }
        self.tail_cache
            .borrow_mut()
            .insert(placement.lsn, &memory, cached);
        touched
    }

    fn outgoing(
        &self,
        content: Content,
        placement: Placement,
        length: usize,
        built: Built,
    ) -> Outgoing {
        let Content {
            completes,
            urgent,
            touched,
            carried,
            metadata_end,
        } = content;
        let mut progress = self.progress.borrow_mut();
        let end_lsn = placement.lsn + length as u64;
        self.chain.set(ChainState {
            before: Some((placement.lsn, built.header_crc)),
            last_end_lsn: end_lsn,
            told_durable_lsn: progress.durable_lsn,
            told_checkpoint: self.checkpoint.get(),
            last_completes: completes,
        });
        // One operation serves if no other commit waits for a sync that this one's may not be,
        // and nobody waits for the write alone.
        let at_once =
            urgent && progress.written_waiters.is_empty() && !progress.has_unsynced_behind();
        let id = progress.next_id();
        self.times.built(id, completes);
        if urgent {
            progress.sync_wanted = id;
        }
        let flight = Flight {
            id,
            completes,
            lsn: placement.lsn,
            end_lsn,
            file: Rc::clone(&placement.file),
            touched,
            carried,
            metadata_end,
            written: false,
            covered: false,
            durable: false,
        };
        if planted::is(Planted::WitnessAhead) {
            self.witness.note(&flight);
        }
        progress.push(flight);
        Outgoing {
            id,
            placement,
            buf: built.buf,
            at_once,
        }
    }

    fn send(self: &Rc<Self>, outgoing: Outgoing) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.keep.notify_one();
        spawn("wal-commit", Rc::clone(self).carry_out(outgoing)).detach();
    }

    async fn carry_out(self: Rc<Self>, outgoing: Outgoing) {
        let Outgoing {
            id,
            placement,
            buf,
            at_once,
        } = outgoing;
        let file = placement.file.handle();
        let written = if at_once && !planted::is(Planted::AckBeforeSync) {
            let written = || self.times.written(id);
            file.write_durable_noting(IoClass::Commit, placement.position, &buf, written)
                .await
        } else {
            file.write(IoClass::Commit, placement.position, &buf).await
        };
        drop(buf);
        if let Err(error) = written {
            fatal(&format!(
                "cannot write {}: {error}",
                placement.file.path.display()
            ));
        }
        count(Counter::Commits);
        if at_once {
            count(Counter::Flushes);
        } else {
            self.times.written(id);
        }
        let advance = self.progress.borrow_mut().written(id, at_once);
        self.tell(advance);
        if !at_once {
            self.sync_if_wanted(id).await;
        }
        self.in_flight.set(self.in_flight.get() - 1);
        self.work.notify_one();
    }

    /// Syncs the commit, and with it all that has been written, if somebody waits for it and no
    /// sync that began after its write is on its way.
    async fn sync_if_wanted(&self, id: u64) {
        let begun = {
            let mut progress = self.progress.borrow_mut();
            if id > progress.sync_wanted {
                None
            } else {
                progress.begin_sync(id)
            }
        };
        let Some((ids, files)) = begun else { return };
        for file in files {
            if let Err(error) = file.handle().sync(IoClass::Commit).await {
                fatal(&format!("cannot sync {}: {error}", file.path.display()));
            }
        }
        count(Counter::Flushes);
        let advance = self.progress.borrow_mut().end_sync(&ids);
        self.tell(advance);
        self.work.notify_one();
    }

    /// First every end moves, then the observers see all of them, then waiters wake.
    fn tell(&self, advance: Advance) {
        for touched in &advance.written {
            if let Some(end) = touched.end {
                touched.log.set_written(end);
            }
        }
        for flight in &advance.durable {
            self.times.durable(flight.id);
            self.witness.note(flight);
            for touched in &flight.touched {
                if let Some(end) = touched.end {
                    touched
                        .log
                        .set_durable(end, touched.bytes, Ticket(advance.durable_ticket));
                }
                if let Some(log_start) = touched.log_start {
                    touched.log.set_durable_log_start(log_start);
                }
            }
        }
        for touched in &advance.written {
            touched.log.observe();
        }
        // Write-cached commits may be long before they are durable, and are memory until then.
        let any_written = !advance.written.is_empty();
        let mut any_durable = false;
        for flight in advance.durable {
            any_durable = true;
            for touched in flight.touched {
                touched.log.observe();
            }
            let runs = flight
                .carried
                .iter()
                .map(|c| (c.item.log.clone(), c.item.span.base));
            if let Some(first) = flight.carried.first() {
                self.tail_cache
                    .borrow_mut()
                    .insert(flight.lsn, &first.memory, runs.collect());
            }
            for carried in flight.carried {
                let place = Place {
                    file: Rc::clone(&flight.file),
                    position: carried.position,
                };
                carried
                    .item
                    .log
                    .carried(&carried.item.span, place, flight.lsn, carried.mem);
                carried.item.group.finish_one();
            }
        }
        for waker in advance.wakers {
            waker.wake();
        }
        if any_written || any_durable {
            self.tail_cache.borrow_mut().shrink();
        }
        if any_durable {
            self.behind.notify_one();
        }
    }

    /// Somebody waits for the ticket to be durable, write-cached or not.
    pub(super) fn want_durable(self: &Wal, ticket: Ticket) {
        let kick = {
            let mut progress = self.progress.borrow_mut();
            if progress.durable_ticket >= ticket.0 {
                return;
            }
            let before = progress.sync_wanted;
            progress.want_sync_of(ticket.0).filter(|id| *id > before)
        };
        match kick {
            Some(_) => self.cached_now(),
            None => self.gather.borrow_mut().make_urgent(ticket.0),
        }
    }

    /// Has the timer's task sync what is wanted: it holds no borrow and may await.
    fn cached_now(&self) {
        self.cached_due.set(Some(tailwater_shards::now()));
        self.cached.notify_one();
    }

    /// Everything built or waiting is to be made durable now.
    pub(super) fn sync_everything(&self) {
        let last = self.progress.borrow().last_id();
        self.progress.borrow_mut().sync_wanted = last;
        self.cached_now();
    }

    /// Syncs write-cached commits when the first of them comes due.
    async fn sync_cached(self: Rc<Self>) {
        while !self.stopped.get() {
            let rung = self.cached.notified();
            let Some(due) = self.cached_due.get() else {
                rung.await;
                continue;
            };
            if due > tailwater_shards::now() {
                futures_util::future::select(
                    std::pin::pin!(sleep_until(due)),
                    std::pin::pin!(rung),
                )
                .await;
                continue;
            }
            self.cached_due.set(None);
            let last = {
                let mut progress = self.progress.borrow_mut();
                let last = progress.last_id();
                progress.sync_wanted = progress.sync_wanted.max(last);
                last
            };
            self.gather.borrow_mut().make_urgent(u64::MAX);
            self.sync_if_wanted(last).await;
        }
    }
}

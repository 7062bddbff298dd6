//! The owner's side of a produce: idempotence, append, and the wait for what `acks` promises.

use super::check::{Checked, Refused};
use super::times::OwnerTimes;
use super::{PartOutcome, ProduceRefusal, Produced};
use crate::BrokerError;
use crate::broker::Inner;
use crate::partition::{Acks, End, Partition, acknowledged, storage_refusal};
use crate::producer_state::Verdict;
use futures_util::future::{FutureExt, LocalBoxFuture};
use std::rc::Rc;
use std::time::Duration;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{Counter, count, now, timeout, wall_clock_ms};
use tailwater_storage::{StorageError, Sync, Ticket, TopicPartition};

/// What a produce request has for the partitions of one owner.
#[derive(Debug)]
pub(crate) struct AppendRequest {
    pub(crate) acks: Acks,
    pub(crate) timeout: Duration,
    pub(crate) parts: Vec<AppendPart>,
}

/// A batch for one partition; or one that was refused already, to learn the log start.
#[derive(Debug)]
pub(crate) struct AppendPart {
    pub(crate) tp: TopicPartition,
    pub(crate) batch: Result<Checked, ProduceRefusal>,
}

/// What became of an owner's parts.
#[derive(Debug)]
pub(crate) struct AppendReply {
    /// An outcome for each part.
    pub(crate) outcomes: Vec<PartOutcome>,
    pub(crate) times: OwnerTimes,
}

/// What the parts of a request wait for together.
#[derive(Default)]
struct Awaited {
    written: Option<Ticket>,
    durable: Option<Ticket>,
    /// Of the part that was added last.
    last: Option<Ticket>,
}

impl Awaited {
    fn add(&mut self, end: End, ticket: Ticket) {
        let slot = match end {
            End::Written => &mut self.written,
            End::Durable => &mut self.durable,
        };
        *slot = (*slot).max(Some(ticket));
        self.last = Some(ticket);
    }
}

/// A partition that a request appends to.
struct Touched {
    partition: Rc<Partition>,
    /// Written is enough for acks=all, as long as the topic is write-cached: if it no longer is
    /// when the answer is due, this has to be durable as well.
    cached: Option<Ticket>,
}

impl Touched {
    fn owed(&self) -> Option<Ticket> {
        self.cached.filter(|_| !self.partition.write_caching())
    }
}

/// Batches whose order is fixed, and what their answer waits for.
struct Appended {
    outcomes: Vec<PartOutcome>,
    touched: Vec<Touched>,
    awaited: Awaited,
    times: OwnerTimes,
}

/// Appends in the order of the calls: when this returns, or once the future it returns has been
/// polled first, every later call comes after. The future ends when what `acks` promises holds.
///
/// The log takes no more while its WAL is full. Then calls queue in their order, each for no
/// longer than its request's timeout.
pub(crate) fn append(
    broker: &Rc<Inner>,
    request: AppendRequest,
) -> LocalBoxFuture<'static, AppendReply> {
    let taken_ns = now().as_nanos();
    let broker = broker.clone();
    let acks = request.acks;
    let wait_max = request.timeout;
    let free = broker.append_gate.try_acquire(1);
    if free.is_some() && broker.storage.room().now_or_never().is_some() {
        let appended = append_now(&broker, request, taken_ns);
        drop(free);
        return acknowledge(broker, appended, wait_max);
    }
    drop(free);
    count(Counter::WaitsForWalRoom);
    async move {
        let header = |part: &AppendPart| part.batch.as_ref().ok().map(|batch| batch.header);
        let queuing: Vec<_> = request.parts.iter().map(|p| (p.tp, header(p))).collect();
        let queued = timeout(wait_max, async {
            let _turn = broker.append_gate.acquire(1).await;
            broker.storage.room().await;
            append_now(&broker, request, taken_ns)
        });
        match queued.await {
            Ok(appended) => acknowledge(broker, appended, wait_max).await,
            Err(_) => {
                tracing::debug!(
                    parts = queuing.len(),
                    ?acks,
                    "the log had no room within the request's timeout"
                );
                for (tp, header) in &queuing {
                    let partition = broker.partitions.borrow().find(*tp).ok();
                    if let (Some(partition), Some(header)) = (partition, header) {
                        partition.producers().refused(header);
                    }
                }
                let refused = || Err(BrokerError::RequestTimedOut.into());
                AppendReply {
                    outcomes: queuing.iter().map(|_| refused()).collect(),
                    times: OwnerTimes::default(),
                }
            }
        }
    }
    .boxed_local()
}

fn append_now(broker: &Rc<Inner>, request: AppendRequest, taken_ns: u64) -> Appended {
    let now_ms = wall_clock_ms();
    let mut appended = Appended {
        outcomes: Vec::with_capacity(request.parts.len()),
        touched: Vec::with_capacity(request.parts.len()),
        awaited: Awaited::default(),
        times: OwnerTimes {
            taken_ns,
            ..OwnerTimes::default()
        },
    };
    for part in request.parts {
        let partition = broker.partitions.borrow().find(part.tp).ok();
        let outcome = append_part(
            broker,
            partition.as_deref(),
            request.acks,
            part,
            now_ms,
            &mut appended.awaited,
        );
        appended.outcomes.push(outcome);
        let last = appended.awaited.last.take();
        appended.touched.extend(partition.map(|partition| {
            let cached = request.acks == Acks::All && partition.write_caching();
            let cached = last.filter(|_| cached);
            Touched { partition, cached }
        }));
    }
    appended.times.appended_ns = now().as_nanos();
    appended.times.done_ns = appended.times.appended_ns;
    appended
}

fn append_part(
    broker: &Rc<Inner>,
    partition: Option<&Partition>,
    acks: Acks,
    part: AppendPart,
    now_ms: i64,
    awaited: &mut Awaited,
) -> PartOutcome {
    let Some(partition) = partition else {
        return Err(BrokerError::UnknownTopicOrPartition.into());
    };
    partition.check_in_service()?;
    let with_log_start = |refusal| ProduceRefusal {
        log_start_offset: partition.log_start(),
        ..refusal
    };
    let checked = part.batch.map_err(with_log_start)?;
    let write_caching = partition.write_caching();
    let end = acknowledged(acks, write_caching);
    let verdict = if checked.header.has_producer_id() {
        let expiration_ms = broker.image().settings().producer_id_expiration_ms;
        let offset = partition.log().appended_end().0;
        let verdict = partition.producers().check(
            &checked.header,
            offset,
            &|| partition.name(),
            now_ms,
            expiration_ms,
        );
        verdict.map_err(|error| with_log_start(error.into()))?
    } else {
        Verdict::New
    };
    let base_offset = match verdict {
        Verdict::New => append_new(
            broker,
            partition,
            &checked,
            write_caching,
            end,
            now_ms,
            awaited,
        )?,
        Verdict::Duplicate {
            base_offset,
            last_offset,
        } => {
            await_duplicate(partition, last_offset, end, awaited);
            base_offset
        }
    };
    Ok(Produced {
        base_offset,
        log_append_time_ms: checked.log_append_time_ms,
        log_start_offset: partition.log_start(),
    })
}

fn append_new(
    broker: &Rc<Inner>,
    partition: &Partition,
    checked: &Checked,
    write_caching: bool,
    end: Option<End>,
    now_ms: i64,
    awaited: &mut Awaited,
) -> Result<i64, ProduceRefusal> {
    let sync = if write_caching {
        Sync::Cached
    } else {
        Sync::Durable
    };
    let bytes = checked.batch.len();
    let appended = partition
        .log()
        .append(checked.batch.clone(), &checked.header, sync)
        .map_err(|error| {
            if matches!(error, StorageError::DiskFull) {
                partition.producers().refused(&checked.header);
            }
            ProduceRefusal::from(storage_refusal(&error))
        })?;
    assert!(
        appended.last_offset >= appended.base_offset,
        "a batch has records"
    );
    if checked.header.has_producer_id() {
        let expiration_ms = broker.image().settings().producer_id_expiration_ms;
        partition
            .producers()
            .append(&checked.header, appended.base_offset, now_ms, expiration_ms);
    }
    partition.appended(appended.last_offset + 1, bytes);
    if let Some(end) = end {
        awaited.add(end, appended.ticket);
    }
    Ok(appended.base_offset)
}

/// A repeated batch is acknowledged by the condition of the first one.
fn await_duplicate(
    partition: &Partition,
    last_offset: i64,
    end: Option<End>,
    awaited: &mut Awaited,
) {
    let Some(end) = end else { return };
    let early = planted::is(Planted::DuplicateAnsweredEarly);
    if early || partition.has_passed(end, last_offset + 1) {
        return;
    }
    if let Some(ticket) = partition.log().ticket_of(last_offset) {
        awaited.add(end, ticket);
    }
}

/// Waits for what the appends promise, for no longer than `wait_max`.
fn acknowledge(
    broker: Rc<Inner>,
    appended: Appended,
    wait_max: Duration,
) -> LocalBoxFuture<'static, AppendReply> {
    let Appended {
        outcomes,
        touched,
        awaited,
        mut times,
    } = appended;
    if awaited.written.is_none() && awaited.durable.is_none() {
        return std::future::ready(AppendReply { outcomes, times }).boxed_local();
    }
    async move {
        let held = timeout(wait_max, async {
            if let Some(ticket) = awaited.durable {
                broker.storage.durable(ticket).await?;
            }
            if let Some(ticket) = awaited.written {
                broker.storage.written(ticket).await?;
            }
            if let Some(ticket) = touched.iter().filter_map(Touched::owed).max() {
                broker.storage.durable(ticket).await?;
            }
            Ok::<(), tailwater_storage::StorageError>(())
        });
        let failure = match held.await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(storage_refusal(&error)),
            Err(_) => Some(BrokerError::RequestTimedOut),
        };
        times.done_ns = now().as_nanos();
        if let Some(ticket) = awaited.durable.or(awaited.written) {
            times.commit = broker.storage.commit_times(ticket);
        }
        // Who reads after this answer must see what it acknowledges.
        for touched in &touched {
            touched.partition.advance();
        }
        let outcomes = match failure {
            None => outcomes,
            Some(error) => outcomes
                .into_iter()
                .map(|outcome| outcome.and(Err(error.clone().into())))
                .collect(),
        };
        AppendReply { outcomes, times }
    }
    .boxed_local()
}

impl AppendPart {
    /// A batch that was refused before; the owner adds the log start where Kafka tells it.
    pub(super) fn refused(tp: TopicPartition, refused: Refused) -> Result<Self, ProduceRefusal> {
        if refused.tells_log_start {
            Ok(Self {
                tp,
                batch: Err(refused.refusal),
            })
        } else {
            Err(refused.refusal)
        }
    }
}

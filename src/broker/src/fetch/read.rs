//! The owner's side of a fetch: watch, check, read.

use super::memory::Kept;
use crate::BrokerError;
use crate::broker::Inner;
use crate::offsets::Isolation;
use crate::partition::Partition;
use bytes::Bytes;
use futures_util::future::{FutureExt, LocalBoxFuture};
use std::ops::Range;
use std::rc::Rc;
use tailwater_shards::Marker;
use tailwater_shards::planted::{self, Planted};
use tailwater_storage::{ReadError, TopicPartition};

/// What a fetch wants of the partitions of one owner.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    pub(crate) isolation: Isolation,
    /// Of all parts together.
    pub(crate) bytes_max: usize,
    /// The first batch comes whatever its size.
    pub(crate) first_batch: bool,
    /// Only what memory has: what takes the disk is starved.
    pub(crate) memory_only: bool,
    /// What the records may keep alive beyond their bytes.
    pub(crate) slack_max: usize,
    /// The set of watches that the markers are of.
    pub(crate) set: u64,
    /// The watches stay: a fetch session's.
    pub(crate) standing: bool,
    pub(crate) parts: Vec<ReadPart>,
}

/// What a fetch wants of one partition.
pub(crate) struct ReadPart {
    pub(crate) tp: TopicPartition,
    pub(crate) current_leader_epoch: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) bytes_max: usize,
    /// To be registered before anything is looked at.
    pub(crate) watch: Option<Marker>,
}

impl std::fmt::Debug for ReadPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadPart")
            .field("tp", &self.tp)
            .field("fetch_offset", &self.fetch_offset)
            .finish_non_exhaustive()
    }
}

/// What was read of one partition.
#[derive(Debug)]
pub(crate) struct ReadOutcome {
    pub(crate) error: Option<BrokerError>,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable_offset: i64,
    pub(crate) log_start_offset: i64,
    pub(crate) diverging_epoch: Option<(i32, i64)>,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) records: Vec<Bytes>,
    pub(crate) bytes: usize,
    /// There is something, and not a batch of it fitted.
    pub(crate) starved: bool,
    /// There is more than fitted with what others have.
    pub(crate) more: bool,
}

impl ReadOutcome {
    /// Lets go of what was read.
    pub(crate) fn forget_records(&mut self) {
        self.records = Vec::new();
        self.bytes = 0;
    }

    /// Nothing was read because of that.
    pub(crate) fn failed(error: BrokerError) -> Self {
        Self {
            error: Some(error),
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            leader_epoch: None,
            records: Vec::new(),
            bytes: 0,
            starved: false,
            more: false,
        }
    }
}

/// What a part is found to be, once it was checked.
enum Found {
    /// There is nothing to read.
    Ready(ReadOutcome),
    /// Read from the fetch offset up to there.
    Readable {
        partition: Rc<Partition>,
        from: i64,
        upto: i64,
    },
}

/// Reads the parts in their order, each after its watch is registered. All that memory has is read
/// before this returns; only what has to come from the disk is awaited.
pub(crate) fn read(
    broker: &Rc<Inner>,
    request: ReadRequest,
) -> LocalBoxFuture<'static, Vec<ReadOutcome>> {
    let mut left = request.bytes_max;
    let mut kept = Kept::new(request.slack_max);
    let mut none_yet = request.first_batch;
    let mut outcomes = Vec::with_capacity(request.parts.len());
    let mut found = Vec::with_capacity(request.parts.len());
    for part in request.parts {
        let bytes_max = part.bytes_max;
        found.push((
            look(
                broker,
                part,
                request.isolation,
                request.set,
                request.standing,
            ),
            bytes_max,
        ));
    }
    let mut found = found.into_iter();
    while let Some((next, bytes_max)) = found.next() {
        let (partition, from, upto) = match next {
            Found::Ready(outcome) => {
                outcomes.push(outcome);
                continue;
            }
            Found::Readable {
                partition,
                from,
                upto,
            } => (partition, from, upto),
        };
        let Some(read) = partition
            .log()
            .try_read(from, upto, bytes_max.min(left), none_yet)
        else {
            if request.memory_only {
                outcomes.push(ReadOutcome {
                    starved: true,
                    more: true,
                    ..empty(&partition)
                });
                continue;
            }
            // The first that memory does not have: it and all after it are read in a future.
            let rest = std::iter::once((
                Found::Readable {
                    partition,
                    from,
                    upto,
                },
                bytes_max,
            ))
            .chain(found)
            .collect();
            return read_rest(rest, outcomes, left, none_yet, kept).boxed_local();
        };
        let shared = left < bytes_max;
        let outcome = outcome_of(&partition, read, from..upto, shared, &mut kept);
        left = left.saturating_sub(outcome.bytes);
        none_yet &= outcome.bytes == 0;
        outcomes.push(outcome);
    }
    std::future::ready(outcomes).boxed_local()
}

async fn read_rest(
    rest: Vec<(Found, usize)>,
    mut outcomes: Vec<ReadOutcome>,
    mut left: usize,
    mut none_yet: bool,
    mut kept: Kept,
) -> Vec<ReadOutcome> {
    for (next, bytes_max) in rest {
        let (partition, from, upto) = match next {
            Found::Ready(outcome) => {
                outcomes.push(outcome);
                continue;
            }
            Found::Readable {
                partition,
                from,
                upto,
            } => (partition, from, upto),
        };
        let shared = left < bytes_max;
        let bytes_max = bytes_max.min(left);
        let read = if bytes_max == 0 && !none_yet {
            Ok(tailwater_storage::Read::default())
        } else {
            partition.log().read(from, upto, bytes_max, none_yet).await
        };
        let outcome = outcome_of(&partition, read, from..upto, shared, &mut kept);
        left = left.saturating_sub(outcome.bytes);
        none_yet &= outcome.bytes == 0;
        outcomes.push(outcome);
    }
    outcomes
}

fn look(
    broker: &Rc<Inner>,
    part: ReadPart,
    isolation: Isolation,
    set: u64,
    standing: bool,
) -> Found {
    let partition = match broker.partitions.borrow().find(part.tp) {
        Ok(partition) => partition,
        Err(error) => return Found::Ready(ReadOutcome::failed(error)),
    };
    if let Some(marker) = part.watch.clone() {
        partition.watch(set, marker, standing);
    }
    match check(&partition, &part, isolation) {
        Ok(Some(upto)) => Found::Readable {
            partition,
            from: part.fetch_offset,
            upto,
        },
        Ok(None) => Found::Ready(empty(&partition)),
        Err(Refusal::Diverging(epoch, end)) => Found::Ready(ReadOutcome {
            diverging_epoch: Some((epoch, end)),
            ..empty(&partition)
        }),
        Err(Refusal::Error(error)) => {
            let leader_epoch = match error {
                BrokerError::FencedLeaderEpoch { current, .. } => Some(current),
                _ => None,
            };
            Found::Ready(ReadOutcome {
                leader_epoch,
                ..ReadOutcome::failed(error)
            })
        }
    }
}

enum Refusal {
    Error(BrokerError),
    Diverging(i32, i64),
}

impl From<BrokerError> for Refusal {
    fn from(error: BrokerError) -> Self {
        Self::Error(error)
    }
}

/// Up to where may be read; `None` when there is nothing (yet) at the fetch offset.
fn check(
    partition: &Partition,
    part: &ReadPart,
    isolation: Isolation,
) -> Result<Option<i64>, Refusal> {
    partition.check_in_service()?;
    partition.check_epoch(part.current_leader_epoch)?;
    let (log_start, end) = (partition.log_start(), partition.ends().appended.0);
    let out_of_range = BrokerError::OffsetOutOfRange {
        offset: part.fetch_offset,
        log_start,
        end,
    };
    if part.last_fetched_epoch >= 0 {
        match partition.log().epoch_end(part.last_fetched_epoch, end) {
            None => return Err(out_of_range.into()),
            Some((epoch, epoch_end))
                if epoch < part.last_fetched_epoch || epoch_end < part.fetch_offset =>
            {
                return Err(Refusal::Diverging(epoch, epoch_end));
            }
            Some(_) => {}
        }
    }
    if part.fetch_offset < log_start || part.fetch_offset > end {
        return Err(out_of_range.into());
    }
    let upto = visible_end(partition, isolation);
    Ok((part.fetch_offset < upto).then_some(upto))
}

/// The end of what that reader may see.
pub(crate) fn visible_end(partition: &Partition, isolation: Isolation) -> i64 {
    match isolation {
        Isolation::ReadUncommitted if planted::is(Planted::FetchPassesHighWatermark) => {
            partition.ends().appended.0
        }
        Isolation::ReadUncommitted => partition.high_watermark().0,
        Isolation::ReadCommitted => partition.last_stable_offset().0,
    }
}

fn empty(partition: &Partition) -> ReadOutcome {
    ReadOutcome {
        error: None,
        high_watermark: partition.high_watermark().0,
        last_stable_offset: partition.last_stable_offset().0,
        log_start_offset: partition.log_start(),
        diverging_epoch: None,
        leader_epoch: None,
        records: Vec::new(),
        bytes: 0,
        starved: false,
        more: false,
    }
}

/// What was read of what could be; `shared` if the parts before left less than it asked for.
fn outcome_of(
    partition: &Partition,
    read: Result<tailwater_storage::Read, ReadError>,
    readable: Range<i64>,
    shared: bool,
    kept: &mut Kept,
) -> ReadOutcome {
    match read {
        // Only what can be read is read.
        Ok(read) => ReadOutcome {
            starved: read.bytes == 0,
            more: shared && read.next.max(readable.start) < readable.end,
            bytes: read.bytes,
            records: kept.keep(read.slices, tailwater_shards::allocation_of),
            ..empty(partition)
        },
        Err(error) => ReadOutcome::failed(read_refusal(&error)),
    }
}

/// What a client is told when a log cannot be read.
pub(crate) fn read_refusal(error: &ReadError) -> BrokerError {
    match error {
        ReadError::OffsetOutOfRange {
            offset,
            log_start,
            end,
        } => BrokerError::OffsetOutOfRange {
            offset: *offset,
            log_start: *log_start,
            end: *end,
        },
        ReadError::Dropped => BrokerError::UnknownTopicOrPartition,
        ReadError::Corrupt(_) | ReadError::Io { .. } => BrokerError::Storage {
            detail: error.to_string(),
        },
    }
}

//! The owner's side of questions about offsets.

use super::{EpochEnd, EpochQuery, Isolation, OffsetFound, OffsetQuery};
use crate::BrokerError;
use crate::broker::Inner;
use crate::fetch::{read_refusal, visible_end};
use crate::partition::{Partition, storage_refusal};
use std::rc::Rc;
use tailwater_shards::planted::{self, Planted};
use tailwater_storage::{TimestampHit, TopicPartition};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// Nothing was found, which is no error.
const NOTHING: OffsetFound = OffsetFound {
    timestamp: -1,
    offset: -1,
    leader_epoch: -1,
};

/// Looks offsets up, one after the other.
pub(crate) async fn answer_list_offsets(
    broker: Rc<Inner>,
    isolation: Isolation,
    queries: Vec<(TopicPartition, OffsetQuery)>,
) -> Vec<Result<OffsetFound, BrokerError>> {
    let mut outcomes = Vec::with_capacity(queries.len());
    for (tp, query) in queries {
        let partition = broker.partitions.borrow().find(tp);
        outcomes.push(match partition {
            Ok(partition) => list_offset(&partition, isolation, query).await,
            Err(error) => Err(error),
        });
    }
    outcomes
}

async fn list_offset(
    partition: &Partition,
    isolation: Isolation,
    query: OffsetQuery,
) -> Result<OffsetFound, BrokerError> {
    partition.check_in_service()?;
    partition.check_epoch(query.current_leader_epoch)?;
    let upto = visible_end(partition, isolation);
    let log = partition.log();
    match query.timestamp {
        LATEST => Ok(OffsetFound {
            timestamp: -1,
            offset: upto,
            leader_epoch: log.leader_epoch(),
        }),
        EARLIEST | EARLIEST_LOCAL => {
            let offset = partition.log_start();
            // Kafka tells the epoch of the first record, and of an empty log its own.
            let leader_epoch = log.epoch_at(offset).unwrap_or_else(|| log.leader_epoch());
            Ok(OffsetFound {
                timestamp: -1,
                offset,
                leader_epoch,
            })
        }
        // No tier: nothing is in it, and nothing waits to go there.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => Ok(NOTHING),
        MAX_TIMESTAMP => Ok(found(
            log.max_timestamp(upto)
                .await
                .map_err(|error| read_refusal(&error))?,
        )),
        timestamp if timestamp >= 0 => Ok(found(
            log.offset_for_timestamp(timestamp, upto)
                .await
                .map_err(|error| read_refusal(&error))?,
        )),
        other => Err(BrokerError::UnsupportedVersion(format!(
            "{other} is no timestamp to look for"
        ))),
    }
}

fn found(hit: Option<TimestampHit>) -> OffsetFound {
    hit.map_or(NOTHING, |hit| OffsetFound {
        timestamp: hit.timestamp,
        offset: hit.offset,
        leader_epoch: hit.leader_epoch,
    })
}

/// Tells where epochs end.
pub(crate) fn answer_epoch_ends(
    broker: &Inner,
    queries: &[(TopicPartition, EpochQuery)],
) -> Vec<Result<EpochEnd, BrokerError>> {
    let partitions = broker.partitions.borrow();
    let answer = |(tp, query): &(TopicPartition, EpochQuery)| {
        let partition = partitions.find(*tp)?;
        partition.check_in_service()?;
        partition.check_epoch(query.current_leader_epoch)?;
        // Below the high watermark only, as Kafka answers consumers.
        let end = partition
            .log()
            .epoch_end(query.leader_epoch, partition.high_watermark().0);
        let (leader_epoch, end_offset) = end.unwrap_or((-1, -1));
        Ok(EpochEnd {
            leader_epoch,
            end_offset,
        })
    };
    queries.iter().map(answer).collect()
}

/// Moves log starts up, and waits until that is durable.
pub(crate) async fn answer_delete_records(
    broker: Rc<Inner>,
    parts: Vec<(TopicPartition, i64)>,
) -> Vec<Result<i64, BrokerError>> {
    let mut moved = Vec::with_capacity(parts.len());
    for (tp, offset) in parts {
        let partition = broker.partitions.borrow().find(tp);
        moved.push(partition.and_then(|partition| advance_log_start(&partition, offset)));
    }
    let mut outcomes = Vec::with_capacity(moved.len());
    for outcome in moved {
        outcomes.push(match outcome {
            Ok((low_watermark, _)) if planted::is(Planted::LogStartAnsweredEarly) => {
                Ok(low_watermark)
            }
            Ok((low_watermark, ticket)) => {
                let durable = broker.storage.durable(ticket).await;
                durable
                    .map(|()| low_watermark)
                    .map_err(|error| storage_refusal(&error))
            }
            Err(error) => Err(error),
        });
    }
    outcomes
}

fn advance_log_start(
    partition: &Partition,
    offset: i64,
) -> Result<(i64, tailwater_storage::Ticket), BrokerError> {
    partition.check_in_service()?;
    let (log_start, high_watermark) = (partition.log_start(), partition.high_watermark().0);
    let target = if offset == -1 { high_watermark } else { offset };
    if target < 0 || target > high_watermark {
        return Err(BrokerError::OffsetOutOfRange {
            offset,
            log_start,
            end: high_watermark,
        });
    }
    // Also when nothing moves: retention, or another request, may have moved it there just now, and
    // that is not durable yet.
    let ticket = partition
        .log()
        .advance_log_start(target)
        .map_err(|error| storage_refusal(&error))?;
    Ok((target.max(log_start), ticket))
}

/// Tells how many bytes partitions hold; -1 for one that is not here.
pub(crate) fn answer_log_sizes(broker: &Inner, tps: &[TopicPartition]) -> Vec<i64> {
    let partitions = broker.partitions.borrow();
    let size = |tp: &TopicPartition| {
        let partition = partitions.find(*tp).ok()?;
        i64::try_from(partition.log().bytes()).ok()
    };
    tps.iter().map(|tp| size(tp).unwrap_or(-1)).collect()
}

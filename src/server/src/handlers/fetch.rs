//! Fetch: parks until there is enough, and leaves without a copy of its records.

use tailwater_broker::BrokerError;
use tailwater_broker::error_code::{
    FENCED_LEADER_EPOCH, NONE, NOT_LEADER_OR_FOLLOWER, UNKNOWN_SERVER_ERROR, UNKNOWN_TOPIC_ID,
    UNKNOWN_TOPIC_OR_PARTITION,
};
use tailwater_broker::fetch::{
    FetchOutcome, FetchPartition, FetchRequest, FetchedPartition, HeldReply,
};
use tailwater_broker::offsets::Isolation;
use tailwater_wire::Response;
use tailwater_wire::fetch::{
    AbortedTransaction, DivergingEpoch, FetchPartitionResponse, FetchRequest as WireRequest,
    FetchResponse, FetchTopicResponse,
};
use tailwater_wire::produce::CurrentLeader;

use super::common::{current_leader, endpoints, isolation, milliseconds, topic_key, topic_ref};
use crate::router::RequestContext;
use crate::shard::Shard;

/// From this version on topics are named by their ids.
const TOPIC_IDS_FROM: i16 = 13;

/// Fetches. The second value is the memory that the records hold until they have been sent;
/// `lags` says whether the reader has yet to take what was sent before.
pub(crate) async fn handle(
    shard: &Shard,
    context: &RequestContext,
    request: WireRequest,
    lags: &dyn Fn() -> bool,
) -> (Response, Option<HeldReply>) {
    if let Some(error_code) = refusal(&request) {
        return (Response::Fetch(refused(request, error_code)), None);
    }
    let request = translate(context.header.version, request);
    let isolation = request.isolation;
    let (outcome, held) = shard.broker.fetch_within(request, lags).await;
    (Response::Fetch(answer(shard, isolation, outcome)), held)
}

/// Why nothing of a request can be looked at: an isolation level that does not exist, or a
/// replica, as which nobody can be known here.
fn refusal(request: &WireRequest) -> Option<i16> {
    if !matches!(request.isolation_level, 0 | 1) {
        return Some(UNKNOWN_SERVER_ERROR);
    }
    (request.replica_id >= 0).then_some(NOT_LEADER_OR_FOLLOWER)
}

fn refused(request: WireRequest, error_code: i16) -> FetchResponse {
    let topics = request.topics.into_iter().map(|topic| FetchTopicResponse {
        partitions: topic
            .partitions
            .iter()
            .map(|wanted| FetchPartitionResponse::refused(wanted.partition, error_code))
            .collect(),
        topic: topic.topic,
    });
    let error_code = if error_code == UNKNOWN_SERVER_ERROR {
        error_code
    } else {
        NONE
    };
    FetchResponse {
        error_code,
        topics: topics.collect(),
        ..FetchResponse::default()
    }
}

fn translate(version: i16, request: WireRequest) -> FetchRequest {
    let count = request
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    let mut partitions = Vec::with_capacity(count);
    for topic in &request.topics {
        let key = topic_key(&topic.topic);
        partitions.extend(topic.partitions.iter().map(|wanted| FetchPartition {
            topic: key.clone(),
            partition: wanted.partition,
            current_leader_epoch: wanted.current_leader_epoch,
            fetch_offset: wanted.fetch_offset,
            last_fetched_epoch: wanted.last_fetched_epoch,
            max_bytes: wanted.partition_max_bytes,
        }));
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten {
        let key = topic_key(&topic.topic);
        forgotten.extend(topic.partitions.iter().map(|index| (key.clone(), *index)));
    }
    FetchRequest {
        max_wait: milliseconds(request.max_wait_ms),
        min_bytes: request.min_bytes,
        max_bytes: request.max_bytes,
        isolation: isolation(request.isolation_level),
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        uses_topic_ids: version >= TOPIC_IDS_FROM,
        partitions,
        forgotten,
    }
}

fn answer(shard: &Shard, isolation: Isolation, outcome: FetchOutcome) -> FetchResponse {
    if let Some(error) = outcome.error {
        return FetchResponse {
            error_code: error.code(),
            ..FetchResponse::default()
        };
    }
    let mut response = FetchResponse {
        session_id: outcome.session_id,
        ..FetchResponse::default()
    };
    let mut last_key = None;
    for fetched in outcome.partitions {
        let key = fetched.topic.clone();
        let partition = partition(shard, isolation, fetched);
        match response.topics.last_mut() {
            Some(topic) if last_key.as_ref() == Some(&key) => topic.partitions.push(partition),
            _ => {
                let topic = topic_ref(&key);
                response.topics.push(FetchTopicResponse {
                    topic,
                    partitions: vec![partition],
                });
                last_key = Some(key);
            }
        }
    }
    let partitions = response.topics.iter().flat_map(|t| &t.partitions);
    let leaders = partitions.filter_map(|p| p.current_leader.as_ref());
    response.node_endpoints = endpoints(&shard.identity, leaders);
    response
}

fn partition(
    shard: &Shard,
    isolation: Isolation,
    fetched: FetchedPartition,
) -> FetchPartitionResponse {
    let error_code = fetched.error.as_ref().map_or(NONE, BrokerError::code);
    let misled = matches!(error_code, NOT_LEADER_OR_FOLLOWER | FENCED_LEADER_EPOCH);
    let leader = fetched.leader_epoch.filter(|_| misled).and_then(|epoch| {
        let image = shard.broker.image();
        let topic = image.topic_by_key(&fetched.topic)?;
        Some(CurrentLeader {
            leader_epoch: epoch,
            ..current_leader(shard, topic, fetched.partition)
        })
    });
    FetchPartitionResponse {
        high_watermark: fetched.high_watermark,
        last_stable_offset: fetched.last_stable_offset,
        log_start_offset: fetched.log_start_offset,
        aborted: aborted(isolation, error_code),
        records: fetched.records,
        diverging_epoch: fetched
            .diverging_epoch
            .map(|(epoch, end_offset)| DivergingEpoch { epoch, end_offset }),
        current_leader: leader,
        ..FetchPartitionResponse::refused(fetched.partition, error_code)
    }
}

/// There are no transactions to abort yet: null, or an empty list where Kafka has that.
fn aborted(isolation: Isolation, error_code: i16) -> Option<Vec<AbortedTransaction>> {
    let empty = match error_code {
        NONE => isolation == Isolation::ReadCommitted,
        UNKNOWN_TOPIC_OR_PARTITION | UNKNOWN_TOPIC_ID => true,
        _ => false,
    };
    empty.then(Vec::new)
}

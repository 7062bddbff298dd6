//! Produce: the one API whose requests overlap.
//!
//! [`begin`] is the ordered stage: decode is done, the broker checks the batches and hands them to
//! their owners. What it returns waits for what `acks` promises.

use std::rc::Rc;

use tailwater_broker::error_code::{NONE, NOT_LEADER_OR_FOLLOWER};
use tailwater_broker::produce::{
    ProduceOutcome, ProducePart, ProduceRefusal, ProduceRequest, Produced,
};
use tailwater_wire::produce::{
    CurrentLeader, ProducePartitionResponse, ProduceRequest as WireRequest, ProduceResponse,
    ProduceTopicResponse, RecordError,
};
use tailwater_wire::{Response, TopicRef};

use super::common::{current_leader, endpoints, milliseconds, target, text};
use crate::connection::{Begun, Reply};
use crate::router::{RequestContext, encode, reply};
use crate::shard::Shard;
use crate::stages::Stages;

/// From this version on batches may be compressed with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// Kafka's own administrative client: it alone may write to the broker's own topics.
const ADMIN_CLIENT: &str = "__admin_client";

/// A topic as it was asked for, and its partitions, in the request's order: the shape of the
/// answer.
type Shape = Vec<(TopicRef, Vec<i32>)>;

/// Hands a request to the broker; what is left waits to be durable.
pub(crate) async fn begin(
    shard: &Rc<Shard>,
    context: RequestContext,
    request: WireRequest,
    mut stages: Stages,
) -> Begun {
    let acks = request.acks;
    let (request, shape) = translate(shard, &context, request);
    let acknowledged = shard.broker.submit_produce(request).await;
    let shard = Rc::clone(shard);
    Begun::Waiting(Box::pin(async move {
        let outcome = acknowledged.await;
        stages.stamp_produced(outcome.times);
        if acks == 0 {
            return unanswered(&outcome, stages);
        }
        let encoded = encode(&context.header, answer(&shard, shape, outcome));
        reply(encoded, None, stages)
    }))
}

fn translate(
    shard: &Shard,
    context: &RequestContext,
    request: WireRequest,
) -> (ProduceRequest, Shape) {
    let image = shard.broker.image();
    let count = request
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    let mut parts = Vec::with_capacity(count);
    let mut shape = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let found = target(&image, &topic.topic);
        let mut indexes = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            indexes.push(partition.index);
            parts.push(ProducePart {
                topic: found,
                partition: partition.index,
                records: partition.records,
            });
        }
        shape.push((topic.topic, indexes));
    }
    let timeout = milliseconds(request.timeout_ms);
    (
        ProduceRequest {
            acks: request.acks,
            zstd_allowed: context.header.version >= ZSTD_FROM,
            internal_allowed: context.client_id.as_deref() == Some(ADMIN_CLIENT),
            timeout,
            parts,
        },
        shape,
    )
}

/// A producer with `acks=0` reads no answer: it learns of an error by losing its connection.
fn unanswered(outcome: &ProduceOutcome, stages: Stages) -> Reply {
    let then_close = outcome.parts.iter().any(Result::is_err);
    Reply {
        answer: None,
        held: None,
        then_close,
        stages,
    }
}

fn answer(shard: &Shard, shape: Shape, outcome: ProduceOutcome) -> Response {
    let mut parts = outcome.parts.into_iter();
    let mut response = ProduceResponse::default();
    for (topic, indexes) in shape {
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in indexes {
            let part = parts.next().expect("the broker answers each part");
            partitions.push(partition(shard, &topic, index, part));
        }
        response
            .topics
            .push(ProduceTopicResponse { topic, partitions });
    }
    assert!(
        parts.next().is_none(),
        "the broker answers nothing but the parts"
    );
    let partitions = response.topics.iter().flat_map(|t| &t.partitions);
    let leaders = partitions.filter_map(|p| p.current_leader.as_ref());
    response.node_endpoints = endpoints(&shard.identity, leaders);
    Response::Produce(response)
}

fn partition(
    shard: &Shard,
    topic: &TopicRef,
    index: i32,
    part: Result<Produced, ProduceRefusal>,
) -> ProducePartitionResponse {
    match part {
        Ok(produced) => ProducePartitionResponse {
            error_code: NONE,
            base_offset: produced.base_offset,
            log_append_time_ms: produced.log_append_time_ms,
            log_start_offset: produced.log_start_offset,
            ..ProducePartitionResponse::refused(index, NONE)
        },
        Err(refusal) => {
            let error_code = refusal.error.code();
            assert_ne!(error_code, NONE, "a refusal has a code");
            let record_errors = refusal.record_errors.into_iter();
            ProducePartitionResponse {
                log_start_offset: refusal.log_start_offset,
                record_errors: record_errors
                    .map(|(index, message)| RecordError {
                        batch_index: index,
                        message: message.map(text),
                    })
                    .collect(),
                error_message: refusal.message.map(text),
                current_leader: (error_code == NOT_LEADER_OR_FOLLOWER)
                    .then(|| leader_of(shard, topic, index))
                    .flatten(),
                ..ProducePartitionResponse::refused(index, error_code)
            }
        }
    }
}

fn leader_of(shard: &Shard, topic: &TopicRef, index: i32) -> Option<CurrentLeader> {
    let image = shard.broker.image();
    let topic = match topic {
        TopicRef::Name(name) => image.topic(name),
        TopicRef::Id(id) => image.topic_by_id(*id),
    }?;
    Some(current_leader(shard, topic, index))
}

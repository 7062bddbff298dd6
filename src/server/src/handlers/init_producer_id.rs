//! InitProducerId: an id that nobody had before.

use tailwater_broker::error_code::INVALID_REQUEST;
use tailwater_wire::Response;
use tailwater_wire::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::shard::Shard;

/// Kafka's `NO_PRODUCER_ID` and `NO_PRODUCER_EPOCH`.
const NO_ID: i64 = -1;
const NO_EPOCH: i16 = -1;

pub(crate) async fn handle(shard: &Shard, request: InitProducerIdRequest) -> Response {
    // An id without an epoch, or the other way round, means nothing.
    if (request.producer_id.0 == NO_ID) != (request.producer_epoch == NO_EPOCH) {
        return refused(INVALID_REQUEST);
    }
    if request
        .transactional_id
        .as_ref()
        .is_some_and(|id| id.is_empty())
    {
        return refused(INVALID_REQUEST);
    }
    let transactional_id = request.transactional_id.map(|id| id.to_string());
    match shard.broker.init_producer_id(transactional_id).await {
        Ok((id, epoch)) => Response::InitProducerId(
            InitProducerIdResponse::default()
                .with_producer_id(ProducerId::from(id))
                .with_producer_epoch(epoch),
        ),
        Err(error) => refused(error.code()),
    }
}

fn refused(error_code: i16) -> Response {
    Response::InitProducerId(
        InitProducerIdResponse::default()
            .with_error_code(error_code)
            .with_producer_id(ProducerId::from(NO_ID))
            .with_producer_epoch(NO_EPOCH),
    )
}

//! Producer ids for InitProducerId.
//!
//! Shard 0 grants blocks of ids, each durable before it is used; a shard gives the ids of its block
//! one by one. What is left of a block is forgotten at a restart, so no id is given twice in the
//! life of a data directory.
//!
//! A transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED until there are
//! transactions. librdkafka makes it a fatal error; the Java client throws it out of
//! `initTransactions()` and does not ask again. Codes such as COORDINATOR_NOT_AVAILABLE or
//! UNSUPPORTED_VERSION would be tried again by one of them for ever.

use crate::BrokerError;
use crate::broker::Inner;
use crate::messages::{ShardReply, ShardRequest};
use crate::metadata::{ControllerReply, ControllerRequest, PRODUCER_ID_BLOCK};
use std::cell::Cell;
use std::rc::Rc;
use tailwater_shards::ShardId;
use tailwater_shards::sync::Semaphore;

/// What a shard has of its block.
pub(crate) struct ProducerIds {
    next: Cell<i64>,
    end: Cell<i64>,
    /// One asks for a block at a time.
    asking: Semaphore,
}

impl ProducerIds {
    /// Without a block: the first use asks for one.
    pub(crate) fn new() -> Self {
        Self {
            next: Cell::new(0),
            end: Cell::new(0),
            asking: Semaphore::new(1),
        }
    }

    fn take(&self) -> Option<i64> {
        let id = self.next.get();
        (id < self.end.get()).then(|| {
            self.next.set(id + 1);
            id
        })
    }
}

/// A producer id that nobody had before, and epoch 0.
pub(crate) async fn init_producer_id(
    broker: &Rc<Inner>,
    transactional_id: Option<String>,
) -> Result<(i64, i16), BrokerError> {
    if let Some(transactional_id) = transactional_id {
        // An empty one is a mistake of the client's, in Kafka too.
        return Err(if transactional_id.is_empty() {
            BrokerError::InvalidRequest("The transactional id is empty.".to_owned())
        } else {
            BrokerError::TransactionsUnavailable(transactional_id)
        });
    }
    let ids = &broker.producer_ids;
    loop {
        if let Some(id) = ids.take() {
            return Ok((id, 0));
        }
        let _asking = ids.asking.acquire(1).await;
        if ids.next.get() < ids.end.get() {
            continue;
        }
        let message = ShardRequest::Control(Box::new(ControllerRequest::ProducerIds));
        let Ok(ShardReply::Controlled(reply)) = broker.call(ShardId(0), message).await else {
            return Err(BrokerError::ShuttingDown);
        };
        let first = match *reply {
            ControllerReply::ProducerIds(first) => first?,
            ControllerReply::Failed(error) => return Err(error),
            other => unreachable!("the reply belongs to the request: {other:?}"),
        };
        ids.next.set(first);
        ids.end.set(first + PRODUCER_ID_BLOCK);
    }
}

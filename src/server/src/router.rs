//! From a frame to its handler, and from the handler's answer to a reply.
//!
//! [`Router::dispatch`] is the one place that says which handler an API has: a new API gets a row
//! in wire's table, a file in `handlers` and a line there.

use std::net::SocketAddr;
use std::rc::Rc;

use tailwater_broker::fetch::HeldReply;
use tailwater_shards::Stream;
use tailwater_wire::{
    Encoded, Request, RequestFrame, RequestHeader, Response, StrBytes, WireError, encode_response,
};

use crate::connection::{Begun, Decoded, Frame, Reply, Service};
use crate::handlers;
use crate::limits::LAG_BYTES;
use crate::shard::Shard;
use crate::stages::Stages;

/// On whose behalf a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Principal {
    /// Nobody has said who it is: Kafka's `User:ANONYMOUS`.
    Anonymous,
}

/// What a request brings besides its body.
#[derive(Debug, Clone)]
#[allow(
    dead_code,
    reason = "authorization, quotas and logs will read what nothing reads yet"
)]
pub(crate) struct RequestContext {
    pub(crate) header: RequestHeader,
    pub(crate) client_id: Option<StrBytes>,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) principal: Principal,
}

/// A decoded request on its way to its handler.
pub(crate) struct Incoming {
    context: RequestContext,
    body: Request,
    frame_bytes: usize,
}

/// One connection's way to the handlers.
pub(crate) struct Router {
    shard: Rc<Shard>,
    peer: Option<SocketAddr>,
    stream: Rc<Stream>,
}

impl Router {
    pub(crate) fn new(shard: Rc<Shard>, peer: Option<SocketAddr>, stream: Rc<Stream>) -> Self {
        Self {
            shard,
            peer,
            stream,
        }
    }

    /// Whether the peer has yet to take much of what was sent to it.
    fn lags(&self) -> bool {
        self.stream
            .unsent_bytes()
            .is_ok_and(|unsent| unsent > LAG_BYTES)
    }
}

impl Service for Router {
    type Request = Incoming;

    fn decode(&self, frame: &Frame) -> Result<Decoded<Incoming>, WireError> {
        let RequestFrame {
            header,
            client_id,
            body,
        } = RequestFrame::decode(frame.bytes.clone())?;
        let body = Request::decode(&header, body)?;
        let context = RequestContext {
            header,
            client_id,
            peer: self.peer,
            principal: Principal::Anonymous,
        };
        Ok(Decoded {
            overlaps: matches!(body, Request::Produce(_)),
            parks: matches!(
                body,
                Request::Fetch(_) | Request::JoinGroup(_) | Request::SyncGroup(_)
            ),
            request: Incoming {
                context,
                body,
                frame_bytes: frame.bytes.len(),
            },
        })
    }

    async fn begin(&self, request: Incoming, mut stages: Stages) -> Begun {
        let Incoming {
            context,
            body,
            frame_bytes,
        } = request;
        stages.api = Some(context.header.api);
        match body {
            Request::Produce(body) => {
                handlers::produce::begin(&self.shard, context, body, stages).await
            }
            // Boxed, so that a connection's own future stays small.
            body => Begun::Ready(Box::pin(self.answer(context, body, frame_bytes, stages)).await),
        }
    }
}

impl Router {
    async fn answer(
        &self,
        context: RequestContext,
        body: Request,
        frame_bytes: usize,
        mut stages: Stages,
    ) -> Reply {
        let header = context.header;
        let (encoded, held) = match body {
            Request::UnsupportedApiVersions => (handlers::api_versions::unsupported(&header), None),
            Request::Fetch(body) => {
                let (response, held) =
                    handlers::fetch::handle(&self.shard, &context, body, &|| self.lags()).await;
                stages.stamp_done();
                (encode(&header, response), held)
            }
            // These wait for other members: what their answers weigh is looked at when they are there.
            body @ (Request::JoinGroup(_) | Request::SyncGroup(_)) => {
                let large = &self.shard.large_replies;
                let response = self.dispatch(&context, body).await;
                stages.stamp_done();
                let turn = large.turn_of_answer(self.lags()).await;
                let encoded = encode(&header, response);
                let held = match &encoded {
                    Some(encoded) => large.charge(encoded.total_bytes, self.lags()).await,
                    None => None,
                };
                drop(turn);
                (encoded, held)
            }
            body => {
                let large = &self.shard.large_replies;
                let turn = large
                    .turn(&self.shard, &body, frame_bytes, self.lags())
                    .await;
                let response = self.dispatch(&context, body).await;
                stages.stamp_done();
                let encoded = encode(&header, response);
                let held = match &encoded {
                    Some(encoded) => large.charge(encoded.total_bytes, self.lags()).await,
                    None => None,
                };
                drop(turn);
                (encoded, held)
            }
        };
        reply(encoded, held, stages)
    }

    /// The table of handlers. Produce and Fetch stand above: the one overlaps, the other holds
    /// memory until its reply is sent.
    async fn dispatch(&self, context: &RequestContext, body: Request) -> Response {
        let shard = &*self.shard;
        match body {
            Request::ListOffsets(r) => handlers::list_offsets::handle(shard, context, r).await,
            Request::Metadata(r) => handlers::metadata::handle(shard, context, r).await,
            Request::ApiVersions(r) => handlers::api_versions::handle(context, &r),
            Request::CreateTopics(r) => handlers::create_topics::handle(shard, context, r).await,
            Request::DeleteTopics(r) => handlers::delete_topics::handle(shard, context, r).await,
            Request::DeleteRecords(r) => handlers::delete_records::handle(shard, r).await,
            Request::InitProducerId(r) => handlers::init_producer_id::handle(shard, r).await,
            Request::OffsetForLeaderEpoch(r) => {
                handlers::offset_for_leader_epoch::handle(shard, r).await
            }
            Request::DescribeConfigs(r) => handlers::describe_configs::handle(shard, r),
            Request::AlterConfigs(r) => handlers::alter_configs::handle(shard, r).await,
            Request::IncrementalAlterConfigs(r) => {
                handlers::incremental_alter_configs::handle(shard, r).await
            }
            Request::DescribeLogDirs(r) => handlers::describe_log_dirs::handle(shard, r).await,
            Request::CreatePartitions(r) => handlers::create_partitions::handle(shard, r).await,
            Request::DescribeCluster(r) => handlers::describe_cluster::handle(shard, context, &r),
            Request::DescribeTopicPartitions(r) => {
                handlers::describe_topic_partitions::handle(shard, r)
            }
            Request::OffsetCommit(r) => handlers::offset_commit::handle(shard, context, r).await,
            Request::OffsetFetch(r) => handlers::offset_fetch::handle(shard, context, r).await,
            Request::FindCoordinator(r) => {
                handlers::find_coordinator::handle(shard, context, r).await
            }
            Request::JoinGroup(r) => handlers::join_group::handle(shard, context, r).await,
            Request::Heartbeat(r) => handlers::heartbeat::handle(shard, r).await,
            Request::LeaveGroup(r) => handlers::leave_group::handle(shard, context, r).await,
            Request::SyncGroup(r) => handlers::sync_group::handle(shard, context, r).await,
            Request::DescribeGroups(r) => {
                handlers::describe_groups::handle(shard, context, r).await
            }
            Request::ListGroups(r) => handlers::list_groups::handle(shard, r).await,
            Request::DeleteGroups(r) => handlers::delete_groups::handle(shard, r).await,
            Request::OffsetDelete(r) => handlers::offset_delete::handle(shard, r).await,
            Request::ConsumerGroupHeartbeat(r) => {
                handlers::consumer_group_heartbeat::handle(shard, context, r).await
            }
            Request::ConsumerGroupDescribe(r) => {
                handlers::consumer_group_describe::handle(shard, r).await
            }
            Request::Produce(_) | Request::Fetch(_) | Request::UnsupportedApiVersions => {
                unreachable!("dealt with before this table")
            }
        }
    }
}

/// Encodes an answer; `None` for one that its version cannot carry, which is a mistake of ours and
/// ends the connection.
pub(crate) fn encode(header: &RequestHeader, response: Response) -> Option<Encoded> {
    encode_response(header, response)
        .inspect_err(|error| tracing::error!(?header, "an answer could not be encoded: {error}"))
        .ok()
}

/// A reply of an answer that must be there: without one the connection ends.
pub(crate) fn reply(answer: Option<Encoded>, held: Option<HeldReply>, stages: Stages) -> Reply {
    Reply {
        then_close: answer.is_none(),
        answer,
        held,
        stages,
    }
}

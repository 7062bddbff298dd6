//! The connection's side of a produce: check, split by owner, hand over, gather.

use super::append::{AppendPart, AppendReply, AppendRequest, append};
use super::check::{check, refusal_before_acks};
use super::times::{OwnerTimes, ProduceTimes};
use super::{PartOutcome, ProduceOutcome, ProducePart, ProduceRequest};
use crate::BrokerError;
use crate::broker::Inner;
use crate::messages::{ShardReply, ShardRequest};
use crate::metadata::{MetadataImage, Topic, TopicTarget};
use crate::partition::Acks;
use crate::reach::Reach;
use futures_util::future::{FutureExt, LocalBoxFuture, join_all};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tailwater_shards::{ShardId, now, wall_clock_ms};
use tailwater_storage::TopicPartition;

/// The second stage of a produce: resolves when what `acks` promises holds. With acks=0 it
/// resolves once each owner has taken or refused its batches; nothing is awaited of the disk.
pub struct ProduceReply {
    gathered: LocalBoxFuture<'static, ProduceOutcome>,
}

impl Future for ProduceReply {
    type Output = ProduceOutcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ProduceOutcome> {
        self.gathered.poll_unpin(cx)
    }
}

/// The parts of one owner, with their places in the request.
struct Share {
    owner: ShardId,
    places: Vec<usize>,
    parts: Vec<AppendPart>,
}

/// A share that was handed over: its places in the request, and when it was sent (0: not away from
/// here); then what comes of it.
type Pending = ((Vec<usize>, u64), LocalBoxFuture<'static, AppendReply>);

/// The ordered stage. One message goes to each other owner, whatever the number of partitions.
pub(crate) async fn submit(
    broker: &Rc<Inner>,
    reach: Reach,
    request: ProduceRequest,
) -> ProduceReply {
    let Some(acks) = acks_of(request.acks) else {
        let parts = refuse_acks(broker, &request);
        let times = ProduceTimes::default();
        let gathered = std::future::ready(ProduceOutcome { parts, times }).boxed_local();
        return ProduceReply { gathered };
    };
    let (mut outcomes, shares) = check_and_split(broker, reach, &request);
    let mut pending: Vec<Pending> = Vec::with_capacity(shares.len());
    for share in shares {
        let count = share.parts.len();
        let request = AppendRequest {
            acks,
            timeout: request.timeout,
            parts: share.parts,
        };
        let mut sent_ns = 0;
        let appended = if share.owner == broker.shard {
            append_here(broker, request)
        } else {
            sent_ns = now().as_nanos();
            let message = ShardRequest::Append(request);
            let reply = broker.send(share.owner, message).await;
            async move {
                match reply.await {
                    Ok(ShardReply::Appended(appended)) => appended,
                    _ => AppendReply {
                        outcomes: (0..count)
                            .map(|_| Err(BrokerError::ShuttingDown.into()))
                            .collect(),
                        times: OwnerTimes::default(),
                    },
                }
            }
            .boxed_local()
        };
        pending.push(((share.places, sent_ns), appended));
    }
    let gathered = async move {
        let (places, futures): (Vec<_>, Vec<_>) = pending.into_iter().unzip();
        let mut times = ProduceTimes::default();
        for ((places, sent_ns), appended) in places.into_iter().zip(join_all(futures).await) {
            let parts = appended.outcomes;
            times = times.later(sent_ns, appended.times);
            assert_eq!(places.len(), parts.len(), "an owner answers every part");
            for (place, part) in places.into_iter().zip(parts) {
                outcomes[place] = Some(part);
            }
        }
        let parts = outcomes
            .into_iter()
            .map(|part| part.expect("every part has an outcome"))
            .collect();
        ProduceOutcome { parts, times }
    };
    ProduceReply {
        gathered: gathered.boxed_local(),
    }
}

/// The outcomes of a request whose acks do not exist: what Kafka finds before it looks at them comes
/// before that.
fn refuse_acks(broker: &Rc<Inner>, request: &ProduceRequest) -> Vec<PartOutcome> {
    let image = broker.image();
    let mut workspace = broker.workspace.borrow_mut();
    let mut refuse = |part: &ProducePart| {
        let (index, zstd_allowed) = (part.partition, request.zstd_allowed);
        let topic = match topic_of(&image, part) {
            Ok(topic) => topic,
            Err(error) => return Err(error.into()),
        };
        let records = part.records.as_ref();
        let before = refusal_before_acks(records, topic, index, zstd_allowed, &mut workspace);
        Err(before.unwrap_or(BrokerError::InvalidRequiredAcks { acks: request.acks }.into()))
    };
    request.parts.iter().map(&mut refuse).collect()
}

/// The topic of a part, if it has that partition.
fn topic_of<'a>(
    image: &'a MetadataImage,
    part: &ProducePart,
) -> Result<&'a Arc<Topic>, BrokerError> {
    let id = match part.topic {
        TopicTarget::Known(id) => id,
        TopicTarget::UnknownName => return Err(BrokerError::UnknownTopicOrPartition),
        TopicTarget::UnknownId => return Err(BrokerError::UnknownTopicId),
    };
    image
        .topic_by_id(id)
        .filter(|topic| (0..topic.partitions).contains(&part.partition))
        .ok_or(BrokerError::UnknownTopicOrPartition)
}

/// Appends on this shard. If the log has no room, the batches queue before this returns: the
/// future has been polled once then.
fn append_here(broker: &Rc<Inner>, request: AppendRequest) -> LocalBoxFuture<'static, AppendReply> {
    let mut appended = append(broker, request);
    match (&mut appended).now_or_never() {
        Some(done) => std::future::ready(done).boxed_local(),
        None => appended,
    }
}

/// Checks every batch, in the request's order, and sorts them by owner. Outcomes are set for those
/// that go no further.
fn check_and_split(
    broker: &Rc<Inner>,
    reach: Reach,
    request: &ProduceRequest,
) -> (Vec<Option<PartOutcome>>, Vec<Share>) {
    let image = broker.image();
    let now_ms = wall_clock_ms();
    let mut outcomes: Vec<Option<PartOutcome>> = Vec::with_capacity(request.parts.len());
    let mut shares: Vec<Share> = Vec::new();
    for (place, part) in request.parts.iter().enumerate() {
        match check_part(broker, reach, &image, part, request, now_ms) {
            Err(refusal) => outcomes.push(Some(Err(refusal))),
            Ok(part) => {
                outcomes.push(None);
                let owner = broker.owner(part.tp);
                let at = shares
                    .iter()
                    .position(|share| share.owner == owner)
                    .unwrap_or_else(|| {
                        shares.push(Share {
                            owner,
                            places: Vec::new(),
                            parts: Vec::new(),
                        });
                        shares.len() - 1
                    });
                shares[at].places.push(place);
                shares[at].parts.push(part);
            }
        }
    }
    (outcomes, shares)
}

fn check_part(
    broker: &Rc<Inner>,
    reach: Reach,
    image: &MetadataImage,
    part: &ProducePart,
    request: &ProduceRequest,
    now_ms: i64,
) -> Result<AppendPart, super::ProduceRefusal> {
    let topic = topic_of(image, part)?;
    if topic.is_internal() && !request.internal_allowed {
        let sentence = format!("Cannot append to internal topic {}", topic.name);
        return Err(BrokerError::InvalidTopic(sentence).into());
    }
    let zstd_allowed = request.zstd_allowed;
    let tp = TopicPartition::new(topic.id, part.partition);
    if !reach.covers_partition(broker, tp) {
        return Err(BrokerError::NotLeaderOrFollower.into());
    }
    let mut workspace = broker.workspace.borrow_mut();
    match check(
        part.records.as_ref(),
        topic,
        part.partition,
        zstd_allowed,
        now_ms,
        &mut workspace,
    ) {
        Ok(checked) => Ok(AppendPart {
            tp,
            batch: Ok(checked),
        }),
        Err(refused) => AppendPart::refused(tp, refused),
    }
}

fn acks_of(acks: i16) -> Option<Acks> {
    match acks {
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        -1 => Some(Acks::All),
        _ => None,
    }
}

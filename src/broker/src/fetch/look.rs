//! One look at the partitions of a fetch: what their owners have now.

use super::interest::Interest;
use super::memory::SLACK_BYTES;
use super::read::{ReadOutcome, ReadPart, ReadRequest, read};
use super::wait::{Looked, Terms};
use crate::BrokerError;
use crate::broker::Inner;
use crate::messages::{ShardReply, ShardRequest};
use crate::metadata::{MetadataImage, TopicKey};
use futures_util::future::{FutureExt, LocalBoxFuture, join_all};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tailwater_shards::ShardId;
use tailwater_storage::TopicPartition;

/// What a look may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// What there is, within memory that is reserved; the first that has anything gets a batch
    /// whatever its size.
    All,
    /// What memory has, to be copied. Nothing is read from the disk: a little lies there in what is
    /// large, and nothing bounds how many read at once.
    Little,
}

/// Looks at the ready partitions: own ones directly, each other owner with one message. `None` when
/// [`Takes::Little`] leaves nothing for the first that has anything: it has waited for its turn
/// longest, and must not starve behind others.
pub(super) async fn look(
    broker: &Rc<Inner>,
    interest: &RefCell<Interest>,
    terms: &Terms,
    bytes_max: usize,
    watch: bool,
    takes: Takes,
) -> Option<Looked> {
    let image = broker.image();
    let mut looked = Looked::new();
    let ready = interest.borrow_mut().take_ready();
    let mut shares: BTreeMap<ShardId, (Vec<usize>, Vec<ReadPart>)> = BTreeMap::new();
    for place in &ready {
        match part_of(broker, terms, &image, interest, *place, watch) {
            Err(refused) => {
                looked.insert(*place, *refused);
            }
            Ok(part) => {
                let (places, parts) = shares.entry(broker.owner(part.tp)).or_default();
                places.push(*place);
                parts.push(part);
            }
        }
    }
    let set = interest.borrow().id;
    let first_batch = takes == Takes::All;
    let memory_only = takes == Takes::Little;
    let request = |parts, bytes_max, first_batch, slack_max| ReadRequest {
        isolation: terms.isolation,
        bytes_max,
        first_batch,
        memory_only,
        slack_max,
        set,
        standing: terms.standing,
        parts,
    };
    // Each owner reads its share of what may be answered, so that all together read no more.
    let owners = shares.len().max(1);
    let slack_max = SLACK_BYTES / owners;
    let mut asked = Vec::with_capacity(shares.len());
    for (owner, (places, parts)) in shares {
        let first_batch = first_batch && owners == 1;
        let request = request(parts, bytes_max / owners, first_batch, slack_max);
        asked.push((places, ask(broker, owner, request).await));
    }
    let (places, futures): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
    for (places, outcomes) in places.into_iter().zip(join_all(futures).await) {
        looked.extend(places.into_iter().zip(outcomes));
    }
    let found: usize = looked.values().map(|outcome| outcome.bytes).sum();
    assert!(owners == 1 || found <= bytes_max, "read more than asked");
    if takes == Takes::Little && starved_first(&ready, &looked).is_some() {
        return None;
    }
    // One that has gone meanwhile leaves its turn to the next; each is asked once more at most.
    while first_batch && let Some(place) = starved_first(&ready, &looked) {
        let part = part_of(broker, terms, &image, interest, place, false);
        let outcome = match part {
            Err(refused) => Some(*refused),
            Ok(part) => {
                let owner = broker.owner(part.tp);
                let left = bytes_max.saturating_sub(found);
                let request = request(vec![part], left, true, slack_max);
                ask(broker, owner, request).await.await.pop()
            }
        };
        let outcome = outcome.unwrap_or_else(|| ReadOutcome::failed(BrokerError::ShuttingDown));
        let starved = false;
        looked.insert(place, ReadOutcome { starved, ..outcome });
    }
    keep_within(&ready, &mut looked, bytes_max);
    Some(looked)
}

/// The first that has anything, if not a batch of it fitted its owner's share. It gets one whatever
/// its size: nobody starves behind others.
fn starved_first(ready: &[usize], looked: &Looked) -> Option<usize> {
    let mut found = ready
        .iter()
        .filter_map(|place| Some((*place, looked.get(place)?)));
    let (place, first) = found.find(|(_, outcome)| outcome.bytes > 0 || outcome.starved)?;
    first.starved.then_some(place)
}

async fn ask(
    broker: &Rc<Inner>,
    owner: ShardId,
    request: ReadRequest,
) -> LocalBoxFuture<'static, Vec<ReadOutcome>> {
    if owner == broker.shard {
        return read(broker, request);
    }
    let count = request.parts.len();
    let reply = broker.send(owner, ShardRequest::Read(request)).await;
    async move {
        match reply.await {
            Ok(ShardReply::Read(outcomes)) => outcomes,
            _ => (0..count)
                .map(|_| ReadOutcome::failed(BrokerError::ShuttingDown))
                .collect(),
        }
    }
    .boxed_local()
}

/// The part for the owner, with the marker if it is to be watched and is not yet; or what is
/// answered without asking one.
fn part_of(
    broker: &Inner,
    terms: &Terms,
    image: &MetadataImage,
    interest: &RefCell<Interest>,
    place: usize,
    watch: bool,
) -> Result<ReadPart, Box<ReadOutcome>> {
    let mut interest = interest.borrow_mut();
    let slot = interest.slot(place).expect("a ready place is taken");
    let refused = |error| Box::new(ReadOutcome::failed(error));
    let topic = image.topic_by_key(&slot.wanted.topic);
    let topic = topic.ok_or_else(|| {
        refused(match slot.wanted.topic {
            TopicKey::Name(_) => BrokerError::UnknownTopicOrPartition,
            TopicKey::Id(_) => BrokerError::UnknownTopicId,
        })
    })?;
    if !(0..topic.partitions).contains(&slot.wanted.partition) {
        return Err(refused(BrokerError::UnknownTopicOrPartition));
    }
    let tp = TopicPartition::new(topic.id, slot.wanted.partition);
    if !terms.reach.covers_partition(broker, tp) {
        // Nobody is watched there: the error is told again until the partition is not asked for.
        return Err(Box::new(ReadOutcome {
            leader_epoch: Some(broker.leader_epoch(topic)),
            ..ReadOutcome::failed(BrokerError::NotLeaderOrFollower)
        }));
    }
    let part = ReadPart {
        tp,
        current_leader_epoch: slot.wanted.current_leader_epoch,
        fetch_offset: slot.wanted.fetch_offset,
        last_fetched_epoch: slot.wanted.last_fetched_epoch,
        bytes_max: usize::try_from(slot.wanted.max_bytes).unwrap_or(0),
        watch: None,
    };
    let watch = if watch {
        interest.watch(place, tp)
    } else {
        None
    };
    Ok(ReadPart { watch, ..part })
}

/// A batch that came whatever its size may take the place of others: they are read again when their
/// turn comes.
fn keep_within(ready: &[usize], looked: &mut Looked, bytes_max: usize) {
    let mut total = 0;
    for place in ready {
        let Some(outcome) = looked.get_mut(place) else {
            continue;
        };
        if total > 0 && total + outcome.bytes > bytes_max {
            outcome.records.clear();
            outcome.bytes = 0;
        }
        total += outcome.bytes;
    }
}

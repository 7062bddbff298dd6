//! The way of a request to the coordinator of its group, wherever that is.
//!
//! What is answered as soon as it is durable goes as any request: one message to each owner, whose
//! reply holds a credit of the mesh meanwhile. A join or a sync may wait for minutes. It holds no
//! credit: the owner answers at once that it waits, and sends the reply in a message of its own,
//! under a number that the asking shard chose. Who goes away before tells the owner.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{Either, FutureExt, LocalBoxFuture, join_all, select};
use std::pin::pin;
use tailwater_group::{GroupError, ListGroups, Listed, Reply, Request};
use tailwater_shards::sync::Notify;
use tailwater_shards::{ShardId, spawn, yield_now};
use tailwater_storage::TopicPartition;

use super::partition_of::partition_of;
use super::runtime::{Asked, Runtime};
use super::waiting::{Answer, Settled, Slot};
use super::{follow, list_request};
use crate::broker::Inner;
use crate::messages::{ShardReply, ShardRequest};
use crate::metadata::OFFSETS_TOPIC;
use crate::reach::Reach;

/// A request to the coordinator on a partition.
#[derive(Debug)]
pub(crate) struct GroupAsk {
    partition: i32,
    request: Request,
}

/// What a coordinator answers.
pub(crate) type GroupAnswer = Answer;

/// A request that may wait for long.
#[derive(Debug)]
pub(crate) struct ParkedAsk {
    /// Chosen by the asking shard, used once.
    number: u64,
    ask: GroupAsk,
}

/// Those of other shards that wait here, and how to tell that one has gone.
pub(super) type RemoteWaits = BTreeMap<(ShardId, u64), Rc<Notify>>;

/// Asks the coordinators of groups; an answer for each, in order. One message goes to each owner.
pub(crate) async fn ask(
    broker: &Rc<Inner>,
    reach: Reach,
    asks: Vec<(Arc<str>, Request)>,
) -> Vec<GroupAnswer> {
    let mut answers: Vec<Option<GroupAnswer>> = Vec::new();
    let mut shares: BTreeMap<ShardId, (Vec<usize>, Vec<GroupAsk>)> = BTreeMap::new();
    for (place, (group, request)) in asks.into_iter().enumerate() {
        match within_reach(broker, reach, &group) {
            Ok((partition, owner)) => {
                let (places, asks) = shares.entry(owner).or_default();
                places.push(place);
                asks.push(GroupAsk { partition, request });
                answers.push(None);
            }
            Err(error) => answers.push(Some(Err(error))),
        }
    }
    let asked = shares
        .into_iter()
        .map(
            |(owner, (places, asks))| async move { (places, ask_owner(broker, owner, asks).await) },
        );
    for (places, share) in join_all(asked).await {
        assert_eq!(places.len(), share.len(), "an owner answers every ask");
        for (place, answer) in places.into_iter().zip(share) {
            answers[place] = Some(answer);
        }
    }
    let answer = |answer: Option<GroupAnswer>| answer.expect("each ask has an answer");
    answers.into_iter().map(answer).collect()
}

async fn ask_owner(broker: &Rc<Inner>, owner: ShardId, asks: Vec<GroupAsk>) -> Vec<GroupAnswer> {
    if owner == broker.shard {
        return answer_groups(broker.clone(), asks).await;
    }
    let count = asks.len();
    match broker.call(owner, ShardRequest::Groups(asks)).await {
        Ok(ShardReply::Groups(answers)) => answers,
        _ => (0..count)
            .map(|_| Err(GroupError::CoordinatorNotAvailable))
            .collect(),
    }
}

/// The partition that a group belongs to, and the shard that has it.
pub(crate) fn coordinator_of(broker: &Inner, group: &str) -> Result<(i32, ShardId), GroupError> {
    let image = broker.image();
    let topic = image
        .topic(OFFSETS_TOPIC)
        .ok_or(GroupError::NotCoordinator)?;
    let partition = partition_of(group, topic.partitions);
    let owner = broker.owner(TopicPartition::new(topic.id, partition));
    Ok((partition, owner))
}

/// As [`coordinator_of`], if that shard may be asked.
fn within_reach(broker: &Inner, reach: Reach, group: &str) -> Result<(i32, ShardId), GroupError> {
    let (partition, owner) = coordinator_of(broker, group)?;
    if reach.covers(broker, owner) {
        Ok((partition, owner))
    } else {
        Err(GroupError::NotCoordinator)
    }
}

/// Asks what may wait for other members. Dropping the future forgets it.
pub(crate) async fn ask_parked(
    broker: &Rc<Inner>,
    reach: Reach,
    group: &str,
    request: Request,
) -> GroupAnswer {
    let (partition, owner) = within_reach(broker, reach, group)?;
    let ask = GroupAsk { partition, request };
    if owner == broker.shard {
        return ask_here(broker, ask).await;
    }
    let (number, slot) = broker
        .groups
        .parked
        .begin()
        .ok_or(GroupError::CoordinatorNotAvailable)?;
    // Dropped when the answer is there, or when nobody waits for it any more.
    let _away = Away {
        broker,
        owner,
        number,
    };
    let message = ShardRequest::ParkGroup(Box::new(ParkedAsk { number, ask }));
    match broker.call(owner, message).await {
        Ok(ShardReply::Done) => slot.settled().await.answer,
        _ => Err(GroupError::CoordinatorNotAvailable),
    }
}

/// One of this shard's that waits for a coordinator of another.
struct Away<'a> {
    broker: &'a Rc<Inner>,
    owner: ShardId,
    number: u64,
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        if !self.broker.groups.parked.forget(self.number) || self.broker.is_stopping() {
            return;
        }
        let (broker, owner, number) = (self.broker.clone(), self.owner, self.number);
        spawn("group forget", async move {
            let _ = broker.call(owner, ShardRequest::ForgetGroup(number)).await;
        })
        .detach();
    }
}

/// Lists the groups of all shards within reach.
pub(crate) async fn list(
    broker: &Rc<Inner>,
    reach: Reach,
    filters: ListGroups,
) -> Result<Vec<Listed>, GroupError> {
    let shards = (0..broker.shards).map(ShardId);
    let shards = shards.filter(|shard| reach.covers(broker, *shard));
    let asked = shards.map(|shard| {
        let filters = filters.clone();
        async move {
            if shard == broker.shard {
                return answer_list(broker.clone(), filters).await;
            }
            let message = ShardRequest::ListGroups(Box::new(filters));
            match broker.call(shard, message).await {
                Ok(ShardReply::GroupsListed(listed)) => listed,
                _ => Err(GroupError::CoordinatorNotAvailable),
            }
        }
    });
    let mut all = Vec::new();
    for listed in join_all(asked).await {
        all.extend(listed?);
    }
    Ok(all)
}

/// What the coordinators of this shard answer, in the order of the asks.
pub(crate) fn answer_groups(
    broker: Rc<Inner>,
    asks: Vec<GroupAsk>,
) -> LocalBoxFuture<'static, Vec<GroupAnswer>> {
    // All are asked before any is awaited.
    let waits: Vec<_> = asks.into_iter().map(|ask| begin(&broker, ask)).collect();
    async move {
        let answers = waits.into_iter().map(|wait| finish(&broker, wait));
        join_all(answers).await
    }
    .boxed_local()
}

/// The groups of this shard's coordinators.
pub(crate) fn answer_list(
    broker: Rc<Inner>,
    filters: ListGroups,
) -> LocalBoxFuture<'static, Result<Vec<Listed>, GroupError>> {
    let partitions: Vec<i32> = broker.groups.runtimes.borrow().keys().copied().collect();
    let asks = partitions.into_iter().map(move |partition| GroupAsk {
        partition,
        request: list_request(&filters),
    });
    async move {
        // One coordinator may have thousands of groups: others get their turn in between.
        let mut waits = Vec::new();
        for ask in asks {
            waits.push(begin(&broker, ask));
            yield_now().await;
        }
        let answers = waits.into_iter().map(|wait| finish(&broker, wait));
        let mut all = Vec::new();
        for answer in join_all(answers).await {
            match answer {
                Ok(Reply::Listed(listed)) => all.extend(listed),
                Ok(other) => unreachable!("the reply belongs to the request: {other:?}"),
                // Its partition has gone meanwhile, or cannot be read.
                Err(GroupError::NotCoordinator) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }
    .boxed_local()
}

/// Takes in what may wait for long: answers at once, and sends the reply later.
pub(crate) fn answer_parked(broker: &Rc<Inner>, from: ShardId, parked: ParkedAsk) {
    let ParkedAsk { number, ask } = parked;
    let wait = begin(broker, ask);
    let gone = Rc::new(Notify::new());
    let mut remote = broker.groups.remote.borrow_mut();
    remote.insert((from, number), gone.clone());
    drop(remote);
    let broker = broker.clone();
    spawn("group reply", async move {
        let answered = {
            let answer = pin!(finish(&broker, wait));
            let gone = pin!(gone.notified());
            match select(answer, gone).await {
                Either::Left((answer, _)) => Some(answer),
                Either::Right(_) => None,
            }
        };
        broker.groups.remote.borrow_mut().remove(&(from, number));
        if let Some(answer) = answered {
            let reply = ShardRequest::GroupReply(Box::new((number, answer)));
            let _ = broker.call(from, reply).await;
        }
    })
    .detach();
}

/// Forgets one of another shard that waits here.
pub(crate) fn forget(broker: &Inner, from: ShardId, number: u64) {
    let gone = broker.groups.remote.borrow_mut().remove(&(from, number));
    if let Some(gone) = gone {
        gone.notify_one();
    }
}

/// The reply to one of this shard that waits for a coordinator of another. It is durable.
pub(crate) fn settle(broker: &Inner, number: u64, answer: GroupAnswer) {
    let settled = Settled {
        answer,
        durable: None,
    };
    broker.groups.parked.settle(number, settled);
}

async fn ask_here(broker: &Rc<Inner>, ask: GroupAsk) -> GroupAnswer {
    let wait = begin(broker, ask);
    finish(broker, wait).await
}

/// One that waits for a coordinator of this shard. It is forgotten when this is dropped.
struct Wait {
    runtime: Rc<Runtime>,
    number: u64,
    slot: Rc<Slot>,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.runtime.forget(self.number);
    }
}

/// Asks a coordinator of this shard: the order of requests is that of these calls.
fn begin(broker: &Rc<Inner>, ask: GroupAsk) -> Result<Wait, GroupError> {
    if broker.is_stopping() {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    let runtime = broker
        .groups
        .find(ask.partition)
        .ok_or(GroupError::NotCoordinator)?;
    let (asked, sound) = runtime.ask(ask.request, &*broker.image());
    follow(broker, &runtime, sound);
    match asked {
        Asked::Refused(error) => Err(error),
        Asked::Waits(number, slot) => Ok(Wait {
            runtime,
            number,
            slot,
        }),
    }
}

/// Waits for the answer, and for what it tells to be durable.
async fn finish(broker: &Rc<Inner>, wait: Result<Wait, GroupError>) -> GroupAnswer {
    let wait = wait?;
    let settled = wait.slot.settled().await;
    if let Some(ticket) = settled.durable
        && broker.storage.durable(ticket).await.is_err()
    {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    settled.answer
}

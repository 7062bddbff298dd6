//! The asking side of questions about offsets: one message to each owner for a whole request.

use super::answer::{
    answer_delete_records, answer_epoch_ends, answer_list_offsets, answer_log_sizes,
};
use super::{
    DeleteRecords, EpochEnd, EpochQuery, Isolation, LogDir, LogDirQuery, LowWatermark, OffsetFound,
    OffsetQuery, TopicSizes,
};
use crate::BrokerError;
use crate::broker::Inner;
use crate::messages::{ShardReply, ShardRequest};
use crate::metadata::{MetadataImage, TopicTarget};
use crate::reach::Reach;
use futures_util::future::{FutureExt, LocalBoxFuture, join_all};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_shards::{ShardId, timeout};
use tailwater_storage::TopicPartition;

/// ListOffsets.
pub(crate) async fn ask_list_offsets(
    broker: &Rc<Inner>,
    reach: Reach,
    isolation: Isolation,
    queries: Vec<OffsetQuery>,
) -> Vec<Result<OffsetFound, BrokerError>> {
    let targets = queries
        .iter()
        .map(|query| resolve(broker, reach, query.topic, query.partition))
        .collect();
    scatter(broker, targets, queries, |owner, queries| {
        let broker = broker.clone();
        async move {
            if owner == broker.shard {
                return answer_list_offsets(broker, isolation, queries).await;
            }
            let count = queries.len();
            let _turn = broker.disk_asks.acquire(1).await;
            match broker
                .call(owner, ShardRequest::ListOffsets(isolation, queries))
                .await
            {
                Ok(ShardReply::Offsets(outcomes)) => outcomes,
                _ => gone(count),
            }
        }
        .boxed_local()
    })
    .await
}

/// OffsetForLeaderEpoch.
pub(crate) async fn ask_epoch_ends(
    broker: &Rc<Inner>,
    reach: Reach,
    queries: Vec<EpochQuery>,
) -> Vec<Result<EpochEnd, BrokerError>> {
    let targets = queries
        .iter()
        .map(|query| resolve(broker, reach, query.topic, query.partition))
        .collect();
    scatter(broker, targets, queries, |owner, queries| {
        let broker = broker.clone();
        async move {
            if owner == broker.shard {
                return answer_epoch_ends(&broker, &queries);
            }
            let count = queries.len();
            match broker.call(owner, ShardRequest::EpochEnds(queries)).await {
                Ok(ShardReply::EpochEnds(outcomes)) => outcomes,
                _ => gone(count),
            }
        }
        .boxed_local()
    })
    .await
}

/// DeleteRecords. What is under way when the time is over goes on.
pub(crate) async fn ask_delete_records(
    broker: &Rc<Inner>,
    reach: Reach,
    parts: Vec<DeleteRecords>,
    wait_max: Duration,
) -> Vec<LowWatermark> {
    let targets = parts
        .iter()
        .map(|part| resolve(broker, reach, part.topic, part.partition))
        .collect();
    let offsets = parts.iter().map(|part| part.offset).collect();
    scatter(broker, targets, offsets, |owner, parts| {
        let broker = broker.clone();
        async move {
            let count = parts.len();
            let asked = async {
                if owner == broker.shard {
                    return answer_delete_records(broker, parts).await;
                }
                let _turn = broker.disk_asks.acquire(1).await;
                match broker.call(owner, ShardRequest::DeleteRecords(parts)).await {
                    Ok(ShardReply::LowWatermarks(outcomes)) => outcomes,
                    _ => gone(count),
                }
            };
            let late = |_| {
                (0..count)
                    .map(|_| Err(BrokerError::RequestTimedOut))
                    .collect()
            };
            timeout(wait_max, asked).await.unwrap_or_else(late)
        }
        .boxed_local()
    })
    .await
}

/// DescribeLogDirs. Partitions that are not there, or not within reach, are left out, as Kafka does.
pub(crate) async fn ask_log_dirs(
    broker: &Rc<Inner>,
    reach: Reach,
    query: LogDirQuery,
) -> Result<LogDir, BrokerError> {
    let image = broker.image();
    let mut wanted = wanted_partitions(&image, query);
    wanted.retain(|(_, tp)| reach.covers_partition(broker, *tp));
    let targets = wanted.iter().map(|(_, tp)| Ok(*tp)).collect();
    let sizes = scatter(broker, targets, vec![(); wanted.len()], |owner, tps| {
        let broker = broker.clone();
        let tps: Vec<TopicPartition> = tps.into_iter().map(|(tp, ())| tp).collect();
        async move {
            if owner == broker.shard {
                return answer_log_sizes(&broker, &tps)
                    .into_iter()
                    .map(Ok)
                    .collect();
            }
            let count = tps.len();
            match broker.call(owner, ShardRequest::LogSizes(tps)).await {
                Ok(ShardReply::LogSizes(sizes)) => sizes.into_iter().map(Ok).collect(),
                _ => gone(count),
            }
        }
        .boxed_local()
    })
    .await;
    let mut topics: Vec<TopicSizes> = Vec::new();
    for ((name, tp), size) in wanted.into_iter().zip(sizes) {
        let size = size?;
        if size < 0 {
            continue;
        }
        match topics.last_mut() {
            Some((last, partitions)) if *last == name => partitions.push((tp.partition, size)),
            _ => topics.push((name, vec![(tp.partition, size)])),
        }
    }
    let path = std::path::PathBuf::from(&broker.data_dir);
    let space = tailwater_shards::dir::free_bytes(&path).await;
    let (free, total) = space.map_err(|error| BrokerError::Storage {
        detail: error.to_string(),
    })?;
    Ok(LogDir {
        path: broker.data_dir.clone(),
        total_bytes: i64::try_from(total).unwrap_or(i64::MAX),
        usable_bytes: i64::try_from(free).unwrap_or(i64::MAX),
        topics,
    })
}

fn wanted_partitions(image: &MetadataImage, query: LogDirQuery) -> Vec<(Arc<str>, TopicPartition)> {
    let Some(topics) = query else {
        let all = image.topics().flat_map(|topic| {
            (0..topic.partitions)
                .map(|partition| (topic.name.clone(), TopicPartition::new(topic.id, partition)))
        });
        return all.collect();
    };
    // A topic or partition named twice is told once.
    let mut wanted = BTreeMap::new();
    for (name, partitions) in topics {
        let Some(topic) = image.topic(&name) else {
            continue;
        };
        for partition in partitions
            .into_iter()
            .filter(|partition| (0..topic.partitions).contains(partition))
        {
            wanted.insert(
                (name.clone(), partition),
                TopicPartition::new(topic.id, partition),
            );
        }
    }
    wanted
        .into_iter()
        .map(|((name, _), tp)| (name, tp))
        .collect()
}

fn gone<T>(count: usize) -> Vec<Result<T, BrokerError>> {
    (0..count).map(|_| Err(BrokerError::ShuttingDown)).collect()
}

fn resolve(
    broker: &Rc<Inner>,
    reach: Reach,
    topic: TopicTarget,
    partition: i32,
) -> Result<TopicPartition, BrokerError> {
    let id = match topic {
        TopicTarget::Known(id) => id,
        TopicTarget::UnknownName => return Err(BrokerError::UnknownTopicOrPartition),
        TopicTarget::UnknownId => return Err(BrokerError::UnknownTopicId),
    };
    let image = broker.image();
    let topic = image
        .topic_by_id(id)
        .ok_or(BrokerError::UnknownTopicOrPartition)?;
    if !(0..topic.partitions).contains(&partition) {
        return Err(BrokerError::UnknownTopicOrPartition);
    }
    let tp = TopicPartition::new(id, partition);
    if reach.covers_partition(broker, tp) {
        Ok(tp)
    } else {
        Err(BrokerError::NotLeaderOrFollower)
    }
}

/// The places of some questions in the request, and the questions.
type Share<Q> = (Vec<usize>, Vec<(TopicPartition, Q)>);

/// Splits questions by owner, asks all owners at once, and puts the answers in the questions' order.
async fn scatter<Q, A>(
    broker: &Rc<Inner>,
    targets: Vec<Result<TopicPartition, BrokerError>>,
    questions: Vec<Q>,
    ask: impl Fn(
        ShardId,
        Vec<(TopicPartition, Q)>,
    ) -> LocalBoxFuture<'static, Vec<Result<A, BrokerError>>>,
) -> Vec<Result<A, BrokerError>> {
    assert_eq!(
        targets.len(),
        questions.len(),
        "every question has a target"
    );
    let mut answers: Vec<Option<Result<A, BrokerError>>> = Vec::with_capacity(targets.len());
    let mut shares: BTreeMap<ShardId, Share<Q>> = BTreeMap::new();
    for (place, (target, question)) in targets.into_iter().zip(questions).enumerate() {
        match target {
            Err(error) => answers.push(Some(Err(error))),
            Ok(tp) => {
                let (places, share) = shares.entry(broker.owner(tp)).or_default();
                places.push(place);
                share.push((tp, question));
                answers.push(None);
            }
        }
    }
    let (places, asked): (Vec<_>, Vec<_>) = shares
        .into_iter()
        .map(|(owner, (places, share))| (places, ask(owner, share)))
        .unzip();
    for (places, outcomes) in places.into_iter().zip(join_all(asked).await) {
        assert_eq!(
            places.len(),
            outcomes.len(),
            "an owner answers every question"
        );
        for (place, outcome) in places.into_iter().zip(outcomes) {
            answers[place] = Some(outcome);
        }
    }
    answers
        .into_iter()
        .map(|answer| answer.expect("every question was asked or refused"))
        .collect()
}

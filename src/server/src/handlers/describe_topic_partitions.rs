//! DescribeTopicPartitions: topics in the order of their names, page by page (KIP-966).

use std::collections::BTreeSet;

use tailwater_broker::error_code::{INVALID_REQUEST, NONE};
use tailwater_broker::metadata::{MetadataImage, Topic};
use tailwater_wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use tailwater_wire::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};
use tailwater_wire::{Response, StrBytes};

use super::common::{TOPIC_OPERATIONS, broker_id, leader, text, topic_name};
use super::metadata::unknown_code;
use crate::shard::Shard;

pub(crate) fn handle(shard: &Shard, request: DescribeTopicPartitionsRequest) -> Response {
    let image = shard.broker.image();
    let partitions_max = image.settings().described_partitions_max;
    // Each topic has a partition, so no page of all topics has more of them, and the next page
    // begins with one more.
    let topics_max = usize::try_from(partitions_max).unwrap_or(usize::MAX);
    let (from, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.0.clone(), cursor.partition_index),
        None => (StrBytes::default(), 0),
    };
    let names: BTreeSet<StrBytes> = if request.topics.is_empty() {
        image
            .topics_from(&from)
            .take(topics_max.saturating_add(1))
            .map(|topic| text(&*topic.name))
            .collect()
    } else {
        request
            .topics
            .iter()
            .map(|t| t.name.0.clone())
            .filter(|name| *name >= from)
            .collect()
    };
    let all = request.topics.is_empty();
    // A page of named topics goes on at one of them.
    let astray = request.cursor.is_some() && !all && !names.contains(&from);
    if astray || from_partition < 0 {
        return Response::DescribeTopicPartitions(refused(&request));
    }
    let page = Page {
        shard,
        image: &image,
        room: request.response_partition_limit.clamp(1, partitions_max),
        response: DescribeTopicPartitionsResponse::default(),
    };
    Response::DescribeTopicPartitions(page.fill(&names, &from, from_partition))
}

/// Kafka answers a request that it refuses topic by topic.
fn refused(request: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let topics = request.topics.iter().map(|topic| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(INVALID_REQUEST)
            .with_name(Some(topic.name.clone()))
    });
    DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
}

/// An answer being filled.
struct Page<'a> {
    shard: &'a Shard,
    image: &'a MetadataImage,
    /// Partitions that still fit.
    room: i32,
    response: DescribeTopicPartitionsResponse,
}

impl Page<'_> {
    fn fill(
        mut self,
        names: &BTreeSet<StrBytes>,
        from: &StrBytes,
        from_partition: i32,
    ) -> DescribeTopicPartitionsResponse {
        for name in names {
            let first = if name == from { from_partition } else { 0 };
            if self.room == 0 {
                return self.cut(name, 0);
            }
            let Some(topic) = self.image.topic(name) else {
                self.response.topics.push(unknown(name));
                continue;
            };
            let end = topic.partitions.min(first.saturating_add(self.room));
            self.response.topics.push(self.topic(topic, first, end));
            self.room -= (end - first).max(0);
            if end < topic.partitions {
                return self.cut(name, end);
            }
        }
        self.response
    }

    /// Ends the page: the next one begins here.
    fn cut(self, name: &str, partition: i32) -> DescribeTopicPartitionsResponse {
        let cursor = Cursor::default()
            .with_topic_name(topic_name(name))
            .with_partition_index(partition);
        self.response.with_next_cursor(Some(cursor))
    }

    fn topic(&self, topic: &Topic, first: i32, end: i32) -> DescribeTopicPartitionsResponseTopic {
        let leader_epoch = self.shard.broker.leader_epoch(topic);
        let partition = |index| {
            let leader = broker_id(leader(self.shard, topic, index));
            DescribeTopicPartitionsResponsePartition::default()
                .with_error_code(NONE)
                .with_partition_index(index)
                .with_leader_id(leader)
                .with_leader_epoch(leader_epoch)
                .with_replica_nodes(vec![leader])
                .with_isr_nodes(vec![leader])
                .with_eligible_leader_replicas(Some(Vec::new()))
                .with_last_known_elr(Some(Vec::new()))
        };
        DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic_name(&topic.name)))
            .with_topic_id(topic.id)
            .with_is_internal(topic.is_internal())
            .with_partitions((first..end).map(partition).collect())
            .with_topic_authorized_operations(TOPIC_OPERATIONS)
    }
}

fn unknown(name: &StrBytes) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(unknown_code(name))
        .with_name(Some(topic_name(name)))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

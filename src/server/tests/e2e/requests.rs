//! Requests as the tests make them, and what they look for in answers.

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::FetchResponse;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest,
    ProduceRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tailwater_record::{BatchBuilder, NewRecord, batches};

use crate::client::Client;

pub(crate) const PRODUCE: i16 = 9;
pub(crate) const FETCH: i16 = 12;
pub(crate) const METADATA: i16 = 12;
pub(crate) const CREATE_TOPICS: i16 = 7;
pub(crate) const LIST_OFFSETS: i16 = 7;

pub(crate) fn name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A batch of records with these values.
pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    let mut batch = BatchBuilder::new();
    for (index, value) in values.iter().enumerate() {
        let timestamp = 1_000 + i64::try_from(index).unwrap();
        batch.push(NewRecord {
            timestamp,
            value: Some(value),
            ..NewRecord::default()
        });
    }
    batch.build()
}

pub(crate) fn produce(topic: &str, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    produce_many(topic, acks, vec![(partition, records)])
}

pub(crate) fn produce_many(topic: &str, acks: i16, parts: Vec<(i32, Bytes)>) -> ProduceRequest {
    let parts = parts.into_iter().map(|(index, records)| {
        PartitionProduceData::default()
            .with_index(index)
            .with_records(Some(records))
    });
    let topic = TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(parts.collect());
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(5_000)
        .with_topic_data(vec![topic])
}

pub(crate) fn fetch(
    topic: &str,
    partition: i32,
    offset: i64,
    min_bytes: i32,
    wait_ms: i32,
) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(name(topic))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(min_bytes)
        .with_max_bytes(32 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// The base offset and the bytes of each batch that a fetch brought.
pub(crate) fn fetched(response: &FetchResponse) -> Vec<(i64, Bytes)> {
    let partitions = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    let records = partitions.filter_map(|partition| partition.records.clone());
    let each = records.flat_map(|records| {
        let found = batches(&records).map(|batch| batch.unwrap());
        let found: Vec<_> = found
            .map(|b| (b.header.base_offset, records.slice(b.range)))
            .collect();
        found
    });
    each.collect()
}

pub(crate) fn create(
    topic: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> CreateTopicsRequest {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(5_000)
}

/// Creates a topic that must come to be.
pub(crate) async fn create_topic(client: &Client, topic: &str, partitions: i32) {
    let created = client
        .call(CREATE_TOPICS, &create(topic, partitions, &[]))
        .await;
    assert_eq!(
        created.topics[0].error_code, 0,
        "{:?}",
        created.topics[0].error_message
    );
}

pub(crate) fn list_offsets(topic: &str, partition: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default()
        .with_name(name(topic))
        .with_partitions(vec![partition]);
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic])
}

pub(crate) fn metadata(topics: &[&str], may_create: bool) -> MetadataRequest {
    let topics = topics
        .iter()
        .map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
    MetadataRequest::default()
        .with_topics(Some(topics.collect()))
        .with_allow_auto_topic_creation(may_create)
}

//! A batch has to fit one file of the write-ahead log: what is set and what holds.

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use kafka_protocol::protocol::StrBytes;
use tailwater_server::{Program, ServerConfig};

use crate::client::Client;
use crate::cluster::{Cluster, config};
use crate::requests::*;

/// The largest batch with a WAL of 64 MiB, and with one of 32 MiB.
const LARGE: usize = 8_372_224;
const SMALL: usize = 3_575_808;

const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const MESSAGE_TOO_LARGE: i16 = 10;

fn with_wal(mib: u64) -> ServerConfig {
    ServerConfig {
        wal_bytes: mib << 20,
        ..config(2)
    }
}

async fn create_for(client: &Client, topic: &str, bytes: usize) -> (i16, String) {
    let request = create(topic, 1, &[("max.message.bytes", &bytes.to_string())]);
    let created = client.call(CREATE_TOPICS, &request).await.topics.remove(0);
    let said = created.error_message.unwrap_or_default();
    (created.error_code, said.to_string())
}

/// The error of a produce of one batch of that many bytes.
async fn produce_bytes(client: &Client, topic: &str, bytes: usize) -> i16 {
    let overhead = batch(&[&vec![0; bytes - 100]]).len() - (bytes - 100);
    let records = batch(&[&vec![0; bytes - overhead]]);
    assert_eq!(records.len(), bytes);
    let request = produce(topic, 0, -1, records);
    let produced = client.call(PRODUCE, &request).await;
    produced.responses[0].partition_responses[0].error_code
}

async fn alter(client: &Client, kind: i8, resource: &str, key: &str, value: &str) -> i16 {
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let change = AlterableConfig::default()
        .with_name(text(key))
        .with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![change]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    client.call(1, &request).await.responses[0].error_code
}

async fn told(client: &Client, topic: &str) -> String {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_string(topic.to_owned()))
        .with_configuration_keys(Some(vec![StrBytes::from_static_str("max.message.bytes")]));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let described = client.call(4, &request).await;
    let value = described.results[0].configs[0].value.clone();
    value.expect("it has a value").to_string()
}

#[test]
fn no_larger_batches_are_allowed_than_the_log_can_hold() {
    let mut cluster = Cluster::start(1, with_wal(64));
    cluster.client(|client| async move {
        let (error, said) = create_for(&client, "t", LARGE + 1).await;
        assert_eq!(error, INVALID_CONFIG);
        for word in ["max.message.bytes", "8372225", "8372224", "--wal-size"] {
            assert!(said.contains(word), "{word} is missing in: {said}");
        }
        assert_eq!(create_for(&client, "t", LARGE).await.0, 0);
        assert_eq!(produce_bytes(&client, "t", LARGE).await, 0);
        let over = (LARGE + 1).to_string();
        let altered = alter(&client, 2, "t", "max.message.bytes", &over).await;
        assert_eq!(altered, INVALID_CONFIG);
        for broker in ["", "1"] {
            let altered = alter(&client, 4, broker, "message.max.bytes", &over).await;
            assert_eq!(altered, INVALID_REQUEST);
        }
    });
}

#[test]
fn a_start_that_allows_larger_batches_than_its_log_can_hold_is_refused() {
    let start = |bytes: usize| {
        let mut config = with_wal(64);
        let pair = ("message.max.bytes".to_owned(), bytes.to_string());
        config.broker.extend([pair]);
        Program::new(config)
    };
    assert!(start(LARGE).is_ok());
    let said = start(LARGE + 1).err().expect("refused").to_string();
    for word in ["message.max.bytes", "8372225", "8372224", "--wal-size"] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
}

#[test]
fn a_smaller_log_serves_topics_that_were_allowed_larger_batches_and_says_so() {
    let mut cluster = Cluster::start(1, with_wal(64));
    cluster.client(|client| async move {
        assert_eq!(create_for(&client, "t", LARGE).await.0, 0);
    });
    let (simulation, _) = cluster.stop();
    let mut cluster = Cluster::boot(simulation, with_wal(32));
    let said = cluster.wait_for_start().expect("it starts").recovery;
    for word in ["max.message.bytes of topic t", "3575808", "--wal-size"] {
        assert!(said.contains(word), "{word} is missing in: {said}");
    }
    cluster.client(|client| async move {
        assert_eq!(told(&client, "t").await, SMALL.to_string());
        let error = produce_bytes(&client, "t", SMALL + 1).await;
        assert_eq!(error, MESSAGE_TOO_LARGE);
        assert_eq!(produce_bytes(&client, "t", SMALL).await, 0);
        // What is not about it can be changed.
        assert_eq!(alter(&client, 2, "t", "retention.ms", "5000").await, 0);
    });
    let (simulation, _) = cluster.stop();
    let mut cluster = Cluster::boot(simulation, with_wal(64));
    let said = cluster.wait_for_start().expect("it starts").recovery;
    assert!(!said.contains("max.message.bytes"), "{said}");
    cluster.client(|client| async move {
        assert_eq!(told(&client, "t").await, LARGE.to_string());
    });
}

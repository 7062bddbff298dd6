//! Topics, configurations and what the broker says of itself.

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreatePartitionsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeLogDirsRequest, DescribeTopicPartitionsRequest,
    InitProducerIdRequest, MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;
use tailwater_server::Advertised;

use crate::cluster::{Cluster, config};
use crate::requests::*;

#[test]
fn api_versions_lists_what_is_served() {
    let mut cluster = Cluster::start(1, config(1));
    cluster.client(|client| async move {
        let software = StrBytes::from_static_str("test-1.0");
        for version in 0..=4 {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(software.clone())
                .with_client_software_version(software.clone());
            let request = if version < 3 {
                ApiVersionsRequest::default()
            } else {
                request
            };
            let answer = client.call(version, &request).await;
            assert_eq!(answer.error_code, 0);
            let produce = answer.api_keys.iter().find(|api| api.api_key == 0).unwrap();
            assert_eq!((produce.min_version, produce.max_version), (0, 13));
            let join = answer
                .api_keys
                .iter()
                .find(|api| api.api_key == 11)
                .unwrap();
            assert_eq!((join.min_version, join.max_version), (0, 9));
            assert!(
                answer.api_keys.iter().all(|api| api.api_key != 24),
                "no transactions yet"
            );
        }
        let nameless = client.call(3, &ApiVersionsRequest::default()).await;
        assert_eq!((nameless.error_code, nameless.api_keys.len()), (42, 0));
    });
}

#[test]
fn a_topic_is_found_by_name_and_by_id_until_it_is_deleted() {
    let mut cluster = Cluster::start(2, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 3).await;
        let by_name = client.call(METADATA, &metadata(&["t"], false)).await;
        let topic = &by_name.topics[0];
        assert_eq!((topic.error_code, topic.partitions.len()), (0, 3));
        assert!(
            topic
                .partitions
                .iter()
                .all(|p| p.leader_id.0 == 1 && p.isr_nodes.len() == 1)
        );
        let id = topic.topic_id;
        let by_id = MetadataRequest::default().with_topics(Some(vec![
            MetadataRequestTopic::default()
                .with_name(None)
                .with_topic_id(id),
        ]));
        let found = client.call(METADATA, &by_id).await;
        assert_eq!(found.topics[0].name, Some(name("t")));
        let delete = DeleteTopicsRequest::default()
            .with_timeout_ms(5_000)
            .with_topics(vec![
                DeleteTopicState::default()
                    .with_name(None)
                    .with_topic_id(id),
            ]);
        let deleted = client.call(6, &delete).await;
        assert_eq!(deleted.responses[0].error_code, 0);
        assert_eq!(
            client.call(METADATA, &by_id).await.topics[0].error_code,
            100
        );
        assert_eq!(
            client.call(METADATA, &metadata(&["t"], false)).await.topics[0].error_code,
            3
        );
    });
}

#[test]
fn metadata_creates_a_topic_only_when_it_may() {
    let mut cluster = Cluster::start(3, config(2));
    cluster.client(|client| async move {
        let refused = client
            .call(METADATA, &metadata(&["new", "bad name"], false))
            .await;
        let codes: Vec<_> = refused
            .topics
            .iter()
            .map(|topic| topic.error_code)
            .collect();
        assert_eq!(codes, [17, 3], "in the order of their names");
        let created = client.call(METADATA, &metadata(&["new"], true)).await;
        assert_eq!(
            (
                created.topics[0].error_code,
                created.topics[0].partitions.len()
            ),
            (0, 1)
        );
        let all = MetadataRequest::default().with_topics(None);
        assert_eq!(client.call(METADATA, &all).await.topics.len(), 1);
    });
}

#[test]
fn a_topic_named_twice_is_refused_and_the_rest_is_created() {
    let mut cluster = Cluster::start(4, config(2));
    cluster.client(|client| async move {
        let mut request = create("twice", 1, &[]);
        request.topics.push(request.topics[0].clone());
        request
            .topics
            .push(create("once", 2, &[]).topics[0].clone());
        let created = client.call(CREATE_TOPICS, &request).await;
        let outcomes: Vec<_> = created
            .topics
            .iter()
            .map(|t| (t.name.to_string(), t.error_code))
            .collect();
        assert_eq!(outcomes, [("twice".to_owned(), 42), ("once".to_owned(), 0)]);
        let again = client.call(CREATE_TOPICS, &create("once", 1, &[])).await;
        assert_eq!(again.topics[0].error_code, 36);
    });
}

#[test]
fn partitions_are_added_never_taken() {
    let mut cluster = Cluster::start(5, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 2).await;
        for (count, error_code) in [(4, 0), (3, 37)] {
            let topic = CreatePartitionsTopic::default()
                .with_name(name("t"))
                .with_count(count)
                .with_assignments(None);
            let request = CreatePartitionsRequest::default()
                .with_timeout_ms(5_000)
                .with_topics(vec![topic]);
            assert_eq!(
                client.call(3, &request).await.results[0].error_code,
                error_code
            );
        }
        let known = client.call(METADATA, &metadata(&["t"], false)).await;
        assert_eq!(known.topics[0].partitions.len(), 4);
        let produced = client
            .call(PRODUCE, &produce("t", 3, -1, batch(&[b"x"])))
            .await;
        assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
    });
}

#[test]
fn topics_are_described_page_by_page() {
    let mut cluster = Cluster::start(6, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "a", 3).await;
        create_topic(&client, "b", 2).await;
        let mut cursor = None;
        let mut seen = Vec::new();
        for _ in 0..10 {
            let request = DescribeTopicPartitionsRequest::default()
                .with_response_partition_limit(2)
                .with_cursor(cursor.take());
            let page = client.call(0, &request).await;
            for topic in &page.topics {
                let name = topic.name.as_ref().unwrap().to_string();
                seen.extend(
                    topic
                        .partitions
                        .iter()
                        .map(|p| (name.clone(), p.partition_index)),
                );
            }
            let Some(next) = page.next_cursor else { break };
            cursor = Some(
                Cursor::default()
                    .with_topic_name(next.topic_name)
                    .with_partition_index(next.partition_index),
            );
        }
        let all = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)];
        assert_eq!(seen, all.map(|(name, index)| (name.to_owned(), index)));
        let astray = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![TopicRequest::default().with_name(name("a"))])
            .with_cursor(Some(Cursor::default().with_topic_name(name("zz"))));
        assert_eq!(client.call(0, &astray).await.topics[0].error_code, 42);
    });
}

#[test]
fn the_broker_describes_itself() {
    let mut cluster = Cluster::start(7, config(2));
    cluster.client(|client| async move {
        let request = DescribeClusterRequest::default();
        let asked = request
            .clone()
            .with_include_cluster_authorized_operations(true);
        let described = client.call(1, &request).await;
        assert_eq!(described.cluster_authorized_operations, i32::MIN);
        assert_eq!(
            (described.controller_id.0, described.brokers[0].port),
            (1, 9092)
        );
        assert_eq!(
            client.call(1, &asked).await.cluster_authorized_operations,
            0x1fa0
        );
        let controllers = request.with_endpoint_type(2);
        assert_eq!(client.call(1, &controllers).await.error_code, 114);

        create_topic(&client, "t", 1).await;
        client
            .call(PRODUCE, &produce("t", 0, -1, batch(&[&[1; 5_000]])))
            .await;
        let dirs = client
            .call(4, &DescribeLogDirsRequest::default().with_topics(None))
            .await;
        let partition = &dirs.results[0].topics[0].partitions[0];
        assert!(
            partition.partition_size >= 5_000,
            "{}",
            partition.partition_size
        );
        assert!(dirs.results[0].usable_bytes > 0);
    });
}

#[test]
fn a_page_of_partitions_is_as_long_as_is_configured() {
    let mut config = config(2);
    let limit = ("max.request.partition.size.limit", "2");
    config.broker.insert(limit.0.to_owned(), limit.1.to_owned());
    let mut cluster = Cluster::start(10, config);
    cluster.client(|client| async move {
        create_topic(&client, "t", 5).await;
        let request = DescribeTopicPartitionsRequest::default();
        let page = client.call(0, &request).await;
        assert_eq!(page.topics[0].partitions.len(), 2);
        assert_eq!(page.next_cursor.unwrap().partition_index, 2);
    });
}

#[test]
fn the_broker_describes_the_configuration_it_runs_with() {
    let mut config = config(2);
    config.node_id = 7;
    config.advertise = Some(Advertised {
        host: "broker.example".to_owned(),
        port: 9_000,
    });
    let mut cluster = Cluster::start(11, config);
    cluster.client(|client| async move {
        let request = DescribeConfigsRequest::default().with_resources(vec![
            DescribeConfigsResource::default()
                .with_resource_type(4)
                .with_resource_name(StrBytes::from_static_str("7"))
                .with_configuration_keys(None),
        ]);
        let described = client.call(4, &request).await;
        let value = |name: &str| {
            let configs = &described.results[0].configs;
            let config = configs.iter().find(|config| &*config.name == name);
            config.unwrap().value.as_deref().map(str::to_owned)
        };
        for (name, expected) in [
            ("advertised.listeners", "PLAINTEXT://broker.example:9000"),
            ("broker.id", "7"),
            ("listeners", "PLAINTEXT://127.0.0.1:9092"),
            ("log.dir", "/data"),
            ("log.dirs", "/data"),
            ("node.id", "7"),
        ] {
            assert_eq!(value(name).as_deref(), Some(expected), "{name}");
        }
    });
}

#[test]
fn configurations_are_described_as_they_were_set() {
    let mut cluster = Cluster::start(8, config(2));
    cluster.client(|client| async move {
        let request = create("t", 1, &[("retention.ms", "5000")]);
        let created = client.call(CREATE_TOPICS, &request).await;
        let configs = created.topics[0].configs.as_ref().unwrap();
        assert!(
            configs
                .iter()
                .any(|c| &*c.name == "retention.ms" && c.config_source == 1)
        );
        let describe = DescribeConfigsRequest::default().with_resources(vec![
            DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(StrBytes::from_static_str("t"))
                .with_configuration_keys(Some(vec![StrBytes::from_static_str("retention.ms")])),
        ]);
        let described = client.call(4, &describe).await;
        assert_eq!(described.results[0].error_code, 0);
        assert_eq!(
            described.results[0].configs[0].value.as_deref(),
            Some("5000")
        );
    });
}

#[test]
fn no_more_configurations_are_described_than_one_reply_may_hold() {
    let mut cluster = Cluster::start(8, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(StrBytes::from_static_str("t"))
            .with_configuration_keys(None);
        let describe = |count| {
            DescribeConfigsRequest::default()
                .with_resources(vec![resource.clone(); count])
                .with_include_documentation(true)
        };
        let few = client.call(4, &describe(100)).await;
        assert!(few.results.iter().all(|result| result.error_code == 0));
        // 10 KB that ask for 50 MB.
        let many = client.call(4, &describe(2_000)).await;
        assert_eq!(many.results.len(), 2_000);
        let described = many.results.iter().take_while(|r| r.error_code == 0);
        let described = described.count();
        assert!((100..500).contains(&described), "{described}");
        let policy_violation = 44;
        let rest = &many.results[described..];
        assert!(rest.iter().all(|r| r.error_code == policy_violation));
    });
}

#[test]
fn producer_ids_are_given_once_and_none_for_transactions() {
    let mut cluster = Cluster::start(9, config(2));
    cluster.client(|client| async move {
        let request = InitProducerIdRequest::default().with_transactional_id(None);
        let mut ids = Vec::new();
        for _ in 0..5 {
            let given = client.call(4, &request).await;
            assert_eq!((given.error_code, given.producer_epoch), (0, 0));
            ids.push(given.producer_id.0);
        }
        ids.dedup();
        assert_eq!(ids.len(), 5);
        let half = request.clone().with_producer_epoch(3);
        assert_eq!(client.call(4, &half).await.error_code, 42);
        let id = StrBytes::from_static_str("tx").into();
        let transactional = request.with_transactional_id(Some(id));
        assert_ne!(client.call(4, &transactional).await.error_code, 0);
    });
}

//! Shard-direct routing over the wire: what a shard's own port answers, and what the bootstrap port.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    InitProducerIdRequest, ListGroupsRequest, MetadataResponse, OffsetCommitRequest, ProducerId,
};
use kafka_protocol::protocol::StrBytes;
use tailwater_server::{Advertised, ServerConfig, ShardDirect};
use tailwater_shards::sleep;

use crate::client::Client;
use crate::cluster::{Cluster, config};
use crate::requests::*;

const BASE: u16 = 9100;
const PARTITIONS: i32 = 7;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const NOT_COORDINATOR: i16 = 16;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn direct(shards: usize) -> ServerConfig {
    let mut config = config(shards);
    config.shard_direct = Some(ShardDirect {
        port_base: BASE,
        advertise: None,
    });
    let partitions = ("offsets.topic.num.partitions".to_owned(), "6".to_owned());
    config.broker.extend([partitions]);
    config
}

fn port(shard: i32) -> u16 {
    BASE + u16::try_from(shard).unwrap()
}

/// Brokers by id, and leaders by partition of `t`.
fn routes(known: &MetadataResponse) -> (BTreeMap<i32, i32>, BTreeMap<i32, i32>) {
    let brokers = known.brokers.iter().map(|b| (b.node_id.0, b.port));
    let partitions = known.topics[0].partitions.iter();
    let leaders = partitions.map(|p| {
        assert_eq!(
            (&p.replica_nodes, &p.isr_nodes),
            (&vec![p.leader_id], &vec![p.leader_id])
        );
        (p.partition_index, p.leader_id.0)
    });
    (brokers.collect(), leaders.collect())
}

#[test]
fn every_port_names_the_shards_as_brokers_and_the_same_leaders() {
    let mut cluster = Cluster::start(1, direct(3));
    cluster.client(|bootstrap| async move {
        create_topic(&bootstrap, "t", PARTITIONS).await;
        let known = bootstrap.call(METADATA, &metadata(&["t"], false)).await;
        let (brokers, leaders) = routes(&known);
        let all = BTreeMap::from([(1000, 9100), (1001, 9101), (1002, 9102)]);
        assert_eq!(brokers, all, "and the bootstrap port is none of them");
        assert_eq!(known.controller_id.0, 1000);
        assert!(known.brokers.iter().all(|broker| broker.rack.is_none()));
        assert_eq!(leaders.len(), 7);
        for shard in 0..3 {
            let own = Client::connect_to(port(shard)).await;
            let known = own.call(METADATA, &metadata(&["t"], false)).await;
            assert_eq!(routes(&known), (brokers.clone(), leaders.clone()));
            assert_eq!(known.controller_id.0, 1000);
            let cluster = own.call(0, &DescribeClusterRequest::default()).await;
            let described = cluster.brokers.iter().map(|b| (b.broker_id.0, b.port));
            assert_eq!(described.collect::<BTreeMap<_, _>>(), brokers);
            assert_eq!(cluster.controller_id.0, 1000);
            let request = DescribeTopicPartitionsRequest::default()
                .with_topics(vec![TopicRequest::default().with_name(name("t"))])
                .with_response_partition_limit(10);
            let page = own.call(0, &request).await;
            let described = page.topics[0].partitions.iter();
            let described = described.map(|p| (p.partition_index, p.leader_id.0));
            assert_eq!(described.collect::<BTreeMap<_, _>>(), leaders);
            // What only shard 0 decides is decided from any port.
            create_topic(&own, &format!("made-at-{shard}"), 2).await;
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_producer_id(ProducerId(-1))
                .with_producer_epoch(-1);
            assert_eq!(own.call(4, &request).await.error_code, 0);
        }
    });
}

/// Leaders of the partitions of a new topic `t`.
async fn topic(client: &Client) -> BTreeMap<i32, i32> {
    create_topic(client, "t", PARTITIONS).await;
    routes(&client.call(METADATA, &metadata(&["t"], false)).await).1
}

#[test]
fn who_asks_the_wrong_shard_is_told_the_right_one() {
    let mut cluster = Cluster::start(2, direct(3));
    cluster.client(|bootstrap| async move {
        let leaders = topic(&bootstrap).await;
        let all = || {
            leaders
                .keys()
                .map(|index| (*index, batch(&[b"x"])))
                .collect()
        };
        for shard in 0..3 {
            let own = Client::connect_to(port(shard)).await;
            let produced = own.call(12, &produce_many("t", -1, all())).await;
            let parts = &produced.responses[0].partition_responses;
            for part in parts {
                let leader = leaders[&part.index];
                let is_own = leader == 1000 + shard;
                assert_eq!(
                    part.error_code,
                    if is_own { 0 } else { NOT_LEADER_OR_FOLLOWER }
                );
                if !is_own {
                    assert_eq!(part.current_leader.leader_id.0, leader);
                    assert!(part.current_leader.leader_epoch >= 0);
                }
            }
            let others = [0, 1, 2].into_iter().filter(|other| *other != shard);
            let others: Vec<_> = others
                .map(|other| (1000 + other, i32::from(port(other))))
                .collect();
            let told = produced
                .node_endpoints
                .iter()
                .map(|e| (e.node_id.0, e.port));
            assert_eq!(told.collect::<Vec<_>>(), others);

            let mut request = fetch("t", 0, 0, 1, 0).with_cluster_id(None);
            request.topics[0].partitions = leaders
                .keys()
                .map(|index| {
                    FetchPartition::default()
                        .with_partition(*index)
                        .with_partition_max_bytes(1 << 20)
                })
                .collect();
            let known = own.call(METADATA, &metadata(&["t"], false)).await;
            request.topics[0].topic_id = known.topics[0].topic_id;
            request.topics[0].topic = name("");
            let found = own.call(16, &request).await;
            for part in &found.responses[0].partitions {
                let leader = leaders[&part.partition_index];
                let is_own = leader == 1000 + shard;
                assert_eq!(
                    part.error_code,
                    if is_own { 0 } else { NOT_LEADER_OR_FOLLOWER }
                );
                assert_eq!(part.high_watermark, if is_own { 1 } else { -1 });
                assert_eq!(part.preferred_read_replica.0, -1);
                if !is_own {
                    assert_eq!(part.current_leader.leader_id.0, leader);
                }
            }
            let told = found.node_endpoints.iter().map(|e| (e.node_id.0, e.port));
            assert_eq!(told.collect::<Vec<_>>(), others);
            for (index, leader) in &leaders {
                let found = own.call(LIST_OFFSETS, &list_offsets("t", *index, -1)).await;
                let code = found.topics[0].partitions[0].error_code;
                assert_eq!(code == 0, *leader == 1000 + shard);
            }
        }
        // The bootstrap port serves them all.
        let produced = bootstrap.call(9, &produce_many("t", -1, all())).await;
        let parts = produced.responses[0].partition_responses.iter();
        assert!(
            parts
                .clone()
                .all(|part| (part.error_code, part.base_offset) == (0, 1))
        );
        // One that expects no answer learns of a wrong port by losing its connection.
        let foreign = leaders.iter().find(|(_, leader)| **leader != 1000).unwrap();
        let lost = Client::connect_to(port(0)).await;
        lost.send(9, &produce("t", *foreign.0, 0, batch(&[b"x"])))
            .await;
        assert!(lost.frame().await.is_none());
    });
}

/// Commits an offset of a group that has no members.
async fn commit(client: &Client, name_of_group: &str) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(3);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(name_of_group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    loop {
        let answer = client.call(8, &request).await;
        match answer.topics[0].partitions[0].error_code {
            // Its partition is being read.
            14 => sleep(Duration::from_millis(1)).await,
            code => return code,
        }
    }
}

/// The broker that FindCoordinator names, by group.
async fn coordinators(client: &Client, groups: &[String]) -> BTreeMap<String, i32> {
    let keys = groups.iter().map(|group| text(group)).collect();
    let request = FindCoordinatorRequest::default().with_coordinator_keys(keys);
    let found = client.call(4, &request).await.coordinators;
    assert!(
        found
            .iter()
            .all(|c| c.error_code == 0 && c.port == i32::from(port(c.node_id.0 - 1000)))
    );
    found
        .iter()
        .map(|c| (c.key.to_string(), c.node_id.0))
        .collect()
}

#[test]
fn a_group_is_served_at_its_shards_port_and_listed_once() {
    let mut cluster = Cluster::start(3, direct(3));
    cluster.client(|bootstrap| async move {
        topic(&bootstrap).await;
        let groups: Vec<String> = (0..12).map(|number| format!("group-{number}")).collect();
        let owners = coordinators(&bootstrap, &groups).await;
        let mut ports = Vec::new();
        for shard in 0..3 {
            ports.push(Client::connect_to(port(shard)).await);
        }
        let used: BTreeSet<_> = owners.values().collect();
        assert_eq!(used.len(), 3, "each shard has some");
        let mut listed = Vec::new();
        for (shard, client) in (0..).zip(&ports) {
            assert_eq!(coordinators(client, &groups).await, owners);
            for (group, owner) in &owners {
                let own = *owner == 1000 + shard;
                let expected = if own { 0 } else { NOT_COORDINATOR };
                assert_eq!(commit(client, group).await, expected, "{group}");
                let beat = HeartbeatRequest::default().with_group_id(GroupId(text(group)));
                let refused = client.call(3, &beat).await.error_code;
                assert_eq!(refused == NOT_COORDINATOR, !own);
                let ids = vec![GroupId(text(group))];
                let describe = DescribeGroupsRequest::default().with_groups(ids);
                let described = client.call(5, &describe).await.groups[0].error_code;
                assert_eq!(described, expected);
            }
            let own = client.call(4, &ListGroupsRequest::default()).await.groups;
            let own = own.iter().map(|group| group.group_id.to_string());
            listed.extend(own);
        }
        listed.sort();
        let mut all = groups.clone();
        all.sort();
        assert_eq!(listed, all, "over all shards' ports, each once");
        let of_all = bootstrap
            .call(4, &ListGroupsRequest::default())
            .await
            .groups;
        assert_eq!(of_all.len(), all.len());
        assert_eq!(
            commit(&bootstrap, &all[0]).await,
            0,
            "the bootstrap port serves any"
        );
    });
}

async fn log_dirs(client: &Client) -> BTreeMap<(String, i32), i64> {
    let all = DescribeLogDirsRequest::default().with_topics(None::<Vec<DescribableLogDirTopic>>);
    let answer = client.call(4, &all).await;
    let topics = answer.results[0].topics.iter();
    let sizes = topics.flat_map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|p| {
            (
                (topic.name.to_string(), p.partition_index),
                p.partition_size,
            )
        })
    });
    sizes.collect()
}

#[test]
fn sizes_of_logs_are_told_once_by_their_shards() {
    let mut cluster = Cluster::start(4, direct(2));
    cluster.client(|bootstrap| async move {
        let leaders = topic(&bootstrap).await;
        let all = leaders
            .keys()
            .map(|index| (*index, batch(&[b"some record"])));
        bootstrap
            .call(9, &produce_many("t", -1, all.collect()))
            .await;
        let of_all = log_dirs(&bootstrap).await;
        assert_eq!(of_all.len(), 7);
        assert!(of_all.values().all(|bytes| *bytes > 0));
        let mut merged = BTreeMap::new();
        for shard in 0..2 {
            let own = log_dirs(&Client::connect_to(port(shard)).await).await;
            for (partition, bytes) in own {
                assert_eq!(leaders[&partition.1], 1000 + shard);
                assert_eq!(merged.insert(partition, bytes), None);
            }
        }
        assert_eq!(merged, of_all);
    });
}

/// Some configurations of a broker, or the code of the refusal.
async fn described(client: &Client, broker: &str) -> Result<Vec<String>, i16> {
    let names = [
        "node.id",
        "broker.id",
        "listeners",
        "advertised.listeners",
        "log.dir",
    ];
    let keys = names.map(text).to_vec();
    let resource = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(text(broker))
        .with_configuration_keys(Some(keys));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let answer = client.call(4, &request).await.results.remove(0);
    if answer.error_code != 0 {
        return Err(answer.error_code);
    }
    let configs = &answer.configs;
    let value = |name: &str| {
        let config = configs.iter().find(|config| &*config.name == name).unwrap();
        assert_eq!(config.config_source, 4, "{name} is set");
        config.value.as_deref().unwrap().to_owned()
    };
    Ok(names.map(value).to_vec())
}

#[test]
fn a_shard_describes_itself_and_the_bootstrap_port_any() {
    let mut config = direct(2);
    config.shard_direct = Some(ShardDirect {
        port_base: BASE,
        advertise: Some(Advertised {
            host: "shards.example".to_owned(),
            port: 19_100,
        }),
    });
    let mut cluster = Cluster::start(5, config);
    cluster.client(|bootstrap| async move {
        let own = Client::connect_to(port(1)).await;
        let expected = [
            "1001",
            "1001",
            "PLAINTEXT://127.0.0.1:9101",
            "PLAINTEXT://shards.example:19101",
            "/data",
        ];
        for client in [&own, &bootstrap] {
            assert_eq!(described(client, "1001").await.unwrap(), expected);
        }
        assert_eq!(described(&bootstrap, "1000").await.unwrap()[0], "1000");
        const INVALID_REQUEST: i16 = 42;
        assert_eq!(described(&own, "1000").await, Err(INVALID_REQUEST));
        for nobody in ["1", "1002", "999"] {
            assert_eq!(described(&own, nobody).await, Err(INVALID_REQUEST));
            assert_eq!(described(&bootstrap, nobody).await, Err(INVALID_REQUEST));
        }
    });
}

#[test]
fn placement_is_computed_anew_when_the_number_of_shards_changes() {
    let mut cluster = Cluster::start(6, direct(3));
    let before = cluster.client(|bootstrap| async move {
        let leaders = topic(&bootstrap).await;
        for (index, leader) in &leaders {
            let own = Client::connect_to(port(leader - 1000)).await;
            let produced = own.call(9, &produce("t", *index, -1, batch(&[b"x"]))).await;
            assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
        }
        let owners = coordinators(&bootstrap, &["g".to_owned()]).await;
        let own = Client::connect_to(port(owners["g"] - 1000)).await;
        assert_eq!(commit(&own, "g").await, 0);
        let known = bootstrap.call(METADATA, &metadata(&["t"], false)).await;
        known.topics[0].partitions[0].leader_epoch
    });
    let mut cluster = Cluster::start_on(cluster.kill(), direct(2));
    cluster.client(move |bootstrap| async move {
        let known = bootstrap.call(METADATA, &metadata(&["t"], false)).await;
        let (brokers, leaders) = routes(&known);
        assert_eq!(brokers, BTreeMap::from([(1000, 9100), (1001, 9101)]));
        assert!(known.topics[0].partitions[0].leader_epoch > before);
        for (index, leader) in &leaders {
            let own = Client::connect_to(port(leader - 1000)).await;
            let found = own.call(FETCH, &fetch("t", *index, 0, 1, 0)).await;
            assert_eq!(fetched(&found).len(), 1);
        }
        let owners = coordinators(&bootstrap, &["g".to_owned()]).await;
        let own = Client::connect_to(port(owners["g"] - 1000)).await;
        assert_eq!(commit(&own, "g").await, 0);
    });
    // And as one broker again.
    let mut cluster = Cluster::start_on(cluster.stop().0, config(2));
    cluster.client(|client| async move {
        let (brokers, leaders) = routes(&client.call(METADATA, &metadata(&["t"], false)).await);
        assert_eq!(brokers, BTreeMap::from([(1, 9092)]));
        assert!(leaders.values().all(|leader| *leader == 1));
    });
}

async fn is_served(client: &Client) -> bool {
    let request = crate::client::encode(METADATA, 1, &metadata(&[], false));
    client.try_send_raw(&request).await && client.frame().await.is_some()
}

#[test]
fn limits_of_connections_hold_over_all_ports_together() {
    let mut config = direct(2);
    config.limits.connections_max = 4;
    let mut cluster = Cluster::start(7, config);
    cluster.client(|bootstrap| async move {
        assert!(is_served(&bootstrap).await);
        let mut ports = Vec::new();
        for shard in [1, 1, 0] {
            ports.push(Client::connect_to(port(shard)).await);
            assert!(is_served(ports.last().unwrap()).await);
        }
        for shard in 0..2 {
            assert!(!is_served(&Client::connect_to(port(shard)).await).await);
        }
        assert!(!is_served(&Client::connect().await).await);
        ports.remove(0).close();
        sleep(Duration::from_secs(1)).await;
        let next = Client::connect_to(port(0)).await;
        assert!(is_served(&next).await);
        assert!(!is_served(&Client::connect().await).await);
    });
    let mut config = direct(2);
    config.limits.connections_per_ip_max = 2;
    let mut cluster = Cluster::start(8, config);
    cluster.client(|bootstrap| async move {
        let own = Client::connect_to(port(1)).await;
        assert!(is_served(&bootstrap).await && is_served(&own).await);
        assert!(!is_served(&Client::connect_to(port(0)).await).await);
    });
}

#[test]
fn a_stop_closes_shards_ports_and_a_busy_port_refuses_the_start() {
    let mut cluster = Cluster::start(9, direct(2));
    let leaders = cluster.client(|bootstrap| async move { topic(&bootstrap).await });
    let (index, leader) = leaders.iter().next().map(|(i, l)| (*i, *l)).unwrap();
    let parked = cluster.simulation.spawn("parked", async move {
        let own = Client::connect_to(port(leader - 1000)).await;
        own.send(FETCH, &fetch("t", index, 0, 1, 60_000)).await;
        own.frame().await
    });
    cluster.simulation.run_for(Duration::from_secs(1));
    let (mut simulation, took) = cluster.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let answer = simulation.run_until_done(&parked);
    assert!(answer.is_none(), "its connection was closed");
    // Somebody has the second shard's port.
    let taken = simulation.spawn("other", async {
        let listener = tailwater_shards::Listener::bind(([127, 0, 0, 1], 9101).into()).unwrap();
        sleep(Duration::from_secs(600)).await;
        drop(listener);
    });
    simulation.run_for(Duration::from_millis(1));
    let mut cluster = Cluster::boot(simulation, direct(2));
    let refused = cluster.wait_for_start().unwrap_err().to_string();
    assert!(refused.contains("127.0.0.1:9101"), "{refused}");
    cluster.simulation.run_until_ended(cluster.process);
    drop(taken);
}

//! Groups over the wire, at every version.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::delete_groups_request::DeleteGroupsRequest;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;
use tailwater_server::ServerConfig;
use tailwater_shards::sleep;

use crate::client::Client;
use crate::cluster::{Cluster, config};
use crate::requests::*;

const UNKNOWN_MEMBER_ID: i16 = 25;
const MEMBER_ID_REQUIRED: i16 = 79;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A server whose groups are on few partitions.
fn groups_config(shards: usize) -> ServerConfig {
    let mut config = config(shards);
    let partitions = ("offsets.topic.num.partitions".to_owned(), "4".to_owned());
    config.broker.extend([partitions]);
    config
}

async fn find_coordinator(client: &Client, version: i16, name: &str) -> (i16, i32) {
    let request = if version < 4 {
        FindCoordinatorRequest::default().with_key(text(name))
    } else {
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text(name)])
    };
    let answer = client.call(version, &request).await;
    match answer.coordinators.first() {
        Some(found) => (found.error_code, found.port),
        None => (answer.error_code, answer.port),
    }
}

fn join(name: &str, version: i16, member: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"what it wants"));
    let request = JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(10_000)
        .with_member_id(member.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol]);
    if version >= 1 {
        request.with_rebalance_timeout_ms(60_000)
    } else {
        request
    }
}

/// Joins a group as its only member.
async fn joined(client: &Client, version: i16, name: &str) -> JoinGroupResponse {
    let mut answer = client
        .call(version, &join(name, version, &StrBytes::new()))
        .await;
    if version >= 4 {
        assert_eq!(answer.error_code, MEMBER_ID_REQUIRED);
        let known = join(name, version, &answer.member_id);
        answer = client.call(version, &known).await;
    }
    assert_eq!(answer.error_code, 0, "{answer:?}");
    assert_eq!(answer.leader, answer.member_id);
    assert_eq!(answer.members.len(), 1);
    assert_eq!(answer.members[0].metadata, "what it wants");
    answer
}

async fn synced(client: &Client, version: i16, name: &str, joined: &JoinGroupResponse) {
    let mine = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"all of it"));
    let mut request = SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(vec![mine]);
    if version >= 5 {
        request.protocol_type = Some(text("consumer"));
        request.protocol_name = Some(text("range"));
    }
    let answer = client.call(version, &request).await;
    assert_eq!(
        (answer.error_code, &answer.assignment[..]),
        (0, &b"all of it"[..])
    );
}

async fn heartbeat(client: &Client, version: i16, name: &str, joined: &JoinGroupResponse) -> i16 {
    let request = HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone());
    client.call(version, &request).await.error_code
}

async fn commit(
    client: &Client,
    version: i16,
    name: &str,
    joined: &JoinGroupResponse,
    offset: i64,
) {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("note")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(crate::requests::name("t"))
        .with_partitions(vec![partition.clone(), partition.with_partition_index(7)]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_topics(vec![topic]);
    let answer = client.call(version, &request).await;
    let codes = answer.topics[0].partitions.iter().map(|p| p.error_code);
    assert_eq!(
        codes.collect::<Vec<_>>(),
        [0, 3],
        "partition 7 is not there"
    );
}

async fn committed(client: &Client, version: i16, name: &str) -> (i64, Option<StrBytes>) {
    let topic = crate::requests::name("t");
    let request = if version < 8 {
        let topic = OffsetFetchRequestTopic::default()
            .with_name(topic)
            .with_partition_indexes(vec![0]);
        OffsetFetchRequest::default()
            .with_group_id(group(name))
            .with_topics(Some(vec![topic]))
    } else {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(topic)
            .with_partition_indexes(vec![0]);
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(group(name))
            .with_member_epoch(-1)
            .with_topics(Some(vec![topic]));
        OffsetFetchRequest::default().with_groups(vec![asked])
    };
    let answer = client.call(version, &request).await;
    match answer.groups.first() {
        Some(group) => {
            let found = &group.topics[0].partitions[0];
            assert_eq!((group.error_code, found.error_code), (0, 0));
            (found.committed_offset, found.metadata.clone())
        }
        None => {
            let found = &answer.topics[0].partitions[0];
            assert_eq!((answer.error_code, found.error_code), (0, 0));
            (found.committed_offset, found.metadata.clone())
        }
    }
}

async fn left(client: &Client, version: i16, name: &str, joined: &JoinGroupResponse) {
    let member = joined.member_id.clone();
    let request = LeaveGroupRequest::default().with_group_id(group(name));
    let request = if version < 3 {
        request.with_member_id(member)
    } else {
        request.with_members(vec![MemberIdentity::default().with_member_id(member)])
    };
    let answer = client.call(version, &request).await;
    assert_eq!(answer.error_code, 0);
    assert!(answer.members.iter().all(|member| member.error_code == 0));
}

#[test]
fn a_member_lives_its_life_at_every_version() {
    let mut cluster = Cluster::start(1, groups_config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        for version in 0..=9_i16 {
            let name = &format!("g-{version}");
            let found = find_coordinator(&client, version.min(6), name).await;
            assert_eq!(found, (0, 9092));
            let joined = joined(&client, version, name).await;
            synced(&client, version.min(5), name, &joined).await;
            assert_eq!(heartbeat(&client, version.min(4), name, &joined).await, 0);
            let offset = i64::from(version);
            commit(&client, version.clamp(2, 9), name, &joined, offset).await;
            let (found, note) = committed(&client, version.max(1), name).await;
            assert_eq!((found, note), (offset, Some(text("note"))));
            left(&client, version.min(5), name, &joined).await;
            let gone = heartbeat(&client, version.min(4), name, &joined).await;
            assert_eq!(gone, UNKNOWN_MEMBER_ID);
        }
    });
}

#[test]
fn groups_are_listed_described_and_deleted_at_every_version() {
    let mut cluster = Cluster::start(2, groups_config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        assert_eq!(find_coordinator(&client, 6, "g").await.0, 0);
        let member = joined(&client, 9, "g").await;
        synced(&client, 5, "g", &member).await;
        commit(&client, 9, "g", &member, 4).await;
        for version in 0..=5 {
            let listed = client.call(version, &ListGroupsRequest::default()).await;
            let names: Vec<_> = listed.groups.iter().map(|g| g.group_id.clone()).collect();
            assert_eq!((listed.error_code, names), (0, vec![group("g")]));
        }
        for version in 0..=6 {
            let request =
                DescribeGroupsRequest::default().with_groups(vec![group("g"), group("no")]);
            let described = client.call(version, &request).await.groups;
            assert_eq!(&*described[0].group_state, "Stable");
            assert_eq!(&*described[0].members[0].client_id, "test");
            assert_eq!(described[0].members[0].member_assignment, "all of it");
            let missing = if version < 6 { 0 } else { 69 };
            assert_eq!(described[1].error_code, missing);
            assert_eq!(&*described[1].group_state, "Dead");
        }
        left(&client, 5, "g", &member).await;
        let partition = OffsetDeleteRequestPartition::default();
        let topic = OffsetDeleteRequestTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![partition.clone(), partition.with_partition_index(7)]);
        let request = OffsetDeleteRequest::default()
            .with_group_id(group("g"))
            .with_topics(vec![topic]);
        let deleted = client.call(0, &request).await;
        let codes = deleted.topics[0].partitions.iter().map(|p| p.error_code);
        assert_eq!(codes.collect::<Vec<_>>(), [0, 3]);
        assert_eq!(committed(&client, 9, "g").await.0, -1);
        let request =
            DeleteGroupsRequest::default().with_groups_names(vec![group("g"), group("no")]);
        let deleted = client.call(2, &request).await;
        let codes: Vec<i16> = deleted.results.iter().map(|r| r.error_code).collect();
        assert_eq!(codes.len(), 2);
        assert_eq!(codes[1], 69);
    });
}

#[test]
fn the_topic_of_the_groups_is_the_brokers_own() {
    let mut cluster = Cluster::start(3, groups_config(2));
    cluster.client(|client| async move {
        assert_eq!(find_coordinator(&client, 0, "g").await.0, 0);
        let found = client
            .call(METADATA, &metadata(&["__consumer_offsets"], false))
            .await;
        let topic = &found.topics[0];
        assert!(topic.is_internal);
        assert_eq!(topic.partitions.len(), 4);
        let refused = client
            .call(
                PRODUCE,
                &produce("__consumer_offsets", 0, -1, batch(&[b"x"])),
            )
            .await;
        assert_eq!(refused.responses[0].partition_responses[0].error_code, 17);
        for (key_type, error) in [(1, 53), (2, 42), (9, 42)] {
            let request = FindCoordinatorRequest::default()
                .with_key_type(key_type)
                .with_coordinator_keys(vec![text("x")]);
            let found = &client.call(6, &request).await.coordinators[0];
            assert_eq!((found.error_code, found.port), (error, -1));
        }
    });
}

#[test]
fn a_join_that_waits_is_not_idle_and_ends_with_its_connection() {
    let mut config = groups_config(2);
    config.limits.idle_max = Some(Duration::from_secs(2));
    let delay = "group.initial.rebalance.delay.ms".to_owned();
    config.broker.insert(delay, "10000".to_owned());
    let mut cluster = Cluster::start(4, config);
    cluster.client(|client| async move {
        assert_eq!(find_coordinator(&client, 6, "g").await.0, 0);
        let gone = Client::connect().await;
        gone.send(3, &join("g", 3, &StrBytes::new())).await;
        let stays = Client::connect().await;
        let id = stays.send(3, &join("g", 3, &StrBytes::new())).await;
        sleep(Duration::from_millis(100)).await;
        gone.close();
        let answer = stays.receive::<JoinGroupRequest>(3, id).await;
        assert_eq!(answer.error_code, 0);
    });
}

/// A join of the new protocol, but for member and subscription.
fn consumer_joining() -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group("g"))
        .with_rebalance_timeout_ms(30_000)
        .with_topic_partitions(Some(Vec::new()))
}

#[test]
fn a_group_of_the_new_protocol_is_served_at_every_version() {
    let mut cluster = Cluster::start(5, groups_config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 2).await;
        assert_eq!(find_coordinator(&client, 6, "g").await.0, 0);
        let joining = consumer_joining();
        let named = joining
            .clone()
            .with_subscribed_topic_names(Some(vec![name("t")]));
        let first = client.call(0, &named).await;
        assert_eq!((first.error_code, first.member_epoch), (0, 1));
        let assigned = first.assignment.expect("a join is told what it has");
        let topic = assigned.topic_partitions[0].topic_id;
        assert_eq!(assigned.topic_partitions[0].partitions, [0, 1]);
        let matched = joining
            .with_member_id(text("second"))
            .with_subscribed_topic_regex(Some(text("[t-z]")));
        let second = client.call(1, &matched).await;
        assert_eq!((second.error_code, second.member_epoch), (0, 2));
        let beat = |member: &StrBytes, epoch: i32, owned: Option<Vec<i32>>| {
            let owned = owned.map(|partitions| {
                let owned = TopicPartitions::default().with_topic_id(topic);
                vec![owned.with_partitions(partitions)]
            });
            ConsumerGroupHeartbeatRequest::default()
                .with_group_id(group("g"))
                .with_member_id(member.clone())
                .with_member_epoch(epoch)
                .with_topic_partitions(owned)
        };
        let id = first.member_id.expect("an id was chosen");
        let told = client.call(1, &beat(&id, 1, None)).await;
        let kept = told.assignment.expect("less").topic_partitions[0]
            .partitions
            .clone();
        let done = client.call(1, &beat(&id, 1, Some(kept))).await;
        assert_eq!((done.error_code, done.member_epoch), (0, 2));
        assert!(done.assignment.is_none());
        let got = client.call(1, &beat(&text("second"), 2, None)).await;
        assert_eq!(
            got.assignment.expect("more").topic_partitions[0]
                .partitions
                .len(),
            1
        );
        let fenced = client.call(1, &beat(&id, 9, None)).await;
        assert_eq!(fenced.error_code, 110);
        for version in 0..=1 {
            let request = ConsumerGroupDescribeRequest::default()
                .with_group_ids(vec![group("g"), group("no")]);
            let described = client.call(version, &request).await.groups;
            assert_eq!(&*described[0].group_state, "Stable");
            assert_eq!(described[0].members.len(), 2);
            let member = &described[0].members[0];
            assert_eq!(&*member.assignment.topic_partitions[0].topic_name, "t");
            assert_eq!(member.member_type, if version == 0 { -1 } else { 1 });
            assert_eq!(described[1].error_code, 69);
        }
    });
}

#[test]
fn what_a_member_of_the_new_protocol_may_not_is_refused_with_kafkas_codes() {
    let mut cluster = Cluster::start(5, groups_config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 2).await;
        assert_eq!(find_coordinator(&client, 6, "g").await.0, 0);
        let joining = consumer_joining().with_member_id(text("m"));
        let named = joining
            .clone()
            .with_subscribed_topic_names(Some(vec![name("t")]));
        assert_eq!(client.call(1, &named).await.member_epoch, 1);
        // It commits in a version that knows member epochs, or not at all.
        for (version, code) in [(8, 35), (9, 0)] {
            let partition = OffsetCommitRequestPartition::default().with_committed_offset(4);
            let topic = OffsetCommitRequestTopic::default()
                .with_name(name("t"))
                .with_partitions(vec![partition]);
            let commit = OffsetCommitRequest::default()
                .with_group_id(group("g"))
                .with_member_id(text("m"))
                .with_generation_id_or_member_epoch(1)
                .with_topics(vec![topic]);
            let committed = client.call(version, &commit).await;
            assert_eq!(committed.topics[0].partitions[0].error_code, code);
        }
        let bad = joining
            .with_member_id(text("third"))
            .with_subscribed_topic_regex(Some(text("(")));
        let refused = client.call(1, &bad).await;
        assert_eq!(refused.error_code, 128);
        assert!(
            refused
                .error_message
                .expect("a reason")
                .contains("not a valid")
        );
    });
}

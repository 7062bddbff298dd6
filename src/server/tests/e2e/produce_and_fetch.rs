//! The way of a record from a producer to a consumer.

use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, ProduceRequest};
use tailwater_shards::{now, sleep};

use crate::client::Client;
use crate::cluster::{Cluster, config};
use crate::requests::*;

#[test]
fn what_is_produced_is_fetched_byte_for_byte() {
    for (seed, shards) in [(1, 1), (2, 2), (3, 4)] {
        let mut cluster = Cluster::start(seed, config(shards));
        cluster.client(|client| async move {
            create_topic(&client, "t", 3).await;
            for partition in 0..3 {
                for acks in [-1, 1] {
                    let sent = batch(&[b"one", b"two", b"three"]);
                    let produced = client
                        .call(PRODUCE, &produce("t", partition, acks, sent))
                        .await;
                    let part = &produced.responses[0].partition_responses[0];
                    assert_eq!(part.error_code, 0);
                    assert_eq!(part.base_offset, if acks == -1 { 0 } else { 3 });
                }
                let got = client
                    .call(FETCH, &fetch("t", partition, 0, 150, 5_000))
                    .await;
                let got = fetched(&got);
                assert_eq!(
                    got.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(),
                    [0, 3]
                );
                let sent = batch(&[b"one", b"two", b"three"]);
                // Offset and leader epoch are the broker's; the rest is as it was sent.
                assert!(got.iter().all(|(_, bytes)| bytes[16..] == sent[16..]));
            }
        });
    }
}

#[test]
fn pipelined_produces_get_their_offsets_in_order() {
    for seed in 0..5 {
        let mut cluster = Cluster::start(seed, config(2));
        cluster.client(|client| async move {
            create_topic(&client, "t", 2).await;
            let mut ids = Vec::new();
            for index in 0..50_u8 {
                let request = produce("t", i32::from(index % 2), -1, batch(&[&[index]]));
                ids.push(client.send(PRODUCE, &request).await);
            }
            for (index, id) in ids.into_iter().enumerate() {
                let produced = client.receive::<ProduceRequest>(PRODUCE, id).await;
                let part = &produced.responses[0].partition_responses[0];
                assert_eq!((part.error_code, part.base_offset), (0, index as i64 / 2));
            }
        });
    }
}

#[test]
fn a_parked_fetch_wakes_when_something_is_produced() {
    for seed in 0..5 {
        let mut cluster = Cluster::start(seed, config(2));
        cluster.client(|client| async move {
            create_topic(&client, "t", 2).await;
            for partition in [0, 1] {
                let begun = now();
                let id = client
                    .send(FETCH, &fetch("t", partition, 0, 1, 60_000))
                    .await;
                sleep(Duration::from_secs(5)).await;
                let producer = Client::connect().await;
                let produced = producer
                    .call(PRODUCE, &produce("t", partition, -1, batch(&[b"x"])))
                    .await;
                assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
                let got = client.receive::<FetchRequest>(FETCH, id).await;
                assert_eq!(fetched(&got).len(), 1);
                assert!(begun.elapsed() < Duration::from_secs(10));
            }
        });
    }
}

#[test]
fn a_fetch_without_news_comes_back_when_its_wait_ends() {
    let mut cluster = Cluster::start(4, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        let begun = now();
        let got = client.call(FETCH, &fetch("t", 0, 0, 1, 500)).await;
        assert!(fetched(&got).is_empty());
        let took = begun.elapsed();
        assert!(
            took >= Duration::from_millis(500) && took < Duration::from_secs(1),
            "{took:?}"
        );
    });
}

#[test]
fn without_acks_there_is_no_answer_and_an_error_closes_the_connection() {
    let mut cluster = Cluster::start(5, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        client
            .send(PRODUCE, &produce("t", 0, 0, batch(&[b"quiet"])))
            .await;
        // The next answer is that of the next request.
        let got = client.call(FETCH, &fetch("t", 0, 0, 1, 5_000)).await;
        assert_eq!(fetched(&got).len(), 1);
        client
            .send(PRODUCE, &produce("nowhere", 0, 0, batch(&[b"lost"])))
            .await;
        assert!(client.frame().await.is_none());
    });
}

#[test]
fn offsets_are_found_by_their_ends_and_by_time() {
    let mut cluster = Cluster::start(6, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        let records = batch(&[b"a", b"b", b"c"]);
        client.call(PRODUCE, &produce("t", 0, -1, records)).await;
        for (timestamp, offset) in [(-1, 3), (-2, 0), (-3, 2), (1_001, 1), (9_999, -1)] {
            let found = client
                .call(LIST_OFFSETS, &list_offsets("t", 0, timestamp))
                .await;
            let found = &found.topics[0].partitions[0];
            assert_eq!(
                (found.error_code, found.offset),
                (0, offset),
                "of {timestamp}"
            );
        }
    });
}

#[test]
fn errors_stand_with_the_partition_they_are_of() {
    let mut cluster = Cluster::start(7, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 2).await;
        let mut rotten = batch(&[b"rotten"]).to_vec();
        *rotten.last_mut().unwrap() ^= 1;
        let parts = vec![
            (0, batch(&[b"good"])),
            (1, rotten.into()),
            (7, batch(&[b"nowhere"])),
        ];
        let produced = client.call(PRODUCE, &produce_many("t", -1, parts)).await;
        let codes: Vec<_> = produced.responses[0]
            .partition_responses
            .iter()
            .map(|part| (part.index, part.error_code))
            .collect();
        assert_eq!(codes, [(0, 0), (1, 2), (7, 3)]);
        let unknown = client.call(FETCH, &fetch("nowhere", 0, 0, 1, 5_000)).await;
        assert_eq!(unknown.responses[0].partitions[0].error_code, 3);
        let outside = client.call(FETCH, &fetch("t", 0, 99, 1, 5_000)).await;
        assert_eq!(outside.responses[0].partitions[0].error_code, 1);
    });
}

//! Bytes that no client would send: the connection ends or Kafka's error comes, and the server
//! goes on.

use bytes::{BufMut, BytesMut};

use crate::client::{Client, encode};
use crate::cluster::{Cluster, config};
use crate::requests::*;

/// A frame with a header of these, and `body`.
fn frame(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(10 + body.len()).unwrap());
    frame.put_i16(api_key);
    frame.put_i16(version);
    frame.put_i32(7);
    frame.put_i16(0);
    frame.extend_from_slice(body);
    frame.to_vec()
}

/// Sends `bytes` on a connection of its own and returns the answer, if one comes.
fn answer_to(cluster: &mut Cluster, bytes: Vec<u8>) -> Option<bytes::Bytes> {
    cluster.client(move |client| async move {
        client.send_raw(&bytes).await;
        client.frame().await
    })
}

fn still_serves(cluster: &mut Cluster) {
    cluster.client(|client| async move {
        let known = client.call(METADATA, &metadata(&[], false)).await;
        assert_eq!(known.brokers.len(), 1);
    });
}

#[test]
fn what_no_kafka_would_answer_ends_the_connection() {
    let mut cluster = Cluster::start(1, config(2));
    let metadata = 3;
    for (bytes, what) in [
        (vec![0xff; 4], "a negative length"),
        (vec![0; 4], "a length of nothing"),
        (
            0x7fff_ffff_i32.to_be_bytes().to_vec(),
            "a length beyond all bounds",
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "another protocol"),
        (vec![0, 0, 0, 2, 0, 18], "half a header"),
        (frame(999, 0, &[]), "an unknown API"),
        (frame(metadata, 99, &[]), "an unknown version"),
        (frame(metadata, -1, &[]), "a negative version"),
        (
            frame(0, 2, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
            "a Produce before version 3",
        ),
        (frame(metadata, 0, &[]), "a truncated body"),
        (
            frame(metadata, 0, &[0x7f, 0xff, 0xff, 0xff]),
            "a count larger than the frame",
        ),
        (
            frame(metadata, 0, &[0xff, 0xff, 0xff, 0xff]),
            "null where there is none",
        ),
        (frame(18, 3, &[0, 2]), "a string longer than the frame"),
        (frame(11, 0, &[]), "a group API, which is not served"),
    ] {
        assert_eq!(answer_to(&mut cluster, bytes), None, "{what}");
        still_serves(&mut cluster);
    }
}

#[test]
fn every_truncation_of_a_produce_ends_the_connection_or_gets_an_error() {
    let mut cluster = Cluster::start(2, config(2));
    cluster.client(|client| async move { create_topic(&client, "t", 1).await });
    let whole = encode(PRODUCE, 1, &produce("t", 0, -1, batch(&[b"value"])));
    for cut in 4..whole.len() - 1 {
        let body = &whole[4..cut];
        let length = i32::try_from(body.len()).unwrap();
        let bytes = [&length.to_be_bytes()[..], body].concat();
        assert_eq!(answer_to(&mut cluster, bytes), None, "cut at {cut}");
    }
    cluster.client(|client| async move {
        let found = client.call(LIST_OFFSETS, &list_offsets("t", 0, -1)).await;
        assert_eq!(
            found.topics[0].partitions[0].offset, 0,
            "nothing of it was appended"
        );
    });
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut cluster = Cluster::start(3, config(1));
    for version in [-1, 5, 99] {
        let body: &[u8] = if version < 0 { &[] } else { &[0, 1, 1, 0] };
        let answer = answer_to(&mut cluster, frame(18, version, body)).expect("an answer");
        assert_eq!(
            answer[..],
            [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4],
            "{version}"
        );
    }
}

#[test]
fn a_connection_that_dies_in_the_middle_of_a_frame_costs_nothing() {
    let mut cluster = Cluster::start(4, config(2));
    for _ in 0..50 {
        cluster.client(|client| async move {
            let large = [&(64_i32 << 20).to_be_bytes()[..], &[0; 10_000]].concat();
            client.send_raw(&large).await;
            client.close();
        });
    }
    still_serves(&mut cluster);
}

#[test]
fn the_server_outlives_clients_that_come_and_go() {
    let mut cluster = Cluster::start(5, config(2));
    cluster.client(|client| async move { create_topic(&client, "t", 2).await });
    for index in 0..50 {
        cluster.simulation.spawn("visitor", async move {
            let client = Client::connect().await;
            if index % 2 == 0 {
                client
                    .send(FETCH, &fetch("t", index % 4 / 2, 0, 1, 60_000))
                    .await;
            } else {
                client
                    .send(PRODUCE, &produce("t", index % 4 / 2, -1, batch(&[b"x"])))
                    .await;
            }
            client.close();
        });
    }
    cluster
        .simulation
        .run_for(std::time::Duration::from_secs(10));
    still_serves(&mut cluster);
}

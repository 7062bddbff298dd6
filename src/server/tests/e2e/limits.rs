//! Bounds on connections.

use std::time::Duration;

use kafka_protocol::messages::FetchRequest;
use tailwater_shards::sleep;

use crate::client::Client;
use crate::cluster::{Cluster, config};
use crate::requests::*;

async fn is_served(client: &Client) -> bool {
    let request = crate::client::encode(METADATA, 1, &metadata(&[], false));
    client.try_send_raw(&request).await && client.frame().await.is_some()
}

#[test]
fn a_connection_too_many_is_closed_at_once() {
    let mut config = config(2);
    config.limits.connections_max = 3;
    let mut cluster = Cluster::start(1, config);
    cluster.client(|first| async move {
        let (second, third) = (Client::connect().await, Client::connect().await);
        assert!(is_served(&first).await && is_served(&second).await && is_served(&third).await);
        let fourth = Client::connect().await;
        assert!(!is_served(&fourth).await);
        third.close();
        sleep(Duration::from_secs(1)).await;
        assert!(is_served(&Client::connect().await).await);
    });
}

#[test]
fn an_address_has_no_more_than_its_share() {
    let mut config = config(2);
    config.limits.connections_per_ip_max = 2;
    let mut cluster = Cluster::start(2, config);
    cluster.client(|first| async move {
        let second = Client::connect().await;
        assert!(is_served(&first).await && is_served(&second).await);
        assert!(!is_served(&Client::connect().await).await);
        second.close();
        sleep(Duration::from_secs(1)).await;
        assert!(is_served(&Client::connect().await).await);
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_parked_fetch_is_not_idle() {
    let mut config = config(2);
    config.limits.idle_max = Some(Duration::from_secs(60));
    let mut cluster = Cluster::start(3, config);
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        let idle = Client::connect().await;
        assert!(is_served(&idle).await);
        let id = client.send(FETCH, &fetch("t", 0, 0, 1, 300_000)).await;
        sleep(Duration::from_secs(100)).await;
        assert!(idle.frame().await.is_none(), "closed by the server");
        let producer = Client::connect().await;
        producer
            .call(PRODUCE, &produce("t", 0, -1, batch(&[b"x"])))
            .await;
        let got = client.receive::<FetchRequest>(FETCH, id).await;
        assert_eq!(fetched(&got).len(), 1);
    });
}

#[test]
fn a_request_larger_than_allowed_closes_its_connection() {
    let mut config = config(2);
    config.limits.request_bytes_max = 10_000;
    let mut cluster = Cluster::start(4, config);
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        let small = client
            .call(PRODUCE, &produce("t", 0, -1, batch(&[&[1; 9_000]])))
            .await;
        assert_eq!(small.responses[0].partition_responses[0].error_code, 0);
        let large = crate::client::encode(PRODUCE, 9, &produce("t", 0, -1, batch(&[&[1; 11_000]])));
        client.try_send_raw(&large).await;
        assert!(client.frame().await.is_none());
    });
}

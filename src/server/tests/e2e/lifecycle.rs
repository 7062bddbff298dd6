//! Starts, stops and what survives them.

use std::time::Duration;

use kafka_protocol::messages::ProduceRequest;
use tailwater_shards::sleep;

use crate::cluster::{Cell, Cluster, config};
use crate::requests::*;

/// Produces `count` records one by one and returns the offsets.
fn produce_some(cluster: &mut Cluster, count: u8) -> Vec<i64> {
    cluster.client(move |client| async move {
        let mut offsets = Vec::new();
        for index in 0..count {
            let request = produce("t", i32::from(index % 2), -1, batch(&[&[index]]));
            let produced = client.call(PRODUCE, &request).await;
            let part = &produced.responses[0].partition_responses[0];
            assert_eq!(part.error_code, 0);
            offsets.push(part.base_offset);
        }
        offsets
    })
}

fn count_of(cluster: &mut Cluster, partition: i32) -> usize {
    cluster.client(move |client| async move {
        let got = client
            .call(FETCH, &fetch("t", partition, 0, 1, 1_000))
            .await;
        fetched(&got).len()
    })
}

#[test]
fn records_survive_an_orderly_stop_a_kill_and_other_shard_counts() {
    let mut cluster = Cluster::start(1, config(2));
    cluster.client(|client| async move { create_topic(&client, "t", 2).await });
    assert_eq!(produce_some(&mut cluster, 10).last(), Some(&4));
    let (simulation, _) = cluster.stop();
    let mut cluster = Cluster::start_on(simulation, config(4));
    assert_eq!(count_of(&mut cluster, 0), 5);
    assert_eq!(produce_some(&mut cluster, 10).last(), Some(&9));
    let simulation = cluster.kill();
    let mut cluster = Cluster::start_on(simulation, config(1));
    assert_eq!(
        (count_of(&mut cluster, 0), count_of(&mut cluster, 1)),
        (10, 10)
    );
    assert_eq!(produce_some(&mut cluster, 2), [10, 10]);
}

#[test]
fn a_stop_answers_what_is_in_flight_and_takes_less_than_a_second() {
    for seed in 0..5 {
        let mut cluster = Cluster::start(seed, config(2));
        cluster.client(|client| async move { create_topic(&client, "t", 2).await });
        let answered = Cell::<u32>::default();
        let counted = answered.clone();
        let shutdown = cluster.shutdown();
        let task = cluster.simulation.spawn("producer", async move {
            let client = crate::client::Client::connect().await;
            let mut ids = Vec::new();
            for _ in 0..20 {
                ids.push(
                    client
                        .send(PRODUCE, &produce("t", 0, -1, batch(&[b"x"])))
                        .await,
                );
            }
            let first = client.receive::<ProduceRequest>(PRODUCE, ids[0]).await;
            assert_eq!(first.responses[0].partition_responses[0].error_code, 0);
            shutdown.trigger();
            // Whatever was begun is answered; then the connection ends.
            while client.frame().await.is_some() {
                *counted.borrow_mut() += 1;
            }
        });
        cluster.simulation.run_until_done(&task);
        let answered = *answered.borrow();
        let (simulation, took) = cluster.stop();
        assert!(took < Duration::from_secs(1), "{took:?}");
        let mut cluster = Cluster::start_on(simulation, config(2));
        assert!(
            count_of(&mut cluster, 0) > answered as usize,
            "what was answered is there"
        );
    }
}

#[test]
fn a_parked_fetch_does_not_hold_up_a_stop() {
    let mut cluster = Cluster::start(3, config(2));
    cluster.client(|client| async move { create_topic(&client, "t", 2).await });
    cluster.simulation.spawn("consumer", async move {
        let client = crate::client::Client::connect().await;
        client.send(FETCH, &fetch("t", 0, 0, 1, 60_000)).await;
        assert!(client.frame().await.is_none());
    });
    cluster.simulation.run_for(Duration::from_secs(5));
    let (_, took) = cluster.stop();
    assert!(took < Duration::from_millis(500), "{took:?}");
}

#[test]
fn a_connection_that_takes_nothing_does_not_hold_up_a_stop() {
    let mut cluster = Cluster::start(4, config(2));
    cluster.client(|client| async move {
        create_topic(&client, "t", 1).await;
        for _ in 0..8 {
            let large = vec![7; 900_000];
            let produced = client
                .call(PRODUCE, &produce("t", 0, -1, batch(&[&large])))
                .await;
            assert_eq!(produced.responses[0].partition_responses[0].error_code, 0);
        }
    });
    cluster.simulation.spawn("stuck", async move {
        let client = crate::client::Client::connect().await;
        let mut request = fetch("t", 0, 0, 1, 1_000);
        request.topics[0].partitions[0].partition_max_bytes = 32 << 20;
        client.send(FETCH, &request).await;
        sleep(Duration::from_secs(60)).await;
    });
    cluster.simulation.run_for(Duration::from_secs(5));
    let (_, took) = cluster.stop();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_node_id_that_changed_is_refused() {
    let (simulation, _) = Cluster::start(5, config(2)).stop();
    let mut other = config(2);
    other.node_id = 7;
    let mut cluster = Cluster::boot(simulation, other);
    let refused = cluster.wait_for_start().unwrap_err().to_string();
    assert!(
        refused.contains('7') || refused.contains("node"),
        "{refused}"
    );
    cluster.simulation.run_until_ended(cluster.process);
}

#[test]
fn the_cluster_id_stays() {
    let read = |cluster: &mut Cluster| {
        cluster.client(|client| async move {
            let known = client.call(METADATA, &metadata(&[], false)).await;
            assert_eq!(known.brokers.len(), 1);
            assert_eq!((known.brokers[0].node_id.0, known.controller_id.0), (1, 1));
            assert_eq!(known.brokers[0].port, 9092);
            known.cluster_id.unwrap().to_string()
        })
    };
    let mut cluster = Cluster::start(6, config(2));
    let first = read(&mut cluster);
    assert_eq!(first.len(), 22);
    let (simulation, _) = cluster.stop();
    assert_eq!(read(&mut Cluster::start_on(simulation, config(2))), first);
}

/// The trace of a server that is started, used from two sides, killed and started again.
fn trace_of(seed: u64) -> u64 {
    let mut cluster = Cluster::start(seed, config(3));
    cluster.client(|client| async move { create_topic(&client, "t", 2).await });
    produce_some(&mut cluster, 20);
    cluster.simulation.spawn("consumer", async move {
        // Until the server is killed, which may be at once.
        let Some(client) = crate::client::Client::try_connect().await else {
            return;
        };
        for offset in 0.. {
            let request = crate::client::encode(FETCH, 1, &fetch("t", 0, offset, 1, 1_000));
            if !client.try_send_raw(&request).await || client.frame().await.is_none() {
                break;
            }
        }
    });
    produce_some(&mut cluster, 20);
    let mut cluster = Cluster::start_on(cluster.kill(), config(2));
    produce_some(&mut cluster, 20);
    cluster.stop().0.trace_hash()
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 2, 3] {
        assert_eq!(trace_of(seed), trace_of(seed));
    }
    assert_ne!(trace_of(1), trace_of(2));
}

#[test]
fn what_was_acknowledged_survives_a_power_cut() {
    for seed in 0..10 {
        let mut cluster = Cluster::start(seed, config(3));
        cluster.client(|client| async move { create_topic(&client, "t", 2).await });
        produce_some(&mut cluster, 10);
        let mut simulation = cluster.simulation;
        simulation.power_cut();
        let mut cluster = Cluster::start_on(simulation, config(2));
        let counts = (count_of(&mut cluster, 0), count_of(&mut cluster, 1));
        assert_eq!(counts, (5, 5), "seed {seed}");
    }
}

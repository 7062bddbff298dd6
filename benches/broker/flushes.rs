//! Syncs and copies. One commit serves every partition of a shard, and costs at most one sync
//! whatever their number; what a fetch is given is the commit's own memory.
//!
//! First the storage by itself on the real engine, whose operations are counted; then the built
//! broker, with the flushes that the disk's device counts (for everybody on the machine).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tailwater_record::BatchHeader;
use tailwater_shards::{self as shards, IoClass, RunConfig};
use tailwater_storage::{Log, LogConfig, Storage, StorageConfig, Sync, TopicPartition, recover};
use uuid::Uuid;

use crate::connection::{Connection, Wait};
use crate::stats::{Table, Times, number};
use crate::target::{Target, one_shard};
use crate::{Plan, answers, frames, machine};

const PARTITIONS: [i32; 4] = [1, 10, 100, 1000];
const ROUNDS: usize = 300;

pub fn measure(plan: &Plan) {
    in_storage(plan);
    in_the_broker(plan);
}

fn in_storage(plan: &Plan) {
    let scratch = tempfile::tempdir_in(&plan.dir).expect("a scratch directory");
    let (dir, rounds) = (scratch.path().join("data"), plan.count(ROUNDS));
    let mut config = RunConfig::new(vec![plan.broker_cpu]);
    config.probe_dirs = vec![scratch.path().to_owned()];
    println!(
        "\none shard's storage, {rounds} rounds of one 1 KiB batch to every partition, durable"
    );
    let main = move |_| storage_rounds(dir.clone(), rounds);
    shards::run(config, main)
        .expect("a shard starts")
        .join()
        .expect("the shard ends");
}

async fn storage_rounds(dir: PathBuf, rounds: usize) {
    let storage = Box::pin(open_storage(&dir)).await;
    let table = Table::new(&[
        "partitions",
        "batches",
        "commits",
        "syncs",
        "syncs/commit",
        "bytes produced",
        "bytes written",
    ]);
    let mut fetched = String::new();
    for partitions in PARTITIONS {
        let logs: Vec<Log> = (0..partitions)
            .map(|index| open_log(&storage, partitions, index))
            .collect();
        let batch = Bytes::from(frames::batch(1, 1024));
        let header = BatchHeader::parse(&batch).expect("our own batch");
        let before = shards::io_stats().class(IoClass::Commit);
        for _ in 0..rounds {
            storage.room().await;
            let tickets = logs.iter().map(|log| {
                log.append(batch.clone(), &header, Sync::Durable)
                    .expect("it appends")
                    .ticket
            });
            let last = tickets.max().expect("a partition");
            storage.durable(last).await.expect("it becomes durable");
        }
        let after = shards::io_stats().class(IoClass::Commit);
        let (commits, syncs) = (after.writes - before.writes, after.syncs - before.syncs);
        let batches = rounds * logs.len();
        table.row(&[
            partitions.to_string(),
            number(batches as f64),
            commits.to_string(),
            syncs.to_string(),
            format!("{:.3}", syncs as f64 / commits as f64),
            number((batches * batch.len()) as f64),
            number((after.bytes_written - before.bytes_written) as f64),
        ]);
        fetched = slices_twice(&logs[0]);
    }
    println!("\n{fetched}");
    storage.shutdown().await;
}

/// Reads the same records twice: slices of the same memory, or a copy was made.
fn slices_twice(log: &Log) -> String {
    let read = || {
        let end = log.durable_end().0;
        let read = log.try_read(end - 10, end, 1 << 20, true);
        let slices = read.expect("from memory").expect("it is there").slices;
        slices
            .iter()
            .map(|slice| (slice.as_ptr() as usize, slice.len()))
            .collect::<Vec<_>>()
    };
    let (first, second) = (read(), read());
    let verdict = if first == second {
        "the same memory: no copy"
    } else {
        "NOT the same memory"
    };
    format!(
        "two reads of the last 10 batches from memory give {} slices of {verdict}",
        first.len()
    )
}

async fn open_storage(dir: &Path) -> Storage {
    let config = StorageConfig::new(dir);
    let recovered = Box::pin(recover(&config, 1, 1, |_| Ok(BTreeMap::new()))).await;
    let seed = recovered
        .expect("an empty directory")
        .seeds
        .pop()
        .expect("one shard");
    Storage::start(seed, &config).await.expect("it starts")
}

fn open_log(storage: &Storage, topic: i32, partition: i32) -> Log {
    let topic = Uuid::from_u128(u128::try_from(topic).expect("a count"));
    let log = storage.open_log(TopicPartition { topic, partition }, LogConfig::default(), 0);
    log.expect("it opens")
}

fn in_the_broker(plan: &Plan) {
    let target = Target::start(plan, &one_shard(plan, "park"));
    let device = machine::block_device(&plan.dir);
    let flushes = || device.as_deref().and_then(machine::device_flushes);
    let rounds = plan.count(ROUNDS * 4);
    println!(
        "\nthe built broker: {rounds} produce requests, one 1 KiB batch to every partition, acks=all"
    );
    let table = Table::new(&[
        "partitions in a request",
        "device flushes/request",
        "us p50",
        "us/partition",
    ]);
    // What the device does for everybody else in as much time.
    let idle = (flushes(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let others = rate(idle.0, flushes(), idle.1.elapsed());
    for partitions in PARTITIONS {
        let topic = target.topic(&format!("flushes-{partitions}"), partitions, &[]);
        let indexes: Vec<i32> = (0..partitions).collect();
        let mut frame = frames::produce(&topic, &indexes, -1, &frames::batch(1, 1024));
        let before = (flushes(), Instant::now());
        let times = machine::on_cpu(plan.client_cpu, || {
            let mut connection = Connection::open(target.addr, Wait::Spin).expect("it listens");
            let mut times = Times::default();
            for _ in 0..rounds {
                let began = Instant::now();
                connection.send(&mut frame).expect("it listens");
                answers::produced(connection.receive().expect("it answers"));
                times.push(began.elapsed());
            }
            times
        });
        let took = before.1.elapsed();
        let each = rate(before.0, flushes(), took) * took.as_secs_f64() / rounds as f64;
        let p50 = times.us(0.5);
        table.row(&[
            partitions.to_string(),
            number(each),
            number(p50),
            number(p50 / f64::from(partitions)),
        ]);
    }
    println!(
        "\n(the device flushed {} times a second before, for others)",
        number(others)
    );
}

fn rate(before: Option<u64>, after: Option<u64>, took: Duration) -> f64 {
    let (Some(before), Some(after)) = (before, after) else {
        return f64::NAN;
    };
    (after - before) as f64 / took.as_secs_f64()
}

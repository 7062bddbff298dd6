//! What the engine costs: a poll, durable writes, and a round trip over the loopback.
//!
//! `cargo bench -p tailwater-shards --bench engine [-- DIRECTORY]`. Prints microseconds; the
//! disk and the machine speak through every number, so compare within one run.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement, run by hand"
)]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::task::Poll as Polled;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tailwater_shards::{
    self as shards, DmaBuf, File, IoClass, Listener, OpenOptions, Pack, Poll, RunConfig, Shutdown,
    Stage, StageTimes, record_latency,
};

const WRITES: u64 = 4000;
const POLLS_A_SAMPLE: u64 = 100_000;
const SAMPLES: u64 = 50;
const RECORDED_SAMPLES: u64 = 1000;
const ROUND_TRIPS: usize = 20_000;
const WARM_UP: usize = 1000;
const MESSAGE_BYTES: usize = 64;

fn main() {
    // `cargo bench` adds --bench.
    let dir = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let dir = dir.map_or_else(std::env::temp_dir, PathBuf::from);
    let cpus = shards::usable_cpus().unwrap();
    println!(
        "{:<44} {:>9} {:>9} {:>9} {:>9}",
        "us", "p50", "p99", "p99.9", "max"
    );
    report(
        "1000 polls, each asked for by the one before",
        polls(cpus[0]),
    );
    report(
        "1000 requests recorded, of ten stages each",
        recordings(cpus[0]),
    );
    for (name, kept) in [("its buffer kept", false), ("copied to a pack", true)] {
        for len in [100, 4000, 16 << 10] {
            let name = format!("1000 x {len} bytes, {name}");
            report(&name, kept_commits(cpus[0], len, kept));
        }
    }
    for &cpu in &cpus {
        for len in [4096, 65536] {
            let name = format!("write_durable {} KiB, parked, cpu {cpu}", len >> 10);
            report(&name, durable_writes(&dir, cpu, len));
        }
    }
    let adaptive = Poll::Adaptive {
        spin: Duration::from_micros(50),
    };
    for (name, poll) in [
        ("parked", Poll::Park),
        ("adaptive 50 us", adaptive),
        ("spinning", Poll::Spin),
    ] {
        let name = format!("echo {MESSAGE_BYTES} B, {name}, blocking client");
        report(&name, echo(cpus[0], poll));
    }
}

fn report(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times[index.min(times.len() - 1)].as_secs_f64() * 1e6
    };
    println!(
        "{name:<44} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

/// How long a thousand polls of a task take that has nothing to do but to be polled again: the
/// executor, the task's waker, and the watch for polls that hold the loop.
fn polls(cpu: usize) -> Vec<Duration> {
    let (sender, receiver) = channel();
    let main = move |_| {
        let sender = sender.clone();
        async move {
            for _ in 0..SAMPLES {
                let began = Instant::now();
                let mut left = POLLS_A_SAMPLE;
                let polled = poll_fn(move |cx| {
                    if left == 0 {
                        return Polled::Ready(());
                    }
                    left -= 1;
                    cx.waker().wake_by_ref();
                    Polled::Pending
                });
                shards::spawn("polled", polled).await.unwrap();
                let thousands = u32::try_from(POLLS_A_SAMPLE / 1000).unwrap();
                sender.send(began.elapsed() / thousands).unwrap();
            }
        }
    };
    let running = shards::run(RunConfig::new(vec![cpu]), main).unwrap();
    running.join().unwrap();
    receiver.into_iter().collect()
}

/// How long it takes to add a thousand requests to the histograms, of lengths that a produce has.
fn recordings(cpu: usize) -> Vec<Duration> {
    let (sender, receiver) = channel();
    let main = move |_| {
        let sender = sender.clone();
        async move {
            let mut length: u64 = 1;
            for _ in 0..RECORDED_SAMPLES {
                let began = Instant::now();
                for _ in 0..1000 {
                    let mut times = StageTimes::default();
                    for stage in Stage::ALL {
                        // Some hundred buckets, in no order.
                        length = length
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        times.add(*stage, (length >> 44) & 0x3_ffff);
                    }
                    record_latency(0, &times);
                }
                sender.send(began.elapsed()).unwrap();
            }
        }
    };
    let running = shards::run(RunConfig::new(vec![cpu]), main).unwrap();
    running.join().unwrap();
    receiver.into_iter().collect()
}

/// How long a thousand commits take of so many bytes of records, without their writes: an aligned
/// buffer is made, and what readers may ask for is kept, 16 MiB of it, the oldest let go.
fn kept_commits(cpu: usize, len: usize, packed: bool) -> Vec<Duration> {
    const KEPT_BYTES: usize = 16 << 20;
    let (sender, receiver) = channel();
    let main = move |_| {
        let sender = sender.clone();
        async move {
            let block = (len + 200).next_multiple_of(4096);
            let mut pack = Pack::new(64 << 10);
            let mut kept = VecDeque::new();
            let count = KEPT_BYTES / if packed { len } else { block };
            for sample in 0..SAMPLES + count as u64 / 1000 {
                let began = Instant::now();
                for _ in 0..1000 {
                    let mut buf = DmaBuf::zeroed(block);
                    buf[..len].fill(7);
                    let bytes = buf.freeze().bytes();
                    kept.push_back(match packed {
                        true => pack.put(&bytes[..len]).bytes,
                        false => bytes,
                    });
                    if kept.len() > count {
                        kept.pop_front();
                    }
                }
                if sample >= count as u64 / 1000 {
                    sender.send(began.elapsed()).unwrap();
                }
            }
        }
    };
    let running = shards::run(RunConfig::new(vec![cpu]), main).unwrap();
    running.join().unwrap();
    receiver.into_iter().collect()
}

/// One durable write after the other, over space that was written before.
fn durable_writes(dir: &Path, cpu: usize, len: usize) -> Vec<Duration> {
    let path = dir.join(format!("tailwater-bench-{}", std::process::id()));
    let (sender, receiver) = channel();
    let mut config = RunConfig::new(vec![cpu]);
    config.probe_dirs = vec![dir.to_owned()];
    let file_path = path.clone();
    let main = move |_| {
        let (path, sender) = (file_path.clone(), sender.clone());
        async move {
            let create = OpenOptions {
                create_new: true,
                write: true,
            };
            let file = File::open(&path, create).await.unwrap();
            let zeros = DmaBuf::zeroed(1 << 20).freeze();
            let file_bytes = 64 << 20;
            for pos in (0..file_bytes).step_by(1 << 20) {
                file.write(IoClass::Maintenance, pos, &zeros).await.unwrap();
            }
            file.sync(IoClass::Maintenance).await.unwrap();
            let mut buf = DmaBuf::zeroed(len);
            buf.fill(7);
            let buf = buf.freeze();
            for index in 0..WRITES {
                let pos = index * len as u64 % file_bytes;
                let began = Instant::now();
                file.write_durable(IoClass::Commit, pos, &buf)
                    .await
                    .unwrap();
                sender.send(began.elapsed()).unwrap();
            }
        }
    };
    shards::run(config, main).unwrap().join().unwrap();
    std::fs::remove_file(path).unwrap();
    receiver.into_iter().collect()
}

/// A shard that echoes, and a client that blocks on a thread without a processor of its own.
fn echo(cpu: usize, poll: Poll) -> Vec<Duration> {
    let stop = Shutdown::new();
    let (sender, receiver) = channel();
    let mut config = RunConfig::new(vec![cpu]);
    config.poll = poll;
    let stops = stop.clone();
    let main = move |_| {
        let (stop, sender) = (stops.clone(), sender.clone());
        async move {
            let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let stream = listener.accept().await.unwrap().into_stream().unwrap();
            shards::spawn("echo", async move {
                let mut buf = [0; MESSAGE_BYTES];
                while let Ok(count @ 1..) = stream.read(&mut buf).await {
                    let answer = [Bytes::copy_from_slice(&buf[..count])];
                    stream.write_vectored_all(&answer).await.unwrap();
                }
            })
            .detach();
            stop.triggered().await;
        }
    };
    let running = shards::run(config, main).unwrap();
    let addr = receiver.recv().unwrap();
    let client = thread::spawn(move || round_trips(addr));
    let times = client.join().unwrap();
    stop.trigger();
    running.join().unwrap();
    times
}

fn round_trips(addr: SocketAddr) -> Vec<Duration> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buf = [7; MESSAGE_BYTES];
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for round in 0..WARM_UP + ROUND_TRIPS {
        let began = Instant::now();
        stream.write_all(&buf).unwrap();
        stream.read_exact(&mut buf).unwrap();
        if round >= WARM_UP {
            times.push(began.elapsed());
        }
    }
    times
}

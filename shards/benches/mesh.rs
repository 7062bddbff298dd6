//! What it costs to ask another shard: round trips between two pinned shards, by poll mode.
//!
//! `cargo bench -p tailwater-shards --bench mesh`. Prints nanoseconds for one call at a time, for
//! many at once what each takes of the whole, and how late the asker's timers are meanwhile. Needs
//! two processors with nothing else to do.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a measurement, run by hand"
)]

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tailwater_shards::{self as shards, Answer, Mesh, MeshStats, Poll, RunConfig, ShardId, mesh};

const CALLS: usize = 200_000;
const WARM_UP: usize = 10_000;
const AT_ONCE: usize = 64;
const ROUNDS: usize = 5_000;
const TIMERS: usize = 2_000;

/// What a produce or a fetch hands over is about this large.
type Request = [u64; 8];

fn main() {
    let cpus = shards::usable_cpus().unwrap();
    assert!(
        cpus.len() >= 2,
        "two processors are needed, not {}",
        cpus.len()
    );
    println!(
        "{:<36} {:>7} {:>7} {:>9} {:>10} {:>10} {:>9} {:>9}",
        "ns", "p50", "p99", "p99.9", "64 at once", "wakes/call", "late p50", "late p99"
    );
    let adaptive = Poll::Adaptive {
        spin: Duration::from_micros(50),
    };
    for (mode, poll) in [
        ("spinning", Poll::Spin),
        ("adaptive 50 us", adaptive),
        ("parked", Poll::Park),
    ] {
        for (answer, later) in [("now", false), ("from a task", true)] {
            measure(
                &format!("{mode}, answered {answer}"),
                &cpus[..2],
                poll,
                later,
            );
        }
    }
}

struct Measured {
    times: Vec<u64>,
    together: u64,
    stats: MeshStats,
    late: Vec<u64>,
}

fn measure(name: &str, cpus: &[usize], poll: Poll, later: bool) {
    let ends = mesh::<Request, u64>(2, 1024).into_iter();
    let ends: Arc<Vec<_>> = Arc::new(ends.map(|end| Mutex::new(Some(end))).collect());
    let (sender, receiver) = channel();
    let mut config = RunConfig::new(cpus.to_vec());
    config.poll = poll;
    let main = move |id: ShardId| {
        let (ends, sender) = (Arc::clone(&ends), sender.clone());
        async move {
            let end = ends[usize::from(id.0)].lock().unwrap().take();
            let mesh = end.unwrap().attach();
            if id == ShardId(0) {
                ask(mesh, sender).await;
            } else {
                serve(mesh, later).await;
            }
        }
    };
    shards::run(config, main).unwrap().join().unwrap();
    report(name, receiver.recv().unwrap());
}

async fn ask(mesh: Mesh<Request, u64>, sender: Sender<Measured>) {
    let to = ShardId(1);
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..WARM_UP + CALLS {
        let began = shards::now();
        mesh.call(to, [1; 8]).await.unwrap();
        if call >= WARM_UP {
            times.push((shards::now() - began).as_nanos() as u64);
        }
    }
    let stats = mesh.stats();
    let began = shards::now();
    for _ in 0..ROUNDS {
        join_all((0..AT_ONCE).map(|_| mesh.call(to, [1; 8]))).await;
    }
    let together = (shards::now() - began).as_nanos() as u64 / (ROUNDS * AT_ONCE) as u64;
    let late = timers_beside(&mesh, to).await;
    sender
        .send(Measured {
            times,
            together,
            stats,
            late,
        })
        .unwrap();
    mesh.call(to, [0; 8]).await.unwrap();
}

/// How late timers are while one call follows the other: what the engine's own work waits for.
async fn timers_beside(mesh: &Mesh<Request, u64>, to: ShardId) -> Vec<u64> {
    let calling = mesh.clone();
    let calls = shards::spawn("calls", async move {
        loop {
            calling.call(to, [1; 8]).await.unwrap();
        }
    });
    let mut late = Vec::with_capacity(TIMERS);
    for _ in 0..TIMERS {
        let due = shards::now() + Duration::from_micros(200);
        shards::sleep_until(due).await;
        late.push((shards::now() - due).as_nanos() as u64);
    }
    drop(calls);
    late
}

/// Until a request of zeros.
async fn serve(mesh: Mesh<Request, u64>, later: bool) {
    let end = shards::Shutdown::new();
    let ended = end.clone();
    mesh.serve_answers(move |_, q| {
        let sum: u64 = q.iter().sum();
        if sum == 0 {
            end.trigger();
        }
        if later && sum > 0 {
            let yielding = async move {
                shards::yield_now().await;
                sum
            };
            return Answer::Later(yielding.boxed_local());
        }
        Answer::Now(sum)
    });
    ended.triggered().await;
}

fn report(name: &str, mut measured: Measured) {
    let (times, late) = (&mut measured.times, &mut measured.late);
    println!(
        "{name:<36} {:>7} {:>7} {:>9} {:>10} {:>10.3} {:>9} {:>9}",
        at(times, 0.5),
        at(times, 0.99),
        at(times, 0.999),
        measured.together,
        measured.stats.wakes as f64 / measured.stats.messages_sent as f64,
        at(late, 0.5),
        at(late, 0.99),
    );
}

fn at(times: &mut [u64], part: f64) -> u64 {
    times.sort_unstable();
    times[((times.len() as f64 * part) as usize).min(times.len() - 1)]
}

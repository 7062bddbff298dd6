//! The same seed gives the same bytes.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::{BLOCK, filled};
use crate::file::{File, OpenOptions};
use crate::io_class::IoClass;
use crate::sim::Simulation;
use crate::{
    Listener, ShardId, Shutdown, Stream, dir, random_u64, sleep, spawn, timeout, wall_clock_ms,
    yield_now,
};

/// A shard that writes a file of its own in random order and answers what it is sent.
async fn main(shard: ShardId, generation: u8, stop: Shutdown) {
    let path = format!("/shard-{}-{generation}", shard.0);
    let options = OpenOptions {
        create_new: true,
        write: true,
    };
    let file = File::open(Path::new(&path), options)
        .await
        .expect("the name is free");
    let writes: Vec<_> = (0..8)
        .map(|block| {
            let file = file.clone();
            spawn("write", async move {
                sleep(Duration::from_micros(random_u64() % 300)).await;
                let byte = u8::try_from(random_u64() % 256).expect("a byte");
                let at = block * BLOCK;
                file.write(IoClass::WriteBehind, at, &filled(byte, 1))
                    .await
                    .expect("written");
                if byte.is_multiple_of(2) {
                    file.sync(IoClass::WriteBehind).await.expect("synced");
                }
            })
        })
        .collect();
    let listener = Listener::bind(([127, 0, 0, 1], 9000 + shard.0).into()).expect("free");
    let serve = async move {
        while let Ok(accepted) = listener.accept().await {
            let stream = accepted.into_stream().expect("taken");
            let mut buf = [0; 500];
            while let Ok(n @ 1..) = stream.read(&mut buf).await {
                let answer = format!("{n} bytes at {}", wall_clock_ms());
                if stream
                    .write_vectored_all(&[Bytes::from(answer)])
                    .await
                    .is_err()
                {
                    break;
                }
            }
        }
    };
    spawn("serve", serve).detach();
    for write in writes {
        write.await.expect("no panic");
        yield_now().await;
    }
    if generation.is_multiple_of(2) {
        dir::sync(Path::new("/")).await.expect("synced");
    }
    stop.triggered().await;
}

async fn client(shard: u16) -> Vec<u8> {
    let mut heard = Vec::new();
    for _ in 0..20 {
        let talk = async {
            let stream = Stream::connect(([127, 0, 0, 1], 9000 + shard).into()).await?;
            let question = vec![1; usize::try_from(random_u64() % 2000 + 1).expect("small")];
            stream.write_vectored_all(&[Bytes::from(question)]).await?;
            let mut buf = [0; 100];
            let n = stream.read(&mut buf).await?;
            std::io::Result::Ok(buf[..n].to_vec())
        };
        match timeout(Duration::from_millis(20), talk).await {
            Ok(Ok(answer)) => heard.extend(answer),
            Ok(Err(error)) => heard.extend(format!("{:?}", error.kind()).bytes()),
            Err(_) => heard.extend(b"late"),
        }
    }
    heard
}

/// All that a run shows to the outside.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Seen {
    trace: u64,
    steps: u64,
    ended_at: u64,
    files: Vec<Option<Vec<u8>>>,
    heard: Vec<Vec<u8>>,
}

fn run(seed: u64) -> Seen {
    let mut sim = Simulation::new(seed);
    let mut heard = Vec::new();
    for generation in 0..4_u8 {
        let stop = Shutdown::new();
        let for_main = stop.clone();
        let process = sim.boot(3, move |shard| main(shard, generation, for_main.clone()));
        let clients: Vec<_> = (0..3)
            .map(|shard| sim.spawn("client", client(shard)))
            .collect();
        sim.run_for(Duration::from_micros(400));
        match generation {
            0 => sim.kill(process),
            1 => sim.power_cut(),
            2 => sim.jump_wall_clock(-1_000_000),
            _ => stop.trigger(),
        }
        heard.extend(clients.iter().map(|client| sim.run_until_done(client)));
        sim.kill(process);
    }
    let names = (0..4)
        .flat_map(|generation| (0..3).map(move |shard| format!("/shard-{shard}-{generation}")));
    let files = names
        .map(|name| sim.read_file(Path::new(&name)).ok())
        .collect();
    let ended_at = sim.now().as_nanos();
    Seen {
        trace: sim.trace_hash(),
        steps: sim.trace_steps(),
        ended_at,
        files,
        heard,
    }
}

#[test]
fn the_same_seed_gives_the_same_steps_files_and_answers() {
    for seed in 0..10 {
        let first = run(seed);
        assert!(first.steps > 500);
        assert!(first == run(seed), "seed {seed} differs from itself");
    }
}

#[test]
fn different_seeds_differ() {
    let traces: BTreeSet<u64> = (0..20).map(|seed| run(seed).trace).collect();
    assert_eq!(traces.len(), 20);
}

/// Set for the copies of this test binary that only say their hash.
const SAY_HASH: &str = "TAILWATER_SIM_SAY_HASH";

#[test]
#[allow(clippy::print_stdout, reason = "how a child process answers")]
fn two_processes_give_the_same_hash() {
    if std::env::var_os(SAY_HASH).is_some() {
        println!("\nhash {:016x}", run(42).trace);
        return;
    }
    // Each has its own address space layout: nothing of it may show.
    let hash_of_a_process = || {
        let this = std::env::current_exe().expect("the test binary");
        let test = "sim::tests::determinism::two_processes_give_the_same_hash";
        let output = std::process::Command::new(this)
            .args([test, "--exact", "--nocapture"])
            .env(SAY_HASH, "1")
            .output()
            .expect("it runs");
        let said = String::from_utf8(output.stdout).expect("text");
        let hash = said.lines().find(|line| line.starts_with("hash "));
        hash.expect("it says its hash").to_owned()
    };
    let first = hash_of_a_process();
    assert_eq!(first, hash_of_a_process());
    assert_eq!(first, format!("hash {:016x}", run(42).trace));
}

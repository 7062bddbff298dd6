//! How long a message takes from one shard to another, both spinning, each on a core of its own: half
//! of a call's round trip through the broker's own mesh, without anything of the broker's.

use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use tailwater_shards::{self as shards, Answer, Mesh, Poll, RunConfig, ShardId, mesh};

use crate::clock;
use crate::times::Times;

/// What a produce or a fetch hands over is about this large.
type Request = [u64; 8];

const WARM_UP: usize = 10_000;

/// Measures in a process of its own: shards leave traces in the one they ran in.
pub(crate) fn in_a_process(cpus: [usize; 2], lasting_ns: u64) -> anyhow::Result<Times> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("hop");
    command.args(cpus.map(|cpu| cpu.to_string()));
    command.arg(lasting_ns.to_string());
    let output = command.stderr(Stdio::piped()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", complaint.trim());
    Times::decode(said.trim())
}

/// Between shards on these cores, for so long.
pub(crate) fn measure(cpus: [usize; 2], lasting_ns: u64) -> anyhow::Result<Times> {
    ensure!(cpus[0] != cpus[1], "two shards that spin need two cores");
    let ends = mesh::<Request, u64>(2, 1024).into_iter();
    let ends: Arc<Vec<_>> = Arc::new(ends.map(|end| Mutex::new(Some(end))).collect());
    let (sender, receiver) = channel();
    let mut config = RunConfig::new(cpus.to_vec());
    config.poll = Poll::Spin;
    let main = move |id: ShardId| {
        let (ends, sender) = (Arc::clone(&ends), sender.clone());
        async move {
            let end = &ends[usize::from(id.0)];
            let end = end.lock().unwrap_or_else(PoisonError::into_inner).take();
            let mesh = end.expect("each shard begins once").attach();
            if id == ShardId(0) {
                ask(&mesh, lasting_ns, &sender).await;
            } else {
                serve(mesh).await;
            }
        }
    };
    shards::run(config, main)?.join()?;
    receiver.recv().context("the shards ended without a word")
}

async fn ask(mesh: &Mesh<Request, u64>, lasting_ns: u64, sender: &Sender<Times>) {
    let to = ShardId(1);
    let (mut times, mut calls, mut end_ns) = (Times::default(), 0_usize, u64::MAX);
    loop {
        let began_ns = clock::now_ns();
        if began_ns >= end_ns {
            break;
        }
        let answered = mesh.call(to, [1; 8]).await;
        answered.expect("the other shard serves until it is told to end");
        calls += 1;
        if calls == WARM_UP {
            end_ns = clock::now_ns() + lasting_ns;
        } else if calls > WARM_UP {
            times.record((clock::now_ns() - began_ns) / 2);
        }
    }
    sender.send(times).expect("it is waited for");
    let ended = mesh.call(to, [0; 8]).await;
    ended.expect("its last answer");
}

/// Until a request of zeros.
async fn serve(mesh: Mesh<Request, u64>) {
    let end = shards::Shutdown::new();
    let ended = end.clone();
    mesh.serve_answers(move |_, request| {
        let sum: u64 = request.iter().sum();
        if sum == 0 {
            end.trigger();
        }
        Answer::Now(sum)
    });
    ended.triggered().await;
}

//! What an idle shard does, and that others can wake it whatever it does.

use std::sync::Arc;
use std::time::Duration;

use tailwater_shards::{self as shards, Poll, ShardId, Shutdown};

use super::support::on_polling_shards;

/// Two shards wake each other in turn. A lost wake would hang.
fn shards_wake_each_other(poll: Poll) {
    const ROUNDS: usize = 300;
    let balls: Arc<Vec<Shutdown>> = Arc::new((0..2 * ROUNDS).map(|_| Shutdown::new()).collect());
    on_polling_shards(2, poll, move |id| {
        let balls = Arc::clone(&balls);
        async move {
            for round in 0..ROUNDS {
                let (ping, pong) = (&balls[2 * round], &balls[2 * round + 1]);
                if id == ShardId(0) {
                    ping.trigger();
                    pong.triggered().await;
                } else {
                    ping.triggered().await;
                    pong.trigger();
                }
            }
        }
    })
    .unwrap();
}

#[test]
fn a_parked_shard_is_woken() {
    shards_wake_each_other(Poll::Park);
}

#[test]
fn an_adaptive_shard_is_woken_spinning_or_parked() {
    shards_wake_each_other(Poll::Adaptive {
        spin: Duration::from_micros(20),
    });
}

#[test]
fn a_spinning_shard_sees_wakes() {
    shards_wake_each_other(Poll::Spin);
}

/// How often this thread has slept.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("voluntary_ctxt"));
    let count = line.unwrap().split_whitespace().last().unwrap();
    count.parse().unwrap()
}

/// Sleeps of an idle shard's thread, over some timers.
fn sleeps_while_idle(poll: Poll) -> u64 {
    let (told, hear) = std::sync::mpsc::channel();
    on_polling_shards(1, poll, move |_| {
        let told = told.clone();
        async move {
            let before = sleeps();
            for _ in 0..20 {
                shards::sleep(Duration::from_millis(1)).await;
            }
            told.send(sleeps() - before).unwrap();
        }
    })
    .unwrap();
    hear.recv().unwrap()
}

#[test]
fn an_idle_shard_sleeps_when_parking_and_not_when_spinning() {
    // On a busy machine some timers have passed before the shard gets to sleep, and a page fault
    // or a lock of the kernel's may put any thread to sleep now and then.
    assert!(sleeps_while_idle(Poll::Park) >= 5);
    assert!(sleeps_while_idle(Poll::Spin) < 5);
}

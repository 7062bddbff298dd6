//! Tasks, timers and what goes across shards.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::{self as shards, Elapsed, Listener, ShardId, Shutdown, Stream};

use super::support::on_shards;

#[test]
fn every_shard_runs_main_with_its_own_id() {
    let sum = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&sum);
    on_shards(3, move |id| {
        let seen = Arc::clone(&seen);
        async move {
            assert_eq!((shards::shard(), shards::shard_count()), (id, 3));
            seen.fetch_add(1 << id.0, Ordering::SeqCst);
        }
    })
    .unwrap();
    assert_eq!(sum.load(Ordering::SeqCst), 0b111);
}

#[test]
fn a_panic_ends_its_task_only_and_is_counted_and_told() {
    on_shards(1, |_| async {
        let bad = shards::spawn("bad", async { panic!("broke {}", 7) });
        let good = shards::spawn("good", async { 5 });
        let told = bad.await.unwrap_err();
        assert_eq!((told.task, &*told.message), ("bad", "broke 7"));
        assert_eq!(good.await, Ok(5));
        assert_eq!(shards::caught_panics(), 1);
    })
    .unwrap();
}

#[test]
fn a_panic_in_a_cancelled_tasks_destructor_is_caught_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    on_shards(1, |_| async {
        let task = shards::spawn("bomb", async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        });
        shards::yield_now().await;
        drop(task);
        while shards::caught_panics() == 0 {
            shards::yield_now().await;
        }
    })
    .unwrap();
}

#[test]
fn a_panic_of_main_is_what_join_returns() {
    let error = on_shards(2, |id| async move {
        if id == ShardId(1) {
            panic!("no main");
        }
    })
    .unwrap_err();
    assert_eq!((error.shard, &*error.message), (ShardId(1), "no main"));
}

#[test]
fn join_returns_at_the_first_panic_while_the_others_run() {
    let stop = Shutdown::new();
    let waits = stop.clone();
    let error = on_shards(2, move |id| {
        let stop = waits.clone();
        async move {
            assert_eq!(id, ShardId(0), "not this one");
            stop.triggered().await;
        }
    })
    .unwrap_err();
    assert_eq!(error.shard, ShardId(1));
    stop.trigger();
}

#[test]
fn a_task_is_not_polled_before_spawn_returns() {
    on_shards(1, |_| async {
        let polled = Rc::new(Cell::new(false));
        let seen = Rc::clone(&polled);
        let task = shards::spawn("later", async move { seen.set(true) });
        assert!(!polled.get());
        assert!(!task.is_finished());
        task.await.unwrap();
        assert!(polled.get());
    })
    .unwrap();
}

#[test]
fn dropping_a_task_drops_its_future_and_detaching_lets_it_run() {
    on_shards(1, |_| async {
        let held = Rc::new(());
        let inside = Rc::clone(&held);
        let cancelled = shards::spawn("cancelled", async move {
            std::future::pending::<()>().await;
            drop(inside);
        });
        let done = Rc::new(Cell::new(false));
        let sets = Rc::clone(&done);
        shards::spawn("detached", async move { sets.set(true) }).detach();
        drop(cancelled);
        while !done.get() || Rc::strong_count(&held) > 1 {
            shards::yield_now().await;
        }
    })
    .unwrap();
}

#[test]
fn what_tasks_hold_is_dropped_when_their_shard_ends() {
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    on_shards(1, move |_| {
        let held = Arc::clone(&holds);
        async move {
            shards::spawn("holds", async move {
                std::future::pending::<()>().await;
                drop(held);
            })
            .detach();
            shards::yield_now().await;
        }
    })
    .unwrap();
    // `on_shards` has dropped `main`, so ours is the only one left.
    assert_eq!(Arc::strong_count(&held), 1);
}

#[test]
fn timers_fire_in_order_and_never_early() {
    on_shards(1, |_| async {
        let order = Rc::new(Cell::new(Vec::new()));
        let tasks: Vec<_> = [3, 1, 2]
            .into_iter()
            .map(|ms| {
                let order = Rc::clone(&order);
                shards::spawn("timer", async move {
                    let wanted = Duration::from_millis(ms * 2);
                    let began = shards::now();
                    shards::sleep(wanted).await;
                    assert!(began.elapsed() >= wanted);
                    let mut seen = order.take();
                    seen.push(ms);
                    order.set(seen);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(order.take(), [1, 2, 3]);
    })
    .unwrap();
}

#[test]
fn a_timeout_ends_what_takes_too_long_and_nothing_else() {
    on_shards(1, |_| async {
        let never = std::future::pending::<()>();
        assert_eq!(
            shards::timeout(Duration::from_millis(1), never).await,
            Err(Elapsed)
        );
        let soon = shards::sleep(Duration::from_millis(1));
        assert_eq!(shards::timeout(Duration::from_secs(60), soon).await, Ok(()));
    })
    .unwrap();
}

#[test]
fn a_shutdown_reaches_every_shard_and_those_who_come_late() {
    let stop = Shutdown::new();
    on_shards(3, move |id| {
        let stop = stop.clone();
        async move {
            if id == ShardId(2) {
                stop.trigger();
            }
            stop.triggered().await;
            stop.triggered().await;
            assert!(stop.is_triggered());
        }
    })
    .unwrap();
}

#[test]
fn uuids_are_version_four_and_differ() {
    on_shards(1, |_| async {
        let (a, b) = (shards::random_uuid(), shards::random_uuid());
        assert_ne!(a, b);
        assert_eq!((a[6] >> 4, a[8] >> 6), (4, 0b10));
    })
    .unwrap();
}

#[test]
fn a_task_that_only_yields_holds_up_neither_timers_nor_sockets() {
    on_shards(1, |_| async {
        let busy = shards::spawn("busy", async {
            let mut rounds = 0u64;
            loop {
                rounds += 1;
                shards::yield_now().await;
                assert!(rounds < 100_000, "nothing else gets to run");
            }
        });
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = shards::spawn("echo", async move {
            let stream = listener.accept().await.unwrap().into_stream().unwrap();
            let mut byte = [0];
            while stream.read(&mut byte).await.unwrap() == 1 {
                let answer = [Bytes::copy_from_slice(&byte)];
                stream.write_vectored_all(&answer).await.unwrap();
            }
        });
        let client = Stream::connect(addr).await.unwrap();
        for round in 0..100 {
            let sent = [Bytes::copy_from_slice(&[round])];
            client.write_vectored_all(&sent).await.unwrap();
            let mut byte = [0];
            assert_eq!(client.read(&mut byte).await.unwrap(), 1);
            assert_eq!(byte, [round]);
        }
        shards::sleep(Duration::from_millis(1)).await;
        drop(client);
        server.await.unwrap();
        assert!(!busy.is_finished());
    })
    .unwrap();
}

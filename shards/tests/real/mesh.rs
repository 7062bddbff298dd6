//! The mesh between real threads.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tailwater_shards::{self as shards, Mesh, MeshClosed, MeshEnds, Poll, ShardId, mesh};

use super::support::on_polling_shards;

type Ends = Arc<Vec<Mutex<Option<MeshEnds<u64, u64>>>>>;

fn ends(shards: u16, capacity: usize) -> Ends {
    let ends = mesh(shards, capacity).into_iter();
    Arc::new(ends.map(|end| Mutex::new(Some(end))).collect())
}

fn attach(ends: &Ends, id: ShardId) -> Mesh<u64, u64> {
    let end = ends[usize::from(id.0)].lock().unwrap().take();
    end.unwrap().attach()
}

/// Every shard asks every other, with fewer credits than it has calls, and answers from tasks that
/// yield or sleep now and then. A lost wake or credit would hang; a lost or doubled reply fails.
fn all_ask_all(shards: u16, poll: Poll) {
    const ROUNDS: u64 = 40;
    const CALLS: u64 = 50;
    const END: u64 = 1 << 60;
    let ends = ends(shards, 8);
    on_polling_shards(usize::from(shards), poll, move |id| {
        let ends = Arc::clone(&ends);
        async move {
            let mesh = attach(&ends, id);
            let (told, finished) = (mesh.clone(), std::rc::Rc::new(std::cell::Cell::new(0)));
            let heard = std::rc::Rc::clone(&finished);
            mesh.serve(move |from, q| {
                if q == END {
                    heard.set(heard.get() + 1);
                    return std::future::ready(0).boxed_local();
                }
                async move {
                    if q % 3 == 1 {
                        shards::yield_now().await;
                    }
                    if q % 97 == 2 {
                        shards::sleep(Duration::from_micros(50)).await;
                    }
                    q * 2 + u64::from(from.0)
                }
                .boxed_local()
            });
            let (mesh, me) = (&told, u64::from(id.0));
            for round in 0..ROUNDS {
                join_all((0..CALLS).map(|call| async move {
                    let to = (me + 1 + call % u64::from(shards - 1)) % u64::from(shards);
                    let q = round * CALLS + call;
                    assert_eq!(mesh.call(ShardId(to as u16), q).await, Ok(q * 2 + me));
                }))
                .await;
                if round % 10 == 0 {
                    shards::sleep(Duration::from_micros(200)).await;
                }
            }
            // Stay until all the others are through.
            for to in (0..shards).filter(|to| *to != id.0) {
                mesh.send(ShardId(to), END).await.await.unwrap();
            }
            while finished.get() < u64::from(shards - 1) {
                shards::sleep(Duration::from_micros(100)).await;
            }
            mesh.close();
        }
    })
    .unwrap();
}

#[test]
fn messages_that_take_long_leave_the_other_tasks_of_their_shard_their_turns() {
    const MESSAGES: u64 = 200;
    let ends = ends(2, 256);
    on_polling_shards(2, Poll::Park, move |id| {
        let ends = Arc::clone(&ends);
        async move {
            let mesh = attach(&ends, id);
            let handled = std::rc::Rc::new(std::cell::Cell::new(0));
            let heard = std::rc::Rc::clone(&handled);
            mesh.serve(move |_, _| {
                let began = shards::now();
                while shards::now() - began < Duration::from_micros(500) {}
                heard.set(heard.get() + 1);
                std::future::ready(0).boxed_local()
            });
            if id == ShardId(0) {
                let asked = (0..MESSAGES).map(|q| mesh.call(ShardId(1), q));
                assert!(join_all(asked).await.iter().all(Result::is_ok));
            } else {
                let mut turns = 0;
                while handled.get() < MESSAGES {
                    // A turn of its own between messages, or there would be one for them all.
                    shards::yield_now().await;
                    turns += u64::from(handled.get() > 0);
                }
                assert!(turns > MESSAGES / 2, "{turns} turns");
            }
            mesh.close();
        }
    })
    .unwrap();
}

#[test]
fn parked_shards_ask_each_other() {
    all_ask_all(2, Poll::Park);
}

#[test]
fn spinning_shards_ask_each_other() {
    all_ask_all(2, Poll::Spin);
}

#[test]
fn more_shards_than_processors_ask_each_other() {
    all_ask_all(4, Poll::Park);
}

#[test]
fn a_shard_whose_main_has_ended_is_gone() {
    let ends = ends(2, 4);
    on_polling_shards(2, Poll::Park, move |id| {
        let ends = Arc::clone(&ends);
        async move {
            let mesh = attach(&ends, id);
            if id == ShardId(0) {
                assert_eq!(mesh.call(ShardId(1), 1).await, Err(MeshClosed));
            }
        }
    })
    .unwrap();
}

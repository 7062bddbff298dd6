//! The promises of the mesh, under the simulator.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all};

use super::{Answer, Marker, Mesh, MeshClosed, MeshEnds, MeshStats, ReadySet, mesh};
use crate::sim::{Ending, Process, Simulation};
use crate::{ShardId, Shutdown, shard, sleep, spawn, yield_now};

const ZERO: ShardId = ShardId(0);
const ONE: ShardId = ShardId(1);

type Plain = Mesh<u32, u32>;

/// Runs `main` on each shard with its handle of a mesh. All stay in it until shard 0's has ended.
fn run<F>(shards: u16, capacity: usize, main: impl Fn(Plain) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    run_with_ends(shards, capacity, move |ends| {
        let mesh = ends.attach();
        let main = main(mesh.clone());
        async move {
            main.await;
            mesh
        }
    });
}

/// As [`run`]; what `main` returns is kept until shard 0's has ended.
fn run_with_ends<F: Future + 'static>(
    shards: u16,
    capacity: usize,
    main: impl Fn(MeshEnds<u32, u32>) -> F + 'static,
) {
    let mut sim = Simulation::new(7);
    let process = boot(&mut sim, shards, capacity, main);
    assert_eq!(sim.run_until_ended(process), Ending::Returned);
}

fn boot<F: Future + 'static>(
    sim: &mut Simulation,
    shards: u16,
    capacity: usize,
    main: impl Fn(MeshEnds<u32, u32>) -> F + 'static,
) -> Process {
    let ends: Vec<_> = mesh(shards, capacity).into_iter().map(Some).collect();
    let ends = RefCell::new(ends);
    let over = Shutdown::new();
    sim.boot(shards, move |id| {
        let end = ends.borrow_mut()[usize::from(id.0)].take();
        let main = main(end.expect("each shard is booted once"));
        let over = over.clone();
        async move {
            let kept = main.await;
            if id == ZERO {
                over.trigger();
            }
            over.triggered().await;
            drop(kept);
        }
    })
}

/// Answers with 100 more, at once.
fn serve_sums(mesh: &Plain) {
    mesh.serve_answers(|_, q| Answer::Now(q + 100));
}

/// Polls `future` once.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.poll_unpin(cx))).await
}

/// Lets everything run that can.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[test]
fn each_shard_asks_each_and_itself() {
    run(4, 2, |mesh| async move {
        let me = mesh.shard();
        mesh.serve(move |from, q| {
            assert_eq!(shard(), me);
            async move {
                sleep(Duration::from_millis(u64::from(q % 7))).await;
                q * 100 + u32::from(from.0 * 10 + me.0)
            }
            .boxed_local()
        });
        let (mesh, me) = (&mesh, u32::from(me.0));
        let calls = (0..200).map(|q| async move {
            let to = ShardId((q % 4) as u16);
            assert_eq!(mesh.call(to, q).await, Ok(q * 100 + me * 10 + q % 4));
        });
        join_all(calls).await;
        settle().await;
    });
}

#[test]
fn requests_are_handled_in_the_order_of_their_sends() {
    run(2, 3, |mesh| async move {
        if mesh.shard() == ONE {
            let next = Cell::new(0);
            // Answers come in another order than requests; that changes nothing.
            mesh.serve(move |_, q| {
                assert_eq!(q, next.replace(q + 1));
                async move {
                    sleep(Duration::from_millis(u64::from(5 - q % 5))).await;
                    q
                }
                .boxed_local()
            });
            return;
        }
        // The simulator runs the tasks in an order of its own.
        let sent = Rc::new(Cell::new(0));
        let tasks = (0..100).map(|_| {
            let (mesh, sent) = (mesh.clone(), Rc::clone(&sent));
            spawn("sender", async move {
                let q = sent.replace(sent.get() + 1);
                assert_eq!(mesh.call(ONE, q).await, Ok(q));
            })
        });
        assert!(join_all(tasks).await.into_iter().all(|task| task.is_ok()));
        assert_eq!(mesh.stats().credit_waits, 97);
    });
}

#[test]
fn shards_that_fill_each_others_rings_both_go_on() {
    run(2, 1, |mesh| async move {
        let (me, peer) = if mesh.shard() == ZERO {
            (0, ONE)
        } else {
            (1, ZERO)
        };
        mesh.serve(move |_, q| {
            async move {
                yield_now().await;
                q + me
            }
            .boxed_local()
        });
        let calls = (0..500).map(|q| mesh.call(peer, q));
        let replies = join_all(calls).await;
        assert!(
            (0..500)
                .zip(replies)
                .all(|(q, reply)| reply == Ok(q + 1 - me))
        );
        settle().await;
    });
}

#[test]
fn requests_before_the_handler_are_kept_in_order() {
    run(2, 4, |mesh| async move {
        if mesh.shard() == ONE {
            sleep(Duration::from_secs(1)).await;
            let handled = Cell::new(0);
            mesh.serve_answers(move |_, _| Answer::Now(handled.replace(handled.get() + 1)));
            return;
        }
        let replies = join_all((0..4).map(|q| mesh.call(ONE, q))).await;
        assert_eq!(replies, [Ok(0), Ok(1), Ok(2), Ok(3)]);
    });
}

#[test]
fn a_request_to_the_shard_itself_is_handled_before_the_send_returns() {
    run(1, 1, |mesh| async move {
        let handled = Rc::new(Cell::new(0));
        let count = Rc::clone(&handled);
        mesh.serve(move |from, q| {
            assert_eq!(from, ZERO);
            count.set(count.get() + 1);
            let later = async move {
                yield_now().await;
                q + 100
            };
            later.boxed_local()
        });
        // More than there are credits: it takes none.
        let pending: Vec<_> = (0..5).map(|q| mesh.try_send(ZERO, q)).collect();
        assert_eq!(handled.get(), 5);
        for (q, reply) in (0..).zip(pending) {
            assert_eq!(reply.expect("no credit needed").await, Ok(q + 100));
        }
        assert_eq!(mesh.stats(), MeshStats::default());
    });
}

#[test]
fn a_slow_handler_holds_up_no_other() {
    run(2, 4, |mesh| async move {
        if mesh.shard() == ONE {
            mesh.serve(|_, q| {
                async move {
                    sleep(Duration::from_millis(u64::from(q))).await;
                    q
                }
                .boxed_local()
            });
            return;
        }
        let mut slow = mesh.send(ONE, 1000).await;
        assert_eq!(mesh.call(ONE, 0).await, Ok(0));
        assert!(poll_once(&mut slow).await.is_pending());
        assert_eq!(slow.await, Ok(1000));
    });
}

#[test]
fn a_forgotten_reply_gives_its_credit_back() {
    run(2, 1, |mesh| async move {
        if mesh.shard() == ONE {
            return serve_sums(&mesh);
        }
        for q in 0..50 {
            drop(mesh.send(ONE, q).await);
        }
        assert_eq!(mesh.call(ONE, 50).await, Ok(150));
        // So does one that arrived and was never looked at.
        let unread = mesh.send(ONE, 51).await;
        settle().await;
        assert_eq!(mesh.call(ONE, 52).await, Ok(152));
        drop(unread);
        assert_eq!(mesh.handle.replies_in_use(), 0);
    });
}

#[test]
fn without_a_credit_try_send_gives_back_and_send_waits_its_turn() {
    run(2, 1, |mesh| async move {
        if mesh.shard() == ONE {
            return serve_sums(&mesh);
        }
        let first = mesh.send(ONE, 1).await;
        assert_eq!(mesh.try_send(ONE, 2).expect_err("no credit"), 2);
        let mut second = Box::pin(mesh.send(ONE, 2));
        let mut given_up = Box::pin(mesh.send(ONE, 3));
        let mut fourth = Box::pin(mesh.send(ONE, 4));
        assert!(poll_once(&mut second).await.is_pending());
        assert!(poll_once(&mut given_up).await.is_pending());
        assert!(poll_once(&mut fourth).await.is_pending());
        assert_eq!(first.await, Ok(101));
        // The credit is there, but others wait for it.
        assert_eq!(mesh.try_send(ONE, 5).expect_err("not their turn"), 5);
        assert!(poll_once(&mut fourth).await.is_pending());
        drop(given_up);
        assert_eq!(second.await.await, Ok(102));
        assert_eq!(fourth.await.await, Ok(104));
        assert_eq!(mesh.stats().credit_waits, 3);
    });
}

#[test]
fn a_sender_that_gives_up_its_turn_wakes_the_next() {
    run(2, 1, |mesh| async move {
        if mesh.shard() == ONE {
            return serve_sums(&mesh);
        }
        let first = mesh.send(ONE, 1).await;
        let mut second = Box::pin(mesh.send(ONE, 2));
        assert!(poll_once(&mut second).await.is_pending());
        let third = spawn("third", {
            let mesh = mesh.clone();
            async move { mesh.call(ONE, 3).await }
        });
        settle().await;
        assert_eq!(first.await, Ok(101));
        assert!(
            !third.is_finished(),
            "the second has the turn and does not use it"
        );
        drop(second);
        assert_eq!(third.await, Ok(Ok(103)));
    });
}

#[test]
fn a_panic_of_a_handler_reaches_its_caller_alone() {
    let mut sim = Simulation::new(7);
    sim.expect_panics();
    let process = boot(&mut sim, 2, 4, |ends| async move {
        let mesh = ends.attach();
        if mesh.shard() == ONE {
            mesh.serve(|_, q| {
                assert_ne!(q, 1, "at once");
                async move {
                    assert_ne!(q, 2, "at the first poll");
                    yield_now().await;
                    assert_ne!(q, 3, "in its own task");
                    q
                }
                .boxed_local()
            });
            return mesh;
        }
        for q in 1..=3 {
            assert_eq!(mesh.call(ONE, q).await, Err(MeshClosed));
        }
        assert_eq!(mesh.call(ONE, 4).await, Ok(4));
        mesh
    });
    assert_eq!(sim.run_until_ended(process), Ending::Returned);
    assert_eq!(sim.panics(), 3, "caught and counted");
}

#[test]
fn who_awaits_a_shard_that_leaves_is_told() {
    run(3, 1, |mesh| async move {
        if mesh.shard() == ONE {
            mesh.serve(|_, _| pending().boxed_local());
            sleep(Duration::from_secs(1)).await;
            mesh.close();
            return;
        }
        serve_sums(&mesh);
        let awaiting = mesh.send(ONE, 1).await;
        let waiting = mesh.send(ONE, 2);
        let (reply, refused) = futures_util::join!(awaiting, waiting);
        assert_eq!(reply, Err(MeshClosed));
        assert_eq!(refused.await, Err(MeshClosed));
        assert_eq!(mesh.call(ONE, 3).await, Err(MeshClosed));
        let tried = mesh.try_send(ONE, 4).expect("taken, to say so");
        assert_eq!(tried.await, Err(MeshClosed));
        // The others go on.
        let other = if mesh.shard() == ZERO {
            ShardId(2)
        } else {
            ZERO
        };
        assert_eq!(mesh.call(other, 1).await, Ok(101));
        settle().await;
    });
}

#[test]
fn an_end_that_is_never_attached_is_gone() {
    run_with_ends(2, 4, |ends| async move {
        if ends.shard() == ONE {
            sleep(Duration::from_secs(1)).await;
            return None;
        }
        let mesh = ends.attach();
        assert_eq!(mesh.call(ONE, 1).await, Err(MeshClosed));
        Some(mesh)
    });
}

#[test]
fn a_shard_that_has_left_gets_nothing_and_drops_its_handler() {
    run(2, 4, |mesh| async move {
        let captured = Rc::new(());
        let (held, in_handler) = (Rc::clone(&captured), mesh.clone());
        mesh.serve(move |_, q| {
            let _keep = (&held, &in_handler);
            let never: LocalBoxFuture<'static, u32> = pending().boxed_local();
            if q == 0 {
                async { 0 }.boxed_local()
            } else {
                never
            }
        });
        if mesh.shard() == ONE {
            return settle().await;
        }
        let from_peer = mesh.send(ONE, 1).await;
        let from_self = mesh.send(ZERO, 1).await;
        mesh.close();
        assert_eq!(Rc::strong_count(&captured), 1);
        assert_eq!(from_peer.await, Err(MeshClosed));
        assert_eq!(from_self.await, Err(MeshClosed));
        assert_eq!(mesh.call(ONE, 0).await, Err(MeshClosed));
        assert_eq!(mesh.call(ZERO, 0).await, Err(MeshClosed));
    });
}

#[test]
fn a_killed_process_drops_what_was_under_way() {
    let alive = Rc::new(());
    let mut sim = Simulation::new(7);
    let held = Rc::clone(&alive);
    let process = boot(&mut sim, 2, 4, move |ends| {
        let held = Rc::clone(&held);
        async move {
            let mesh = ends.attach();
            mesh.serve(move |_, _| {
                let held = Rc::clone(&held);
                async move {
                    let _held = held;
                    pending().await
                }
                .boxed_local()
            });
            let to = if mesh.shard() == ZERO { ONE } else { ZERO };
            drop(join_all((0..8).map(|q| mesh.call(to, q))).await);
        }
    });
    sim.run_until_idle();
    assert!(Rc::strong_count(&alive) >= 8, "handlers are at work");
    sim.kill(process);
    drop(sim);
    assert_eq!(Rc::strong_count(&alive), 1);
}

#[test]
fn a_burst_is_one_wake_and_leaves_the_shards_other_tasks_their_turn() {
    const BURST: u32 = 1000;
    run(2, BURST as usize, |mesh| async move {
        if mesh.shard() == ONE {
            let handled = Rc::new(Cell::new(0));
            let count = Rc::clone(&handled);
            mesh.serve_answers(move |_, q| {
                count.set(count.get() + 1);
                Answer::Now(q)
            });
            let mut turns = 0;
            while handled.get() < BURST {
                turns += u32::from(handled.get() > 0);
                yield_now().await;
            }
            assert!(turns >= 3, "{turns} turns while the burst was handled");
            return;
        }
        settle().await;
        let replies = join_all((0..BURST).map(|q| mesh.call(ONE, q))).await;
        assert!((0..BURST).zip(replies).all(|(q, reply)| reply == Ok(q)));
        let stats = mesh.stats();
        assert_eq!(stats.messages_sent, u64::from(BURST));
        assert_eq!(stats.wakes, 1);
        assert_eq!(stats.credit_waits, 0);
    });
}

#[test]
fn marks_of_other_shards_coalesce_and_wake_when_there_is_enough() {
    let markers = Rc::new(RefCell::new(Vec::<Marker>::new()));
    run(3, 4, move |mesh| {
        let markers = Rc::clone(&markers);
        async move {
            if mesh.shard() != ZERO {
                sleep(Duration::from_millis(10)).await;
                let marker = markers.borrow()[usize::from(mesh.shard().0)].clone();
                for _ in 0..5 {
                    marker.mark(10);
                    settle().await;
                }
                return;
            }
            let made = ReadySet::new(130);
            made.set_needed(95);
            *markers.borrow_mut() = vec![made.marker(0), made.marker(63), made.marker(129)];
            made.wait().await;
            let mut slots = Vec::new();
            made.take(|slot| slots.push(slot));
            assert_eq!(slots, [63, 129]);
            assert_eq!(made.total(), 100);
            made.reset_total();
            assert_eq!(made.total(), 0);
            let wait = Box::pin(made.wait()).now_or_never();
            assert!(wait.is_none());
            markers.borrow()[0].mark_urgent();
            made.wait().await;
            drop(made);
            assert!(markers.borrow()[1].is_dead());
        }
    });
}

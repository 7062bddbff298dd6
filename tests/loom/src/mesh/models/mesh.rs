//! The whole mesh between two shards: links, credits, replies and drain tasks.

use std::cell::RefCell;
use std::rc::Rc;

use super::check;
use crate::mesh::endpoint::Answer;
use crate::mesh::ends::{MeshEnds, mesh};
use crate::mesh::reply::MeshClosed;
use crate::{ShardId, run_shard};

type Ends = MeshEnds<u32, u32>;

fn two_shards(capacity: usize) -> (Ends, Ends) {
    let mut ends = mesh(2, capacity);
    let second = ends.pop().unwrap();
    (ends.pop().unwrap(), second)
}

const ZERO: ShardId = ShardId(0);
const ONE: ShardId = ShardId(1);

/// Serves until `requests` were handled and answered, then leaves.
fn serve(ends: Ends, requests: usize) -> Vec<u32> {
    run_shard(ends.shard(), async move {
        let handled = Rc::new(RefCell::new(Vec::new()));
        let mesh = ends.attach();
        let log = Rc::clone(&handled);
        mesh.serve_answers(move |_, q| {
            log.borrow_mut().push(q);
            Answer::Now(q + 100)
        });
        let done = Rc::clone(&handled);
        std::future::poll_fn(move |_| match done.borrow().len() == requests {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
        handled.take()
    })
}

#[test]
fn a_call_is_answered_though_both_sides_sleep_in_between() {
    check(2, || {
        let (ends, other) = two_shards(1);
        let serving = loom::thread::spawn(move || serve(other, 1));
        let reply = run_shard(ZERO, async move { ends.attach().call(ONE, 1).await });
        assert_eq!(reply, Ok(101));
        assert_eq!(serving.join().unwrap(), [1]);
    });
}

#[test]
fn sends_wait_for_their_credit_and_are_handled_in_order() {
    check(1, || {
        let (ends, other) = two_shards(1);
        let serving = loom::thread::spawn(move || serve(other, 2));
        run_shard(ZERO, async move {
            let mesh = ends.attach();
            // The replies are forgotten: their credits come back all the same.
            drop(mesh.send(ONE, 0).await);
            drop(mesh.send(ONE, 1).await);
        });
        assert_eq!(serving.join().unwrap(), [0, 1]);
    });
}

#[test]
fn two_shards_that_ask_each_other_with_one_credit_both_go_on() {
    check(1, || {
        let (zero, one) = two_shards(1);
        let ask = |ends: Ends, to: ShardId| {
            run_shard(ends.shard(), async move {
                let mesh = ends.attach();
                mesh.serve_answers(|_, q| Answer::Now(q + 100));
                mesh.call(to, 1).await
            })
        };
        let other = loom::thread::spawn(move || ask(one, ZERO));
        // Whoever is through first leaves, and the other one may go without its answer.
        let replies = [ask(zero, ONE), other.join().unwrap()];
        assert!(replies.contains(&Ok(101)), "{replies:?}");
        assert!(
            replies
                .iter()
                .all(|r| matches!(r, Ok(101) | Err(MeshClosed)))
        );
    });
}

#[test]
fn who_awaits_a_shard_that_leaves_is_told() {
    check(2, || {
        let (ends, other) = two_shards(1);
        let leaving = loom::thread::spawn(move || drop(other));
        let replies = run_shard(ZERO, async move {
            let mesh = ends.attach();
            [mesh.call(ONE, 1).await, mesh.call(ONE, 2).await]
        });
        assert_eq!(replies, [Err(MeshClosed), Err(MeshClosed)]);
        leaving.join().unwrap();
    });
}

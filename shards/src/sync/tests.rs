//! Notify, Semaphore and Shutdown, polled by hand: they need no engine.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{Notify, Semaphore};
use crate::Shutdown;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A waker, and how often it was woken.
fn waker() -> (Waker, impl Fn() -> usize) {
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    (waker, move || count.0.load(Ordering::Relaxed))
}

macro_rules! poll {
    ($future:expr, $waker:expr) => {
        $future.as_mut().poll(&mut Context::from_waker(&$waker))
    };
}

#[test]
fn notify_one_wakes_the_one_who_waited_longest() {
    let notify = Notify::new();
    let (waker, woken) = waker();
    let mut first = pin!(notify.notified());
    let mut second = pin!(notify.notified());
    assert!(poll!(first, waker).is_pending());
    assert!(poll!(second, waker).is_pending());
    notify.notify_one();
    assert_eq!(woken(), 1);
    assert!(poll!(second, waker).is_pending());
    assert!(poll!(first, waker).is_ready());
    notify.notify_one();
    assert!(poll!(second, waker).is_ready());
}

#[test]
fn one_permit_is_left_when_nobody_waits_and_further_ones_coalesce() {
    let notify = Notify::new();
    let (waker, _) = waker();
    notify.notify_one();
    notify.notify_one();
    assert!(poll!(pin!(notify.notified()), waker).is_ready());
    assert!(poll!(pin!(notify.notified()), waker).is_pending());
}

#[test]
fn notify_all_leaves_nothing_behind() {
    let notify = Notify::new();
    let (waker, _) = waker();
    {
        let mut waits = pin!(notify.notified());
        assert!(poll!(waits, waker).is_pending());
        notify.notify_all();
        assert!(poll!(waits, waker).is_ready());
    }
    assert!(poll!(pin!(notify.notified()), waker).is_pending());
    assert_eq!(notify.waiters(), 0);
}

#[test]
fn what_comes_between_asking_and_polling_counts() {
    let notify = Notify::new();
    let (waker, _) = waker();
    let mut waits = pin!(notify.notified());
    notify.notify_all();
    assert!(poll!(waits, waker).is_ready());
}

#[test]
fn a_woken_waiter_that_is_dropped_passes_the_word_on() {
    let notify = Notify::new();
    let (waker, woken) = waker();
    let mut dropped = Box::pin(notify.notified());
    let mut stays = pin!(notify.notified());
    assert!(poll!(dropped, waker).is_pending());
    assert!(poll!(stays, waker).is_pending());
    notify.notify_one();
    drop(dropped);
    assert_eq!(woken(), 2);
    assert!(poll!(stays, waker).is_ready());
}

#[test]
fn permits_go_out_in_the_order_they_were_asked_for() {
    let semaphore = Semaphore::new(4);
    let (waker, _) = waker();
    let held = semaphore.try_acquire(3).unwrap();
    let mut large = pin!(semaphore.acquire(4));
    let mut small = pin!(semaphore.acquire(1));
    assert!(poll!(large, waker).is_pending());
    // One is free, but the large one is before it.
    assert!(poll!(small, waker).is_pending());
    assert!(semaphore.try_acquire(1).is_none());
    drop(held);
    let Poll::Ready(all) = poll!(large, waker) else {
        panic!("all were free");
    };
    assert_eq!(all.count(), 4);
    assert!(poll!(small, waker).is_pending());
    drop(all);
    assert!(poll!(small, waker).is_ready());
}

#[test]
fn the_smallest_go_first_and_of_about_one_size_the_oldest() {
    let semaphore = Semaphore::smallest_first(100);
    let (waker, _) = waker();
    let all = semaphore.try_acquire(100).unwrap();
    let mut giants = [100, 70].map(|wanted| Box::pin(semaphore.acquire(wanted)));
    let mut small = [10, 15, 9].map(|wanted| Box::pin(semaphore.acquire(wanted)));
    for waiting in giants.iter_mut().chain(&mut small) {
        assert!(poll!(waiting, waker).is_pending());
    }
    drop(all);
    let held = small.each_mut().map(|small| poll!(small, waker));
    assert!(held.iter().all(Poll::is_ready));
    // Who fits goes at once, whoever waits for more.
    assert!(poll!(pin!(semaphore.acquire(10)), waker).is_ready());
    for giant in &mut giants {
        assert!(poll!(giant, waker).is_pending());
    }
    drop(held);
    let older = poll!(giants[0], waker);
    assert!(older.is_ready());
    assert!(poll!(giants[1], waker).is_pending());
    drop(older);
    assert!(poll!(giants[1], waker).is_ready());
    assert_eq!((semaphore.available(), semaphore.waiters()), (100, 0));
}

#[test]
fn the_largest_is_passed_by_eight_times_its_size_and_no_more() {
    let semaphore = Semaphore::smallest_first(100);
    let (waker, _) = waker();
    let held = semaphore.try_acquire(90).unwrap();
    let mut giant = Box::pin(semaphore.acquire(100));
    assert!(poll!(giant, waker).is_pending());
    for _ in 0..80 {
        assert!(poll!(pin!(semaphore.acquire(10)), waker).is_ready());
    }
    let mut small = Box::pin(semaphore.acquire(10));
    assert!(poll!(small, waker).is_pending());
    drop(held);
    let all = poll!(giant, waker);
    assert!(all.is_ready());
    assert!(poll!(small, waker).is_pending());
    drop(all);
    assert!(poll!(small, waker).is_ready());
}

#[test]
fn a_waiter_that_gives_up_makes_way_and_gives_back_what_it_was_granted() {
    let semaphore = Semaphore::new(2);
    let (waker, _) = waker();
    let mut held = semaphore.try_acquire(2).unwrap();
    let mut large = Box::pin(semaphore.acquire(2));
    let mut small = Box::pin(semaphore.acquire(1));
    assert!(poll!(large, waker).is_pending());
    assert!(poll!(small, waker).is_pending());
    held.shrink_to(1);
    assert_eq!(held.count(), 1);
    drop(large);
    // Granted now, and given back without having been taken.
    drop(small);
    assert_eq!(semaphore.available(), 1);
    drop(held);
    assert_eq!((semaphore.available(), semaphore.waiters()), (2, 0));
}

#[test]
fn more_than_all_is_all() {
    let semaphore = Semaphore::new(3);
    let (waker, _) = waker();
    let Poll::Ready(all) = poll!(pin!(semaphore.acquire(10)), waker) else {
        panic!("all were free");
    };
    assert_eq!(all.count(), 3);
}

#[test]
fn a_shutdown_wakes_all_who_wait_once_and_forgets_who_gave_up() {
    let shutdown = Shutdown::new();
    let (waker, woken) = waker();
    let other = shutdown.clone();
    let mut gives_up = Box::pin(other.triggered());
    assert!(poll!(gives_up, waker).is_pending());
    let mut waits = pin!(other.triggered());
    assert!(poll!(waits, waker).is_pending());
    assert!(poll!(waits, waker).is_pending());
    drop(gives_up);
    shutdown.trigger();
    shutdown.trigger();
    assert_eq!(woken(), 1);
    assert!(poll!(waits, waker).is_ready());
    assert!(poll!(pin!(shutdown.triggered()), waker).is_ready());
}

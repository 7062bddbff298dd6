//! The sleep and wake protocol: no wake is lost. A lost one is a deadlock, which loom reports.

use std::future::poll_fn;
use std::task::Poll;

use loom::future::block_on;

use super::check;
use crate::mesh::ring::{Consumer, ring};
use crate::mesh::sync::{Arc, AtomicUsize, Ordering};
use crate::mesh::wake_cell::WakeCell;

/// The sleeper as the mesh has it: pops until all `items` came, and sleeps when there is none.
async fn pop_all(consumers: &[Consumer<u32>], bell: &WakeCell, items: usize) -> Vec<u32> {
    let mut popped = Vec::new();
    poll_fn(move |cx| {
        loop {
            // SAFETY: this is the only sleeper.
            unsafe { bell.rise() };
            let before = popped.len();
            for consumer in consumers {
                popped.extend(consumer.pop());
            }
            if popped.len() == items {
                return Poll::Ready(std::mem::take(&mut popped));
            }
            if popped.len() == before {
                // SAFETY: this is the only sleeper.
                unsafe { bell.announce(cx.waker()) };
                if consumers.iter().all(Consumer::is_empty) {
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

#[test]
fn a_sleeper_is_woken_for_each_item_of_one_producer() {
    check(3, || {
        let bell = Arc::new(WakeCell::new());
        let (producer, consumer) = ring(4);
        let ringing = Arc::clone(&bell);
        let pushing = loom::thread::spawn(move || {
            for item in 0..3 {
                producer.push(item).unwrap();
                ringing.ring();
            }
        });
        let popped = block_on(pop_all(&[consumer], &bell, 3));
        assert_eq!(popped, [0, 1, 2]);
        pushing.join().unwrap();
        // SAFETY: this is the only sleeper.
        drop(unsafe { bell.retire() });
    });
}

#[test]
fn a_sleeper_is_woken_though_two_ring_at_once() {
    check(2, || {
        let bell = Arc::new(WakeCell::new());
        let mut consumers = Vec::new();
        let mut threads = Vec::new();
        for item in [0, 1] {
            let (producer, consumer) = ring(1);
            consumers.push(consumer);
            let ringing = Arc::clone(&bell);
            threads.push(loom::thread::spawn(move || {
                producer.push(item).unwrap();
                ringing.ring();
            }));
        }
        let mut popped = block_on(pop_all(&consumers, &bell, 2));
        popped.sort_unstable();
        assert_eq!(popped, [0, 1]);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        // SAFETY: this is the only sleeper.
        drop(unsafe { bell.retire() });
    });
}

#[test]
fn an_announcement_is_rung_by_one_ringer_alone() {
    check(3, || {
        let bell = Arc::new(WakeCell::new());
        // SAFETY: this thread is the only sleeper.
        unsafe { bell.announce(std::task::Waker::noop()) };
        let rings = Arc::new(AtomicUsize::new(0));
        let threads = [(); 2].map(|()| {
            let (bell, rings) = (Arc::clone(&bell), Arc::clone(&rings));
            loom::thread::spawn(move || {
                if bell.ring() {
                    rings.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(rings.load(Ordering::Relaxed), 1);
        assert!(!bell.ring(), "nobody sleeps");
    });
}

#[test]
fn a_changed_waker_is_the_one_that_is_woken() {
    check(3, || {
        let bell = Arc::new(WakeCell::new());
        let flag = Arc::new(AtomicUsize::new(0));
        // SAFETY: this thread is the only sleeper.
        unsafe { bell.announce(std::task::Waker::noop()) };
        let (ringing, raised) = (Arc::clone(&bell), Arc::clone(&flag));
        let thread = loom::thread::spawn(move || {
            raised.store(1, Ordering::Relaxed);
            ringing.ring();
        });
        block_on(poll_fn(|cx| {
            if flag.load(Ordering::Relaxed) == 1 {
                return Poll::Ready(());
            }
            // SAFETY: this thread is the only sleeper.
            unsafe { bell.announce(cx.waker()) };
            match flag.load(Ordering::Relaxed) {
                1 => Poll::Ready(()),
                _ => Poll::Pending,
            }
        }));
        thread.join().unwrap();
        // SAFETY: this thread is the only sleeper.
        drop(unsafe { bell.retire() });
    });
}

#[test]
fn a_sleeper_may_retire_while_it_is_being_woken() {
    check(3, || {
        let bell = Arc::new(WakeCell::new());
        let ringing = Arc::clone(&bell);
        block_on(poll_fn(|cx| {
            // SAFETY: this thread is the only sleeper.
            unsafe { bell.announce(cx.waker()) };
            Poll::Ready(())
        }));
        let thread = loom::thread::spawn(move || ringing.ring());
        // SAFETY: this thread is the only sleeper.
        let waker = unsafe { bell.retire() };
        assert!(waker.is_some());
        drop(waker);
        thread.join().unwrap();
    });
}

//! The ready set: no mark is lost, and none wakes before there is enough.

use loom::future::block_on;

use super::check;
use crate::mesh::ready_set::ReadySet;
use crate::mesh::sync::{Arc, AtomicU64, AtomicUsize, Ordering};

#[test]
fn every_mark_is_taken_and_its_data_is_visible() {
    check(2, || {
        let set = ReadySet::new(2);
        let data = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let threads = [0, 1].map(|slot| {
            let (marker, data) = (set.marker(slot), Arc::clone(&data[slot]));
            loom::thread::spawn(move || {
                data.store(7, Ordering::Relaxed);
                marker.mark(5);
            })
        });
        let mut seen = [false; 2];
        while seen != [true; 2] {
            block_on(set.wait());
            set.take(|slot| {
                assert_eq!(data[slot].load(Ordering::Relaxed), 7);
                seen[slot] = true;
            });
            set.reset_total();
        }
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn the_sum_of_marks_of_two_shards_wakes_once_it_is_enough() {
    check(3, || {
        let set = ReadySet::new(2);
        set.set_needed(10);
        let woken = Arc::new(AtomicUsize::new(0));
        let threads = [0, 1].map(|slot| {
            let (marker, woken) = (set.marker(slot), Arc::clone(&woken));
            loom::thread::spawn(move || {
                if marker.mark(5) {
                    woken.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        block_on(set.wait());
        let mut slots = Vec::new();
        set.take(|slot| slots.push(slot));
        assert_eq!(slots, [0, 1], "the sum is enough only with both");
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(woken.load(Ordering::Relaxed) <= 1);
    });
}

#[test]
fn bytes_marked_between_take_and_reset_stay_in_the_sum() {
    check(4, || {
        const MARKS: u64 = 4;
        let set = ReadySet::new(1);
        let marker = set.marker(0);
        let data = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&data);
        let thread = loom::thread::spawn(move || {
            for mark in 1..=MARKS {
                written.store(mark, Ordering::Relaxed);
                marker.mark(1);
            }
        });
        let mut seen = 0;
        set.take(|_| seen = data.load(Ordering::Relaxed));
        set.reset_total();
        thread.join().unwrap();
        let forgotten = MARKS - set.total();
        assert!(forgotten <= seen, "forgot {forgotten} but saw {seen}");
    });
}

#[test]
fn a_lowered_need_meets_a_mark_in_flight() {
    check(4, || {
        let set = ReadySet::new(1);
        set.set_needed(100);
        let marker = set.marker(0);
        let thread = loom::thread::spawn(move || marker.mark(5));
        set.set_needed(5);
        block_on(set.wait());
        thread.join().unwrap();
        assert_eq!(set.total(), 5);
    });
}

#[test]
fn an_urgent_mark_wakes_whatever_is_needed() {
    check(4, || {
        let set = ReadySet::new(1);
        set.set_needed(u64::MAX);
        let marker = set.marker(0);
        let thread = loom::thread::spawn(move || marker.mark_urgent());
        block_on(set.wait());
        let mut slots = Vec::new();
        set.take(|slot| slots.push(slot));
        assert_eq!(slots, [0]);
        thread.join().unwrap();
    });
}

#[test]
fn an_urgent_mark_that_meets_a_take_is_taken_now_or_wakes() {
    check(4, || {
        let set = ReadySet::new(1);
        let marker = set.marker(0);
        let thread = loom::thread::spawn(move || marker.mark_urgent());
        let mut visits = 0;
        set.take(|_| visits += 1);
        if visits == 0 {
            block_on(set.wait());
            set.take(|_| visits += 1);
        }
        assert_eq!(visits, 1);
        thread.join().unwrap();
    });
}

#[test]
fn a_set_may_be_dropped_while_it_is_marked() {
    check(4, || {
        let set = ReadySet::new(1);
        let marker = set.marker(0);
        let thread = loom::thread::spawn(move || {
            marker.mark(1);
            marker
        });
        block_on(async {
            let mut wait = Box::pin(set.wait());
            let polled = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(wait.as_mut().poll(cx).is_ready())
            });
            polled.await;
        });
        drop(set);
        assert!(thread.join().unwrap().is_dead());
    });
}

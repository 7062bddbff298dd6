//! The ring alone: nothing lost, nothing twice, in order, and what is left in it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::check;
use crate::mesh::ring::ring;

#[test]
fn items_arrive_once_and_in_order_over_a_ring_that_wraps() {
    check(3, || {
        let (producer, consumer) = ring::<Box<u32>>(2);
        let pushing = loom::thread::spawn(move || {
            for item in 0..3 {
                let mut item = Box::new(item);
                while let Err(back) = producer.push(item) {
                    item = back;
                    loom::thread::yield_now();
                }
            }
        });
        let mut popped = Vec::new();
        while !consumer.is_finished() {
            match consumer.pop() {
                Some(item) => popped.push(*item),
                None => loom::thread::yield_now(),
            }
        }
        assert_eq!(popped, [0, 1, 2]);
        pushing.join().unwrap();
    });
}

#[test]
fn a_full_ring_gives_the_item_back_and_takes_it_once_there_is_room() {
    check(3, || {
        let (producer, consumer) = ring::<u32>(1);
        producer.push(1).unwrap();
        assert_eq!(producer.push(2), Err(2));
        let popping = loom::thread::spawn(move || {
            assert_eq!(consumer.pop(), Some(1));
            consumer
        });
        let pushed = producer.push(2).is_ok();
        let consumer = popping.join().unwrap();
        assert_eq!(consumer.pop(), pushed.then_some(2));
        if !pushed {
            producer.push(2).unwrap();
            assert_eq!(consumer.pop(), Some(2));
        }
    });
}

/// Counts its drops. Not loom's atomics: what counts must add nothing to the model.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn every_item_is_dropped_once_whichever_half_goes_first() {
    check(3, || {
        let drops = Arc::new(AtomicUsize::new(0));
        let (producer, consumer) = ring(4);
        let counted = Arc::clone(&drops);
        let pushing = loom::thread::spawn(move || {
            for _ in 0..3 {
                assert!(producer.push(Counted(Arc::clone(&counted))).is_ok());
            }
        });
        drop(consumer.pop());
        drop(consumer);
        pushing.join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn the_end_is_seen_after_the_last_item() {
    check(3, || {
        let (producer, consumer) = ring(2);
        let pushing = loom::thread::spawn(move || producer.push(7).unwrap());
        let seen_early = consumer.is_finished();
        assert!(!seen_early, "an item is still to be popped");
        pushing.join().unwrap();
        assert!(!consumer.is_finished());
        assert_eq!(consumer.pop(), Some(7));
        assert!(consumer.is_finished());
    });
}

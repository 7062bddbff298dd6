//! What is admitted, and in which order replies leave.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use futures_util::FutureExt;

use super::*;
use crate::request_memory::RequestMemory;

fn charge() -> Charge {
    let memory = RequestMemory::new(1);
    let charge = memory.charge(1, &Rc::default()).now_or_never();
    charge.expect("it is free")
}

/// A reply that can be told from others by its first stamp.
fn reply(number: u64) -> Reply {
    let stages = Stages {
        read_ns: number,
        ..Stages::default()
    };
    Reply {
        answer: None,
        held: None,
        then_close: false,
        stages,
    }
}

fn waiting(number: u64, durable: &Rc<Cell<bool>>) -> Begun {
    let durable = Rc::clone(durable);
    Begun::Waiting(Box::pin(poll_fn(move |_| {
        if durable.get() {
            Poll::Ready(reply(number))
        } else {
            Poll::Pending
        }
    })))
}

fn ready(in_flight: &mut InFlight) -> Vec<u64> {
    let mut out = Vec::new();
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let polled = in_flight.poll_ready(&mut cx, &mut out);
    assert_eq!(polled.is_ready(), !out.is_empty());
    out.iter().map(|reply| reply.stages.read_ns).collect()
}

#[test]
fn a_reply_waits_for_all_before_it() {
    let (first, second) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let mut in_flight = InFlight::default();
    in_flight.push(waiting(1, &first), 10, charge());
    in_flight.push(waiting(2, &second), 10, charge());
    in_flight.push(Begun::Ready(reply(3)), 10, charge());
    second.set(true);
    assert!(ready(&mut in_flight).is_empty());
    first.set(true);
    assert_eq!(ready(&mut in_flight), [1, 2, 3]);
    in_flight.answered();
    assert!(in_flight.is_empty());
}

#[test]
fn only_overlapping_requests_begin_while_others_are_in_flight() {
    let mut in_flight = InFlight::default();
    assert!(in_flight.admits(false, 10));
    in_flight.push(Begun::Ready(reply(1)), 10, charge());
    assert!(in_flight.admits(true, 10));
    assert!(!in_flight.admits(false, 10));
    // A reply that has been taken is not answered before it has left.
    assert_eq!(ready(&mut in_flight), [1]);
    assert!(!in_flight.admits(false, 10));
    in_flight.answered();
    assert!(in_flight.admits(false, 10));
}

#[test]
fn the_number_in_flight_is_bounded() {
    let durable = Rc::default();
    let mut in_flight = InFlight::default();
    for number in 0..IN_FLIGHT_COUNT_MAX {
        assert!(in_flight.admits(true, 1));
        in_flight.push(waiting(number as u64, &durable), 1, charge());
    }
    assert!(!in_flight.admits(true, 1));
    durable.set(true);
    assert_eq!(
        ready(&mut in_flight).len(),
        REPLIES_PER_WRITE_MAX.min(IN_FLIGHT_COUNT_MAX)
    );
    in_flight.answered();
    assert!(in_flight.admits(true, 1));
}

#[test]
fn the_bytes_in_flight_are_bounded_but_one_request_always_fits() {
    let durable = Rc::default();
    let mut in_flight = InFlight::default();
    assert!(in_flight.admits(true, 10 * IN_FLIGHT_BYTES_MAX));
    in_flight.push(waiting(1, &durable), IN_FLIGHT_BYTES_MAX - 10, charge());
    assert!(in_flight.admits(true, 10));
    assert!(!in_flight.admits(true, 11));
    in_flight.push(waiting(2, &durable), 10, charge());
    durable.set(true);
    assert_eq!(ready(&mut in_flight), [1, 2]);
    in_flight.answered();
    assert!(in_flight.admits(true, 11));
}

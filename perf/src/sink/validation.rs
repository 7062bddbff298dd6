//! The generator, judged by a sink that stands still for 50 ms once. What is asserted holds on a busy
//! machine too: the sink's own clock is the witness, and no request can be faster than its answer.

use super::*;
use crate::clock::SECOND_NS;
use crate::frames::Shape;
use crate::load::{self, Load, Pace};
use crate::tally::Outcome;
use crate::times::Times;

const STALL: Stall = Stall {
    after_ns: SECOND_NS / 2,
    lasting_ns: 50_000_000,
};
const RATE: u64 = 1000;

fn measured(pace: Pace, acks: i16, wait: Wait) -> (Outcome, Witness) {
    let sink = SinkPlan {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        cpu: None,
        wait: Wait::Park,
        stall: Some(STALL),
    };
    let sink = Sink::start(sink).unwrap();
    let load = Load {
        addr: sink.addr,
        topic: "stalled".to_owned(),
        partitions: 1,
        acks,
        shape: Shape {
            value_bytes: 100,
            key_bytes: 0,
            records: 1,
            batches: 1,
        },
        connections: if pace == (Pace::Closed { depth: 1 }) {
            1
        } else {
            4
        },
        pace,
        wait,
        readers: Vec::new(),
        cpus: machine::usable_cpus().unwrap()[..1].to_vec(),
        warm_up_ns: 0,
        lasting_ns: 3 * SECOND_NS / 2,
    };
    let outcome = load::run(&load).unwrap();
    (outcome, sink.stop().unwrap())
}

/// Stamps that lie within the stall.
fn meant_during_the_stall(witness: &Witness) -> u64 {
    let (began, ended) = witness.stalled.unwrap();
    witness
        .answered
        .iter()
        .filter(|(stamp, _)| (began..ended).contains(stamp))
        .count() as u64
}

#[test]
fn an_open_loop_reports_a_planted_stall_at_its_true_percentile() {
    let (outcome, witness) = measured(Pace::Open { rate: RATE }, -1, Wait::Spin);
    assert_eq!(
        outcome.latency.len(),
        3 * RATE / 2,
        "each request that was due has been measured"
    );
    assert_eq!(outcome.unanswered, 0);
    // Fifty requests were due while nothing moved: one each millisecond, the schedule did not stop.
    assert!(meant_during_the_stall(&witness) >= 49);
    // Half of them waited for at least 25 ms; none of that is lost.
    assert!(outcome.latency.count_from(25_000_000) >= 24);
    assert!(
        outcome.latency.us(0.99) > 30_000.0,
        "15 of 1500 requests are beyond p99"
    );
    // Against the truth: what the sink knows of the same requests.
    let mut truth = Times::default();
    witness
        .answered
        .iter()
        .for_each(|(stamp, answered)| truth.record(answered - stamp));
    for part in [0.5, 0.9, 0.99, 0.999, 1.0] {
        assert!(
            outcome.latency.ns(part) >= truth.ns(part),
            "an answer cannot come before it was given"
        );
    }
}

#[test]
fn a_closed_loop_would_have_hidden_it() {
    let (outcome, witness) = measured(Pace::Closed { depth: 1 }, -1, Wait::Park);
    assert!(
        meant_during_the_stall(&witness) <= 1,
        "it sends nothing while it waits"
    );
    assert!(outcome.latency.max_us() >= 50_000.0);
    assert!(
        outcome.latency.len() > 100,
        "one request of all these is not in its p99"
    );
}

#[test]
fn a_schedule_is_kept_when_nothing_is_answered() {
    let (outcome, witness) = measured(Pace::Open { rate: RATE }, 0, Wait::Park);
    assert_eq!(outcome.send_delay.len(), 3 * RATE / 2);
    assert_eq!(
        witness.answered.len() as u64,
        3 * RATE / 2,
        "acks=0 sends all the same"
    );
    assert_eq!(outcome.latency.len(), 0);
}

#[test]
fn a_closed_loop_without_answers_is_refused() {
    let load = Load {
        addr: SocketAddr::from(([127, 0, 0, 1], 1)),
        topic: String::new(),
        partitions: 1,
        acks: 0,
        shape: Shape {
            value_bytes: 100,
            key_bytes: 0,
            records: 1,
            batches: 1,
        },
        connections: 1,
        pace: Pace::Closed { depth: 1 },
        wait: Wait::Park,
        readers: Vec::new(),
        cpus: vec![0],
        warm_up_ns: 0,
        lasting_ns: 0,
    };
    assert!(load::run(&load).unwrap_err().to_string().contains("acks=0"));
}

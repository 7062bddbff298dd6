//! What the broker tells of itself when it is asked, and at its end.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::fs;
use std::io::{Read, Write};

use common::clients::{Admin, Producer, Record};
use common::{Options, counted, eventually, scratch};
use rustix::process::{Signal, kill_process};

#[test]
fn counters_are_told_at_sigusr1_and_at_the_stop() {
    let dir = scratch();
    let log = dir.path().join("log");
    let read = || fs::read_to_string(&log).expect("a log");
    let options = Options::new(&dir.path().join("data")).log(&log, "tailwater::counters=info");
    let broker = options.set("max.connections", "40").start();
    Admin::new(&broker.bootstrap()).create("counted", 2, &[]);
    let producer = Producer::new(&broker.bootstrap(), &[]);
    producer.send("counted", 0, 0, &Record::numbered(0));
    producer.outcomes(1)[&0].expect("acknowledged");

    // An announced length that no request may have.
    let mut mad = broker.connect();
    mad.write_all(&[0x7f, 0xff, 0xff, 0xff]).expect("sent");
    assert_eq!(mad.read(&mut [0]).expect("closed"), 0);

    kill_process(broker.pid(), Signal::USR1).expect("it runs");
    let closed = eventually("the counters", || counted(&read(), "closed_bad_request"));
    assert_eq!(closed, 1);
    assert_eq!(
        counted(&read(), "refused_connections"),
        None,
        "zeros are not shown"
    );
    let commits = counted(&read(), "commits").expect("some");
    assert!(commits >= 1 && counted(&read(), "flushes").expect("some") >= 1);

    // More connections than may be.
    let many: Vec<_> = (0..50).map(|_| broker.connect()).collect();
    let of_stop = || counted(&read(), "refused_connections");
    eventually("refusals", || {
        kill_process(broker.pid(), Signal::USR1).expect("it runs");
        of_stop().filter(|refused| *refused >= 10)
    });
    drop(many);
    fs::write(&log, "").expect("emptied");
    drop(producer);
    broker.stop_cleanly();
    assert!(of_stop().is_some_and(|refused| refused >= 10), "{}", read());
    assert!(counted(&read(), "commits").expect("some") >= commits);
}

//! What the broker tells of itself when it is asked, and at its end.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

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

/// The body of an answer of 200 to a GET of the operators' listener.
fn told(at: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(at).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 "), "{path}: {head}");
    body.to_owned()
}

/// The sum of a metric's samples whose labels hold `with`.
fn sum(metrics: &str, name: &str, with: &str) -> f64 {
    let series = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with('{') && rest.contains(with))
    });
    let values = series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

#[test]
fn operators_are_told_over_http_what_was_counted_and_where_the_time_went() {
    let dir = scratch();
    let options = Options::new(&dir.path().join("data"));
    let broker = options.flag("--admin", "127.0.0.1:0").start();
    let line = broker
        .block
        .lines()
        .find_map(|line| line.split_once("http://"));
    let at = line.expect("the address is told").1.to_owned();
    assert_eq!(told(&at, "/readyz"), "ready\n");

    Admin::new(&broker.bootstrap()).create("told", 4, &[]);
    let producer = Producer::new(&broker.bootstrap(), &[]);
    for (partition, number) in (0..4).zip(0..) {
        producer.send("told", partition, number, &Record::numbered(number));
    }
    for (number, outcome) in producer.outcomes(4) {
        outcome.unwrap_or_else(|error| panic!("{number}: {error}"));
    }

    // A request is recorded just after its answer has left.
    let metrics = eventually("the produces", || {
        let metrics = told(&at, "/metrics");
        let name = "tailwater_request_seconds_count";
        (sum(&metrics, name, "api=\"Produce\"") >= 1.0).then_some(metrics)
    });
    assert!(sum(&metrics, "tailwater_commits_total", "shard") >= 1.0);
    assert!(sum(&metrics, "tailwater_shard_work_seconds_total", "shard") > 0.0);
    for stage in ["append", "queue", "write", "sync", "wake", "reply"] {
        let name = "tailwater_request_stage_seconds_sum";
        let took = sum(
            &metrics,
            name,
            &format!("api=\"Produce\",stage=\"{stage}\""),
        );
        assert!(took > 0.0, "{stage}:\n{metrics}");
    }
    let latency = told(&at, "/v1/latency?api=Produce&percentile=100");
    for word in ["\"sync\": ", "\"percentile\": 100", "\"api\": \"Produce\""] {
        assert!(latency.contains(word), "{word}: {latency}");
    }
    drop(producer);
    broker.stop_cleanly();
    assert!(TcpStream::connect(&at).is_err(), "it ends with the broker");
}

#[test]
fn nobody_listens_for_operators_unless_told_to() {
    let dir = scratch();
    let broker = Options::new(&dir.path().join("data")).start();
    assert!(!broker.block.contains("http://"), "{}", broker.block);
    let mut threads = fs::read_dir(format!("/proc/{}/task", broker.pid().as_raw_nonzero()))
        .expect("threads")
        .map(|task| fs::read_to_string(task.expect("a thread").path().join("comm")));
    assert!(!threads.any(|name| name.is_ok_and(|name| name.trim() == "admin")));
    broker.stop_cleanly();
}

//! Over real sockets; the figures are those of a simulated process.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use tailwater_shards::sim::Simulation;
use tailwater_shards::{
    Counter, Figures, Stage, StageTimes, count, count_many, figures, record_latency,
};
use tailwater_wire::ApiKey;

use crate::limits::{
    CONNECTION_MAX, CONNECTIONS_MAX, HEADERS_MAX, PERCENTILES_MAX, REQUEST_BYTES_MAX,
};
use crate::{Admin, Status};

const PRODUCE: usize = ApiKey::Produce as usize;

/// Two shards: a hundred produces of 102 us on the first, one of 50 ms on the second.
fn figures_of_two() -> Figures {
    let mut simulation = Simulation::new(1);
    let seen = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&seen);
    simulation.boot(2, move |me| {
        *slot.borrow_mut() = Some(figures());
        async move {
            let mut times = StageTimes::default();
            if me.0 == 0 {
                times.add(Stage::Check, 2_000);
                times.add(Stage::Sync, 100_000);
                (0..100).for_each(|_| record_latency(PRODUCE, &times));
                count_many(Counter::Commits, 7);
            } else {
                times.add(Stage::Sync, 50_000_000);
                record_latency(PRODUCE, &times);
                count(Counter::ClosedBadRequest);
            }
        }
    });
    simulation.run(tailwater_shards::sleep(Duration::from_secs(1)));
    let figures = seen.borrow_mut().take();
    figures.expect("it was started")
}

fn started() -> Admin {
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    Admin::start(any, "1.2.3").expect("a port is free")
}

fn serving() -> (Admin, Status) {
    let admin = started();
    let status = admin.status();
    status.serves(figures_of_two());
    (admin, status)
}

fn connected(admin: &Admin) -> TcpStream {
    let stream = TcpStream::connect(admin.addr()).expect("it listens");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("a socket");
    stream
}

/// All that comes until the connection ends. A reset ends it too.
fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8(all).expect("text")
}

/// The status and body of an answer.
fn get(admin: &Admin, path: &str) -> (u16, String) {
    let mut stream = connected(admin);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    taken_apart(&rest(stream))
}

fn taken_apart(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

#[test]
fn it_is_ready_while_clients_are_served_and_healthy_as_long_as_it_answers() {
    let admin = started();
    assert_eq!(get(&admin, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(&admin, "/readyz"), (503, "starting\n".to_owned()));
    assert_eq!(get(&admin, "/v1/latency").0, 503);
    let (code, early) = get(&admin, "/metrics");
    assert_eq!(code, 200);
    assert!(early.contains("tailwater_ready 0\n"), "{early}");
    let status = admin.status();
    status.serves(figures_of_two());
    assert_eq!(get(&admin, "/readyz"), (200, "ready\n".to_owned()));
    status.stops();
    assert_eq!(get(&admin, "/readyz"), (503, "stopping\n".to_owned()));
    assert_eq!(get(&admin, "/healthz").0, 200);
    assert_eq!(get(&admin, "/nothing").0, 404);
}

#[test]
fn metrics_tell_counters_and_histograms_of_each_shard() {
    let (admin, _status) = serving();
    let (code, text) = get(&admin, "/metrics");
    assert_eq!(code, 200);
    for line in [
        "tailwater_info{version=\"1.2.3\"} 1",
        "tailwater_ready 1",
        "tailwater_commits_total{shard=\"0\"} 7",
        "tailwater_commits_total{shard=\"1\"} 0",
        "tailwater_closed_bad_request_total{shard=\"1\"} 1",
        "# TYPE tailwater_request_seconds histogram",
        "tailwater_request_seconds_bucket{api=\"Produce\",shard=\"0\",le=\"0.000065536\"} 0",
        "tailwater_request_seconds_bucket{api=\"Produce\",shard=\"0\",le=\"0.000131072\"} 100",
        "tailwater_request_seconds_count{api=\"Produce\",shard=\"1\"} 1",
        "tailwater_request_seconds_sum{api=\"Produce\",shard=\"1\"} 0.05",
        "tailwater_request_stage_seconds_count{api=\"Produce\",stage=\"check\",shard=\"0\"} 100",
        "tailwater_shard_utilisation_ratio{shard=\"1\"} 0",
        "tailwater_shard_work_seconds_total{shard=\"0\"} 0",
    ] {
        let found = text.lines().any(|told| told == line);
        assert!(found, "{line}\nis not in\n{text}");
    }
    assert!(!text.contains("api=\"Fetch\""), "nobody fetched");
    assert!(!text.contains("stage=\"mesh\""), "nothing crossed");
    assert_well_formed(&text);
}

/// Every sample has a type, no series stands twice, and no bucket holds less than the one before.
fn assert_well_formed(text: &str) {
    let mut typed: Vec<&str> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut before = ("", 0);
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed.push(rest.split(' ').next().expect("a name"));
            continue;
        }
        if line.starts_with('#') {
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        value.parse::<f64>().expect("a number");
        assert!(seen.insert(series), "{series} stands twice");
        let name = series.split('{').next().expect("a name");
        assert!(typed.iter().any(|known| name.starts_with(known)), "{name}");
        if let Some((of, _)) = series.split_once(",le=") {
            let count: u64 = value.parse().expect("a count");
            assert!(before.0 != of || before.1 <= count, "{line}");
            before = (of, count);
        }
    }
}

#[test]
fn a_percentile_is_told_with_its_stages() {
    let (admin, _status) = serving();
    let asked = |query: &str| {
        let (code, body) = get(&admin, &format!("/v1/latency{query}"));
        assert_eq!(code, 200, "{body}");
        serde_json::from_str::<serde_json::Value>(&body).expect("JSON")
    };
    let both = asked("?api=Produce&percentile=50,99.9");
    assert_eq!(both["apis"][0]["requests"], 101);
    let rows = &both["apis"][0]["percentiles"];
    assert_eq!(rows[0]["stages"]["check"], 2_000);
    assert_eq!(rows[0]["stages"]["sync"], 100_000);
    assert_eq!(rows[1]["percentile"], 99.9);
    assert_eq!(rows[1]["stages"]["sync"], 50_000_000);
    assert_eq!(rows[1]["requests"], 1);
    let first = asked("?shard=0");
    assert_eq!(first["apis"][0]["requests"], 100);
    assert_eq!(
        first["apis"][0]["percentiles"].as_array().map(Vec::len),
        Some(3)
    );
    assert_eq!(
        asked("?api=Fetch")["apis"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn what_cannot_be_asked_is_refused_in_a_sentence() {
    let (admin, _status) = serving();
    let many = vec!["1"; PERCENTILES_MAX + 1].join(",");
    for query in [
        "api=Prduce".to_owned(),
        "percentile=101".to_owned(),
        "percentile=nan".to_owned(),
        "percentile=".to_owned(),
        format!("percentile={many}"),
        "shard=2".to_owned(),
        "shard=-1".to_owned(),
        "percentil=50".to_owned(),
    ] {
        let (code, body) = get(&admin, &format!("/v1/latency?{query}"));
        assert_eq!(code, 400, "{query}: {body}");
        assert_eq!(body.lines().count(), 1, "{body}");
    }
}

#[test]
fn a_request_that_is_too_large_is_refused_before_it_is_all_there() {
    let admin = started();
    let mut long = connected(&admin);
    let head = format!("GET /{}", "x".repeat(4 * REQUEST_BYTES_MAX));
    // The connection may end before all of it is taken.
    let _taken = long.write_all(head.as_bytes());
    let answer = rest(long);
    assert!(answer.is_empty() || !answer.contains(" 200 "), "{answer}");
    let mut many = connected(&admin);
    let headers: String = (0..=HEADERS_MAX).map(|n| format!("a{n}: b\r\n")).collect();
    let head = format!("GET /healthz HTTP/1.1\r\n{headers}\r\n");
    many.write_all(head.as_bytes()).expect("it reads");
    assert_eq!(taken_apart(&rest(many)).0, 431);
    assert_eq!(get(&admin, "/healthz").0, 200);
}

#[test]
fn a_body_is_read_by_nobody_and_ends_its_connection() {
    let admin = started();
    let mut stream = connected(&admin);
    let head = "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it reads");
    assert_eq!(taken_apart(&rest(stream)).0, 200);
}

#[test]
fn silent_connections_make_way_for_whoever_asks_and_end_soon_by_themselves() {
    let admin = started();
    let began = std::time::Instant::now();
    let silent: Vec<_> = (0..4 * CONNECTIONS_MAX)
        .map(|_| connected(&admin))
        .collect();
    for _ in 0..8 {
        assert_eq!(get(&admin, "/healthz").0, 200);
    }
    assert!(
        began.elapsed() < CONNECTION_MAX,
        "nobody's end was waited for"
    );
    for stream in silent {
        let told = rest(stream);
        assert!(!told.contains(" 200 "), "{told}");
    }
}

#[test]
fn an_address_that_is_taken_is_refused_and_one_given_up_is_free() {
    let admin = started();
    let addr = admin.addr();
    let refused = Admin::start(addr, "1.2.3").expect_err("it is taken");
    assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    drop(admin);
    assert!(TcpStream::connect(addr).is_err(), "nobody listens");
}

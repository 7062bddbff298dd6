//! Bytes that no client sends: each gets Kafka's error or a closed connection, costs no memory
//! to speak of, and leaves everybody else served.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpStream;

use common::clients::{Admin, EPOCH_MS, Producer, Record, consumer};
use common::raw::{self, Numbers};
use common::{Broker, DEADLINE, Options, eventually, scratch};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tailwater_record::{Codec, Compression};

const MIB: u64 = 1 << 20;

/// A well-behaved client that keeps its connections over everything that others do.
struct Witness {
    producer: Producer,
    consumer: BaseConsumer,
    seen: usize,
}

impl Witness {
    fn new(broker: &Broker) -> Self {
        let bootstrap = broker.bootstrap();
        Admin::new(&bootstrap).create("witness", 2, &[]);
        let consumer = consumer(&bootstrap, &[]);
        let mut from = TopicPartitionList::new();
        for partition in 0..2 {
            from.add_partition_offset("witness", partition, Offset::Beginning)
                .expect("an offset");
        }
        consumer.assign(&from).expect("assigned");
        let mut witness = Self {
            producer: Producer::new(&bootstrap, &[]),
            consumer,
            seen: 0,
        };
        witness.is_served();
        witness
    }

    /// A record for each shard is acknowledged and read back.
    fn is_served(&mut self) {
        for partition in 0..2 {
            let record = Record::numbered(self.seen);
            self.producer.send("witness", partition, 0, &record);
            self.producer.outcomes(1)[&0].expect("acknowledged");
            let message = self
                .consumer
                .poll(DEADLINE)
                .expect("the record")
                .expect("readable");
            assert_eq!(Record::of(&message), record);
        }
        self.seen += 1;
    }
}

/// A broker, its witness, and what it weighed before the test began.
struct Target {
    _dir: tempfile::TempDir,
    broker: Broker,
    witness: Witness,
    resident_before: u64,
}

impl Target {
    fn new() -> Self {
        Self::with(|options| options)
    }

    fn with(change: impl FnOnce(Options) -> Options) -> Self {
        let dir = scratch();
        let broker = change(Options::new(dir.path())).start();
        let witness = Witness::new(&broker);
        let resident_before = broker.resident_bytes();
        Self {
            _dir: dir,
            broker,
            witness,
            resident_before,
        }
    }

    /// Everybody else is served, and the broker has not grown by more than `bytes`.
    fn stands(&mut self, grown_max: u64) {
        self.witness.is_served();
        let grown = self
            .broker
            .resident_bytes()
            .saturating_sub(self.resident_before);
        assert!(grown <= grown_max, "grew by {} KiB", grown / 1024);
    }

    /// Sends bytes on a connection of their own and reads all that comes until it is closed.
    fn answer_to(&self, bytes: &[u8]) -> Vec<u8> {
        raw::send_and_finish(self.broker.connect(), bytes)
    }

    /// What this broker advertises.
    fn apis(&self) -> Vec<(i16, i16, i16)> {
        let asked = raw::request(raw::API_VERSIONS, 0, 1, &[]);
        let answer = raw::call(&mut self.broker.connect(), &asked).expect("an answer");
        let (error, apis) = raw::api_versions(&answer);
        assert_eq!(error, 0);
        assert!(apis.len() > 10, "{apis:?}");
        apis
    }
}

#[test]
fn lengths_that_no_request_has_close_the_connection() {
    let mut target = Target::new();
    let too_long = 100 * 1024 * 1024 + 1;
    for length in [-1, i32::MIN, i32::MIN + 1, i32::MAX, too_long, 0, 1, 7] {
        // The connection stays open from this side: the broker has to close it.
        let mut stream = target.broker.connect();
        stream.write_all(&length.to_be_bytes()).expect("sent");
        stream.write_all(&[0; 7]).expect("sent");
        assert_eq!(raw::read_to_close(&mut stream), b"", "length {length}");
    }
    target.stands(8 * MIB);
}

#[test]
fn unknown_apis_and_versions_are_told_apart() {
    let mut target = Target::new();
    for (api, version) in [
        (999, 0),
        (-1, 0),
        (i16::MAX, i16::MAX),
        (raw::METADATA, 99),
        (raw::METADATA, -1),
    ] {
        let answer = target.answer_to(&raw::request(api, version, 1, &[0; 20]));
        assert_eq!(answer, b"", "api {api} version {version}");
    }
    for version in [99, i16::MAX, -1] {
        let mut stream = target.broker.connect();
        let asked = raw::request(raw::API_VERSIONS, version, 77, b"\x00anything");
        let answer = raw::call(&mut stream, &asked).expect("an answer");
        let (error, apis) = raw::api_versions(&answer);
        assert_eq!(
            (raw::correlation(&answer), error),
            (77, raw::UNSUPPORTED_VERSION)
        );
        // The client learns what to ask instead, and may do so on the same connection.
        assert!(
            apis.iter().any(|(api, ..)| *api == raw::API_VERSIONS),
            "{apis:?}"
        );
        let again = raw::call(&mut stream, &raw::request(raw::API_VERSIONS, 0, 78, &[]));
        assert_eq!(raw::api_versions(&again.expect("an answer")).0, 0);
    }
    target.stands(8 * MIB);
}

#[test]
fn four_bytes_of_metadata_do_not_end_the_process() {
    let mut target = Target::new();
    for version in 0..=8 {
        let answer = target.answer_to(&raw::request(
            raw::METADATA,
            version,
            1,
            &i32::MAX.to_be_bytes(),
        ));
        assert_eq!(answer, b"", "version {version}");
    }
    for version in 9..=13 {
        let mut bytes = raw::header(raw::METADATA, version, 1, true);
        bytes.extend([0xff, 0xff, 0xff, 0xff, 0x07]);
        assert_eq!(
            target.answer_to(&raw::frame(&bytes)),
            b"",
            "version {version}"
        );
    }
    target.stands(8 * MIB);
}

/// Every API and version, each with a header of either kind.
fn each_version(apis: &[(i16, i16, i16)]) -> impl Iterator<Item = (i16, i16, Vec<u8>)> {
    let versions = apis
        .iter()
        .flat_map(|(api, least, most)| (*least..=*most).map(|v| (*api, v)));
    versions.flat_map(|(api, version)| {
        [false, true].map(|flexible| (api, version, raw::header(api, version, 1, flexible)))
    })
}

#[test]
fn bodies_cut_short_are_answered_or_closed_at_every_version() {
    let mut target = Target::new();
    for (_, _, header) in each_version(&target.apis()) {
        for body in [
            &b""[..],
            &[0],
            &[0, 0, 0],
            &[0; 6],
            &[0, 1, b't', 0, 0, 0, 1, 0],
        ] {
            let mut bytes = header.clone();
            bytes.extend(body);
            target.answer_to(&raw::frame(&bytes));
        }
    }
    // Headers cut short, too.
    for end in 0..16 {
        let header = raw::header(raw::METADATA, 9, 1, true);
        target.answer_to(&raw::frame(&header[..end.min(header.len())]));
    }
    target.stands(16 * MIB);
}

#[test]
fn counts_larger_than_their_frame_cost_nothing_at_every_version() {
    let mut target = Target::new();
    let large = [
        i32::MAX.to_be_bytes().repeat(16),
        vec![0xff; 64],
        [0xff, 0xff, 0xff, 0xff, 0x0f].repeat(12),
        [&[0; 8][..], &i32::MAX.to_be_bytes().repeat(14)].concat(),
        [0x7f; 200].to_vec(),
    ];
    for (_, _, header) in each_version(&target.apis()) {
        for body in &large {
            let mut bytes = header.clone();
            bytes.extend(body);
            target.answer_to(&raw::frame(&bytes));
        }
    }
    target.stands(16 * MIB);
}

#[test]
fn random_bytes_do_no_harm() {
    let mut target = Target::new();
    let apis = target.apis();
    let mut numbers = Numbers(0x7a11_3a7e);
    for round in 0..1_500 {
        let count = usize::try_from(numbers.below(300)).expect("small");
        let mut bytes = match round % 3 {
            0 => Vec::new(),
            _ => {
                let at = usize::try_from(numbers.below(apis.len() as u64)).expect("small");
                let (api, least, most) = apis[at];
                let span = u64::try_from(most - least + 1).expect("a range");
                let version = least + i16::try_from(numbers.below(span)).expect("small");
                raw::header(api, version, 1, round % 3 == 1)
            }
        };
        bytes.extend(numbers.bytes(count));
        // One in four without even a length of its own.
        let bytes = if round % 4 == 0 {
            bytes
        } else {
            raw::frame(&bytes)
        };
        target.answer_to(&bytes);
    }
    target.stands(32 * MIB);
}

#[test]
fn half_a_frame_costs_what_was_sent_of_it() {
    let mut target = Target::new();
    let half = |broker: &Broker, announced: usize, sent: usize| {
        let mut stream = broker.connect();
        stream
            .write_all(&i32::try_from(announced).expect("fits").to_be_bytes())
            .expect("sent");
        stream.write_all(&vec![0; sent]).expect("sent");
        stream
    };
    // Six gigabytes announced at once.
    let open: Vec<TcpStream> = (0..64)
        .map(|_| half(&target.broker, 100_000_000, 1_000))
        .collect();
    target.stands(8 * MIB);
    drop(open);
    for (announced, sent) in [(1_000, 500), (100_000, 99_999), (4, 3), (50_000_000, 0)] {
        drop(half(&target.broker, announced, sent));
    }
    target.stands(8 * MIB);
}

#[test]
fn a_thousand_connections_leave_nothing_behind() {
    let mut target = Target::new();
    let before = target.broker.descriptors();
    let asked = raw::request(raw::API_VERSIONS, 0, 1, &[]);
    let mut open = Vec::new();
    for number in 0..1_000 {
        let mut stream = target.broker.connect();
        match number % 4 {
            0 => {}
            1 => drop(raw::call(&mut stream, &asked).expect("an answer")),
            2 => stream.write_all(&asked[..5]).expect("sent"),
            _ => open.push(stream),
        }
    }
    for stream in &mut open {
        raw::call(stream, &asked).expect("an answer");
    }
    assert!(target.broker.descriptors() >= before + open.len());
    drop(open);
    eventually("every descriptor is closed", || {
        (target.broker.descriptors() <= before + 2).then_some(())
    });
    target.stands(24 * MIB);
}

#[test]
fn readers_that_never_read_are_bounded() {
    let mut target = Target::with(|options| options.flag("--memory", "64MiB"));
    let bootstrap = target.broker.bootstrap();
    Admin::new(&bootstrap).create("large", 2, &[]);
    let settings = [
        ("message.max.bytes", "2000000"),
        ("compression.type", "none"),
    ];
    let large: Vec<_> = (0..40)
        .map(|n| Record {
            value: Some(Numbers(n + 1).bytes(900_000)),
            timestamp: EPOCH_MS,
            ..Record::default()
        })
        .collect();
    Producer::new(&bootstrap, &settings).send_all("large", 2, &large);
    // Some 70 GB are asked for.
    let ask = raw::fetch("large", 0, 0, 0).repeat(50);
    let ask_other = raw::fetch("large", 1, 0, 0).repeat(50);
    let mut slow = Vec::new();
    for number in 0..40 {
        let mut stream = target.broker.connect();
        stream
            .write_all(if number % 2 == 0 { &ask } else { &ask_other })
            .expect("sent");
        slow.push(stream);
        target.stands(200 * MIB);
    }
    for _ in 0..20 {
        target.stands(200 * MIB);
    }
    // They find everything in order when they read at last.
    let answer = raw::read_frame(&mut slow[0]).expect("an answer");
    assert_eq!(raw::fetch_error(&answer, "large"), 0);
    drop(slow);
    target.stands(200 * MIB);
}

#[test]
fn a_compression_bomb_gets_an_error_and_no_memory() {
    let mut target = Target::new();
    Admin::new(&target.broker.bootstrap()).create("t", 2, &[]);
    // One record whose value is 256 MiB of zeros, and zeros that are no records at all.
    let value = 256usize << 20;
    let record = zigzag_record(value);
    let zeros = vec![0; value];
    for codec in [Codec::Gzip, Codec::Zstd] {
        for payload in [&record, &zeros] {
            let batch = raw::batch_of_payload(Compression::of(codec), payload);
            assert!(
                batch.len() < 1_000_000,
                "it fits a request: {}",
                batch.len()
            );
            let mut stream = target.broker.connect();
            let asked = raw::produce("t", 0, -1, &batch);
            let answer = raw::call(&mut stream, &asked).expect("an answer");
            assert_ne!(raw::produce_error(&answer, "t"), 0, "{}", codec.name());
        }
        target.stands(24 * MIB);
    }
}

/// A record of the v2 format with a value of that many zeros.
fn zigzag_record(value: usize) -> Vec<u8> {
    // Attributes, timestamp delta, offset delta, no key.
    let mut body = vec![0, 0, 0, 1];
    varint(&mut body, value);
    body.resize(body.len() + value, 0);
    body.push(0);
    let mut record = Vec::with_capacity(body.len() + 10);
    varint(&mut record, body.len());
    record.extend(body);
    record
}

fn varint(into: &mut Vec<u8>, number: usize) {
    let mut left = number << 1;
    while left >= 0x80 {
        into.push(left as u8 | 0x80);
        left >>= 7;
    }
    into.push(left as u8);
}

#[test]
fn batches_that_lie_are_refused_by_kafkas_codes() {
    let mut target = Target::new();
    Admin::new(&target.broker.bootstrap()).create("t", 1, &[]);
    const CORRUPT_MESSAGE: i16 = 2;
    const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    const MESSAGE_TOO_LARGE: i16 = 10;
    const INVALID_RECORD: i16 = 87;
    let good = raw::batch(b"a value");
    let with = |at: usize, byte: u8| {
        let mut batch = good.clone();
        batch[at] = byte;
        batch
    };
    let garbage = raw::batch_of_payload(Compression::of(Codec::None), &[0xff; 40]);
    let large = raw::batch(&vec![1; 1_100_000]);
    let cases: BTreeMap<&str, (&str, i32, Vec<u8>, i16)> = BTreeMap::from([
        ("a good one", ("t", 0, good.clone(), 0)),
        (
            "a wrong checksum",
            ("t", 0, with(good.len() - 2, b'x'), CORRUPT_MESSAGE),
        ),
        ("magic 1", ("t", 0, with(16, 1), INVALID_RECORD)),
        ("magic 9", ("t", 0, with(16, 9), CORRUPT_MESSAGE)),
        (
            "cut short",
            ("t", 0, good[..good.len() - 3].to_vec(), INVALID_RECORD),
        ),
        (
            "garbage under a right checksum",
            ("t", 0, garbage, INVALID_RECORD),
        ),
        ("two batches", ("t", 0, good.repeat(2), INVALID_RECORD)),
        ("a large one", ("t", 0, large, MESSAGE_TOO_LARGE)),
        (
            "no such partition",
            ("t", 5, good.clone(), UNKNOWN_TOPIC_OR_PARTITION),
        ),
        (
            "no partition at all",
            ("t", -1, good.clone(), UNKNOWN_TOPIC_OR_PARTITION),
        ),
    ]);
    let mut stream = target.broker.connect();
    for (what, (topic, partition, batch, expected)) in cases {
        let answer = raw::call(&mut stream, &raw::produce(topic, partition, -1, &batch));
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(raw::produce_error(&answer, topic), expected, "{what}");
    }
    const OFFSET_OUT_OF_RANGE: i16 = 1;
    for offset in [-5, 2, i64::MAX] {
        let answer =
            raw::call(&mut stream, &raw::fetch("t", 0, offset, 60_000)).expect("an answer");
        assert_eq!(
            raw::fetch_error(&answer, "t"),
            OFFSET_OUT_OF_RANGE,
            "offset {offset}"
        );
    }
    let answer = raw::call(&mut stream, &raw::fetch("t", 7, 0, 60_000)).expect("an answer");
    assert_eq!(raw::fetch_error(&answer, "t"), UNKNOWN_TOPIC_OR_PARTITION);
    target.stands(16 * MIB);
}

#[test]
fn a_failed_request_without_an_answer_closes_the_connection() {
    let mut target = Target::new();
    Admin::new(&target.broker.bootstrap()).create("t", 1, &[]);
    let mut bad = raw::batch(b"a value");
    *bad.last_mut().expect("bytes") ^= 1;
    // The connection stays open from this side.
    let mut stream = target.broker.connect();
    stream
        .write_all(&raw::produce("t", 0, 0, &bad))
        .expect("sent");
    assert_eq!(raw::read_to_close(&mut stream), b"");
    // A good one is not answered, and what comes after it is.
    let mut stream = target.broker.connect();
    stream
        .write_all(&raw::produce("t", 0, 0, &raw::batch(b"a value")))
        .expect("sent");
    let answer = raw::call(&mut stream, &raw::request(raw::API_VERSIONS, 0, 9, &[]));
    assert_eq!(raw::correlation(&answer.expect("an answer")), 9);
    target.stands(8 * MIB);
}

/// Whether the broker serves a connection, rather than close it at once.
fn is_let_in(broker: &Broker) -> Option<TcpStream> {
    let mut stream = broker.connect();
    let answer = raw::call(&mut stream, &raw::request(raw::API_VERSIONS, 0, 1, &[]));
    answer.is_ok().then_some(stream)
}

#[test]
fn connections_are_limited_in_all_and_for_each_address() {
    for key in ["max.connections", "max.connections.per.ip"] {
        let dir = scratch();
        let broker = Options::new(dir.path()).set(key, "3").start();
        let mut open: Vec<_> = (0..3)
            .map(|_| is_let_in(&broker).expect("let in"))
            .collect();
        for _ in 0..5 {
            assert!(is_let_in(&broker).is_none(), "{key}: one too many");
        }
        open.pop();
        open.push(eventually("the next is let in", || is_let_in(&broker)));
        assert!(is_let_in(&broker).is_none(), "{key}: one too many again");
    }
}

#[test]
fn an_idle_connection_is_closed_and_a_waiting_fetch_is_not_idle() {
    let dir = scratch();
    let broker = Options::new(dir.path())
        .set("connections.max.idle.ms", "300")
        .start();
    Admin::new(&broker.bootstrap()).create("t", 1, &[]);
    let mut waiting = broker.connect();
    waiting
        .write_all(&raw::fetch("t", 0, 0, 250_000))
        .expect("sent");
    let mut half = broker.connect();
    half.write_all(&[0, 0]).expect("sent");
    for mut idle in [broker.connect(), half] {
        assert_eq!(raw::read_to_close(&mut idle), b"");
    }
    // The fetch began to wait before those connections were made, and outlives them.
    let mut stream = broker.connect();
    let asked = raw::produce("t", 0, -1, &raw::batch(b"a value"));
    raw::call(&mut stream, &asked).expect("acknowledged");
    let answer = raw::read_frame(&mut waiting).expect("the fetch is answered");
    assert_eq!(raw::fetch_error(&answer, "t"), 0);
}

#[test]
fn the_largest_request_is_configured() {
    let dir = scratch();
    let broker = Options::new(dir.path())
        .set("socket.request.max.bytes", "10000")
        .start();
    let of = |bytes: usize| {
        let header = raw::header(raw::API_VERSIONS, 0, 1, false).len();
        // Bytes behind a body are ignored, as by Kafka.
        raw::request(raw::API_VERSIONS, 99, 1, &vec![0; bytes - header])
    };
    let mut stream = broker.connect();
    let answer = raw::call(&mut stream, &of(10_000)).expect("the largest is answered");
    assert_eq!(raw::api_versions(&answer).0, raw::UNSUPPORTED_VERSION);
    let mut stream = broker.connect();
    let _ = stream.write_all(&of(10_001));
    assert_eq!(raw::read_to_close(&mut stream), b"");
}

#[test]
fn each_connection_closed_for_what_it_sent_is_one_line_at_debug() {
    let dir = scratch();
    let log = dir.path().join("log");
    let options = Options::new(&dir.path().join("data")).log(&log, "debug");
    let broker = options.start();
    let bad = [
        (-1i32).to_be_bytes().to_vec(),
        raw::request(999, 0, 1, &[]),
        raw::request(raw::METADATA, 1, 1, &i32::MAX.to_be_bytes()),
        vec![0, 0, 1],
    ];
    let good = [raw::request(raw::API_VERSIONS, 0, 1, &[]), Vec::new()];
    let port_of = |bytes: &Vec<u8>| {
        let stream = broker.connect();
        let port = stream.local_addr().expect("an address").port();
        raw::send_and_finish(stream, bytes);
        port
    };
    let good_ports: Vec<_> = good.iter().cycle().take(10).map(port_of).collect();
    let bad_ports: Vec<_> = bad.iter().cycle().take(20).map(port_of).collect();
    let lines_of = |port: &u16| {
        let said = fs::read_to_string(&log).expect("a log");
        let of_it = format!("127.0.0.1:{port}");
        said.lines()
            .filter(|line| line.contains(&of_it) && line.contains("DEBUG"))
            .count()
    };
    for port in &bad_ports {
        eventually("its line", || (lines_of(port) > 0).then_some(()));
    }
    broker.stop_cleanly();
    assert_eq!(bad_ports.iter().map(lines_of).collect::<Vec<_>>(), [1; 20]);
    assert_eq!(good_ports.iter().map(lines_of).collect::<Vec<_>>(), [0; 10]);
    let said = fs::read_to_string(&log).expect("a log");
    for loud in [" WARN ", "ERROR", "panicked", "\u{1b}"] {
        assert!(!said.contains(loud), "{loud:?} in {said}");
    }
}

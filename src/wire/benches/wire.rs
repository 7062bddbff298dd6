//! Nanoseconds for what each produce and fetch pays here: `cargo bench -p tailwater-wire`.

#![allow(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]
#![allow(clippy::print_stdout, reason = "a benchmark prints")]
#![allow(clippy::unwrap_used, reason = "a benchmark's own input")]
#![allow(clippy::indexing_slicing, reason = "a benchmark's own input")]

use std::hint::black_box;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use tailwater_wire::fetch::{FetchPartitionResponse, FetchResponse, FetchTopicResponse};
use tailwater_wire::{
    ApiKey, Request, RequestFrame, RequestHeader, Response, StrBytes, TopicRef, encode_response,
};

const ROUNDS: usize = 200_000;

fn measure(name: &str, mut once: impl FnMut()) {
    // The best of five: what the code costs when nothing else runs.
    let best = (0..5).map(|_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| once());
        start.elapsed().as_nanos() / ROUNDS as u128
    });
    println!("{name:<44} {:>6} ns", best.min().unwrap());
}

/// A produce request of version 9: `partitions` of one topic with `record_bytes` each.
fn produce_frame(partitions: usize, record_bytes: usize) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_slice(b"\0\0\0\x09\0\0\0\x07\0\x06client\0\0\xff\xff\0\0\x75\x30\x02\x09my-topic");
    put_varint(&mut frame, partitions + 1);
    for index in 0..partitions {
        frame.put_i32(index as i32);
        put_varint(&mut frame, record_bytes + 1);
        frame.put_bytes(1, record_bytes);
        frame.put_u8(0);
    }
    frame.put_slice(&[0, 0]);
    frame.freeze()
}

fn put_varint(buffer: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

fn produce(partitions: usize, record_bytes: usize) {
    let frame = produce_frame(partitions, record_bytes);
    measure(
        &format!("produce decode, {partitions} x {record_bytes} B"),
        || {
            let decoded = RequestFrame::decode(black_box(frame.clone())).unwrap();
            let request = Request::decode(&decoded.header, decoded.body).unwrap();
            let Request::Produce(request) = &request else {
                panic!("a produce request")
            };
            assert_eq!(request.topics[0].partitions.len(), partitions);
            black_box(request);
        },
    );
}

fn fetch(partitions: i32, record_bytes: usize) {
    let header = RequestHeader {
        api: ApiKey::Fetch,
        version: 12,
        correlation_id: 7,
    };
    let records = Bytes::from(vec![1; record_bytes]);
    measure(
        &format!("fetch encode, {partitions} x {record_bytes} B"),
        || {
            let partitions = (0..partitions).map(|index| FetchPartitionResponse {
                records: vec![records.clone()],
                ..FetchPartitionResponse::refused(index, 0)
            });
            let topic = FetchTopicResponse {
                topic: TopicRef::Name(StrBytes::from_static_str("my-topic")),
                partitions: partitions.collect(),
            };
            let response = FetchResponse {
                topics: vec![topic],
                ..Default::default()
            };
            black_box(encode_response(&header, Response::Fetch(response)).unwrap());
        },
    );
}

fn metadata(names: usize) {
    let mut frame = BytesMut::new();
    frame.put_slice(b"\0\x03\0\x01\0\0\0\x07\0\x06client");
    frame.put_i32(names as i32);
    for index in 0..names {
        let name = format!("topic-{index:04}");
        frame.put_i16(name.len() as i16);
        frame.put_slice(name.as_bytes());
    }
    let frame = frame.freeze();
    measure(&format!("metadata skim and decode, {names} names"), || {
        let decoded = RequestFrame::decode(black_box(frame.clone())).unwrap();
        black_box(Request::decode(&decoded.header, decoded.body).unwrap());
    });
}

fn main() {
    produce(1, 1 << 10);
    produce(1, 1 << 20);
    produce(32, 1 << 10);
    fetch(1, 1 << 10);
    fetch(1, 1 << 20);
    fetch(32, 1 << 10);
    metadata(1);
    metadata(100);
}

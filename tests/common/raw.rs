//! Requests as bytes, for what no client would send.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use tailwater_record::{BatchHeader, Compression, NewRecord, Workspace};

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const METADATA: i16 = 3;
pub const API_VERSIONS: i16 = 18;

pub const UNSUPPORTED_VERSION: i16 = 35;

/// `bytes` with their length before them.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = i32::try_from(bytes.len()).expect("a frame");
    [&length.to_be_bytes(), bytes].concat()
}

/// A request header with a client id; `flexible` ones end with no tagged fields.
pub fn header(api: i16, version: i16, correlation: i32, flexible: bool) -> Vec<u8> {
    let mut bytes = [api.to_be_bytes(), version.to_be_bytes()].concat();
    bytes.extend(correlation.to_be_bytes());
    string(&mut bytes, "raw");
    if flexible {
        bytes.push(0);
    }
    bytes
}

/// A whole request of a version that is not flexible.
pub fn request(api: i16, version: i16, correlation: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(api, version, correlation, false);
    bytes.extend(body);
    frame(&bytes)
}

pub fn string(into: &mut Vec<u8>, text: &str) {
    into.extend(i16::try_from(text.len()).expect("short").to_be_bytes());
    into.extend(text.as_bytes());
}

/// The next frame's bytes, without their length.
pub fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Sends, then reads the answer.
pub fn call(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    read_frame(stream)
}

/// Reads until the broker closes the connection: what it sent before. Panics if it does not.
pub fn read_to_close(stream: &mut TcpStream) -> Vec<u8> {
    let mut sent = Vec::new();
    match stream.read_to_end(&mut sent) {
        Ok(_) => sent,
        // It closed with bytes of ours unread.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => sent,
        Err(error) => panic!("neither closed nor answered: {error}"),
    }
}

/// Sends bytes and nothing more, then reads to the end of the connection.
pub fn send_and_finish(mut stream: TcpStream, bytes: &[u8]) -> Vec<u8> {
    // It may close before it has all of them.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    read_to_close(&mut stream)
}

/// An answer's correlation id.
pub fn correlation(answer: &[u8]) -> i32 {
    i32::from_be_bytes(*answer.first_chunk().expect("a correlation id"))
}

pub fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Error code, and (api, least, greatest version) of an ApiVersions answer of version 0.
pub fn api_versions(answer: &[u8]) -> (i16, Vec<(i16, i16, i16)>) {
    let error = i16_at(answer, 4);
    let of = |at| {
        (
            i16_at(answer, at),
            i16_at(answer, at + 2),
            i16_at(answer, at + 4),
        )
    };
    (error, (10..answer.len()).step_by(6).map(of).collect())
}

/// A Produce request of version 7 with one partition.
pub fn produce(topic: &str, partition: i32, acks: i16, records: &[u8]) -> Vec<u8> {
    let mut body = (-1i16).to_be_bytes().to_vec();
    body.extend(acks.to_be_bytes());
    body.extend(30_000i32.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    string(&mut body, topic);
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(i32::try_from(records.len()).expect("short").to_be_bytes());
    body.extend(records);
    request(PRODUCE, 7, 1, &body)
}

/// The error code of the answer to [`produce`].
pub fn produce_error(answer: &[u8], topic: &str) -> i16 {
    // Correlation id, topics, name, partitions, index.
    i16_at(answer, 4 + 4 + 2 + topic.len() + 4 + 4)
}

/// A Fetch request of version 4 with one partition.
pub fn fetch(topic: &str, partition: i32, offset: i64, wait_ms: i32) -> Vec<u8> {
    let mut body = (-1i32).to_be_bytes().to_vec();
    body.extend(wait_ms.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend(i32::MAX.to_be_bytes());
    body.push(0);
    body.extend(1i32.to_be_bytes());
    string(&mut body, topic);
    body.extend(1i32.to_be_bytes());
    body.extend(partition.to_be_bytes());
    body.extend(offset.to_be_bytes());
    body.extend(i32::MAX.to_be_bytes());
    request(FETCH, 4, 1, &body)
}

/// The error code of the answer to [`fetch`].
pub fn fetch_error(answer: &[u8], topic: &str) -> i16 {
    // Correlation id, throttle time, topics, name, partitions, index.
    i16_at(answer, 4 + 4 + 4 + 2 + topic.len() + 4 + 4)
}

/// A batch of one record.
pub fn batch(value: &[u8]) -> Vec<u8> {
    let record = NewRecord {
        timestamp: 1_700_000_000_000,
        value: Some(value),
        ..NewRecord::default()
    };
    tailwater_record::BatchBuilder::new()
        .record(record)
        .build()
        .to_vec()
}

/// A batch that says it has one record, with `payload` for records and everything else right.
pub fn batch_of_payload(compression: Compression, payload: &[u8]) -> Vec<u8> {
    let mut header = BatchHeader::parse(&batch(b"")).expect("a batch");
    let mut packed = Vec::new();
    tailwater_record::compress(compression, payload, &mut packed, &mut Workspace::new());
    header.attributes = header.attributes.with_codec(compression.codec());
    header.batch_length = u32::try_from(61 - 12 + packed.len()).expect("short");
    let mut bytes = header.encode().to_vec();
    bytes.extend(packed);
    header.crc = tailwater_record::computed_crc(&bytes).expect("long enough");
    bytes[..61].copy_from_slice(&header.encode());
    bytes
}

/// Numbers that look random and are the same every time (xorshift64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

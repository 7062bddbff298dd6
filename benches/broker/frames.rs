//! The few requests that a measurement needs, made by hand so that nothing of the broker's own
//! code stands on both sides: Produce 7, Fetch 11, Metadata 4, CreateTopics 4, ApiVersions 0.

use tailwater_record::{BatchBuilder, NewRecord};

/// Where the correlation id lies in a request frame.
pub const CORRELATION_AT: usize = 8;

/// A request frame being made.
pub struct Frame(Vec<u8>);

impl Frame {
    pub fn new(api_key: i16, version: i16) -> Self {
        Self(Vec::new())
            .i32(0)
            .i16(api_key)
            .i16(version)
            .i32(0)
            .text("bench")
    }

    pub fn i8(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn text(mut self, text: &str) -> Self {
        self = self.i16(i16::try_from(text.len()).expect("a short name"));
        self.0.extend(text.as_bytes());
        self
    }

    pub fn count(self, count: usize) -> Self {
        self.i32(i32::try_from(count).expect("a small count"))
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self = self.count(bytes.len());
        self.0.extend(bytes);
        self
    }

    /// Bytes within a frame, which end with `body`.
    pub fn bare() -> Self {
        Self(Vec::new())
    }

    pub fn body(self) -> Vec<u8> {
        self.0
    }

    /// Of a version that has tagged fields: their header has them, too.
    pub fn flexible(api_key: i16, version: i16) -> Self {
        Self::new(api_key, version).varint(0)
    }

    /// Not there.
    pub fn no_text(self) -> Self {
        self.i16(-1)
    }

    /// A count of flexible versions as it is, or the end of a structure (no tagged fields).
    pub fn varint(mut self, value: usize) -> Self {
        let mut rest = value;
        while rest >= 0x80 {
            self.0.push((rest & 0x7F) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    pub fn compact(mut self, text: &str) -> Self {
        self = self.varint(text.len() + 1);
        self.0.extend(text.as_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        let size = i32::try_from(self.0.len() - 4).expect("a bounded frame");
        self.0[..4].copy_from_slice(&size.to_be_bytes());
        self.0
    }
}

/// A batch of records with keys and values of a generator begun at `seed`; the keys are `key-` and a
/// number below `keys`.
pub fn keyed_batch(records: usize, value_bytes: usize, keys: u64, seed: u64) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        let key = format!("key-{:07}", next() % keys);
        let words = value_bytes.div_ceil(8);
        let mut value: Vec<u8> = (0..words).flat_map(|_| next().to_le_bytes()).collect();
        value.truncate(value_bytes);
        builder.push(NewRecord {
            timestamp: now_ms(),
            key: Some(key.as_bytes()),
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build().to_vec()
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as i64)
}

/// One uncompressed batch of `records` records of `value_bytes` each, of bytes that do not compress.
pub fn batch(records: usize, value_bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        let mut value = Vec::with_capacity(value_bytes + 8);
        while value.len() < value_bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            value.extend(state.to_le_bytes());
        }
        value.truncate(value_bytes);
        builder.push(NewRecord {
            timestamp: now_ms(),
            value: Some(&value),
            ..NewRecord::default()
        });
    }
    builder.build().to_vec()
}

/// The same batch to each of `partitions`.
pub fn produce(topic: &str, partitions: &[i32], acks: i16, batch: &[u8]) -> Vec<u8> {
    let frame = Frame::new(0, 7).i16(-1).i16(acks).i32(30_000);
    let frame = frame.count(1).text(topic).count(partitions.len());
    partitions
        .iter()
        .fold(frame, |frame, index| frame.i32(*index).bytes(batch))
        .end()
}

/// Outside any session; at least one byte, at most `bytes_max` from each partition.
pub fn fetch(topic: &str, from: &[(i32, i64)], wait_ms: i32, bytes_max: i32) -> Vec<u8> {
    let frame = Frame::new(1, 11)
        .i32(-1)
        .i32(wait_ms)
        .i32(1)
        .i32(bytes_max)
        .i8(0);
    let frame = frame.i32(0).i32(-1).count(1).text(topic).count(from.len());
    from.iter()
        .fold(frame, |frame, (index, offset)| {
            frame
                .i32(*index)
                .i32(-1)
                .i64(*offset)
                .i64(-1)
                .i32(bytes_max)
        })
        .count(0)
        .text("")
        .end()
}

/// Each topic with its number of partitions; all with the same configuration.
pub fn create_topics(topics: &[(String, i32)], configs: &[(&str, &str)]) -> Vec<u8> {
    let frame = Frame::new(19, 4).count(topics.len());
    let topic = |frame: Frame, (name, partitions): &(String, i32)| {
        let frame = frame
            .text(name)
            .i32(*partitions)
            .i16(1)
            .count(0)
            .count(configs.len());
        configs
            .iter()
            .fold(frame, |frame, (name, value)| frame.text(name).text(value))
    };
    topics.iter().fold(frame, topic).i32(60_000).i8(0).end()
}

/// IncrementalAlterConfigs, version 0: sets configurations of one topic.
pub fn alter_topic(topic: &str, configs: &[(&str, &str)]) -> Vec<u8> {
    let frame = Frame::new(44, 0).count(1).i8(2).text(topic);
    let frame = frame.count(configs.len());
    let set = |frame: Frame, (name, value): &(&str, &str)| frame.text(name).i8(0).text(value);
    configs.iter().fold(frame, set).i8(0).end()
}

/// Everything about the topics named.
pub fn metadata(topics: &[&str]) -> Vec<u8> {
    let frame = Frame::new(3, 4).count(topics.len());
    topics
        .iter()
        .fold(frame, |frame, name| frame.text(name))
        .i8(0)
        .end()
}

/// What is asked first of any broker.
pub fn api_versions() -> Vec<u8> {
    Frame::new(18, 0).end()
}

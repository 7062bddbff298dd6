//! Requests and answers as bytes: Produce 7, Fetch 4, Metadata 1, ApiVersions 0, CreateTopics 2,
//! InitProducerId 0.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tailwater_record::{BatchBuilder, NewRecord};

/// The client that behaves writes here: a partition for each shard.
pub(crate) const WITNESS: &str = "witness";
/// What slow readers ask for.
pub(crate) const LARGE: &str = "large";
/// Where hostile batches go.
pub(crate) const HOSTILE: &str = "hostile";

pub(crate) const PARTITIONS: i32 = 2;

/// Records of [`LARGE`], of so many bytes: much more than the broker's memory, so that the first of
/// them, which slow readers ask for, lie on the disk alone.
const LARGE_RECORDS: usize = 200;
const LARGE_BYTES: usize = 900_000;

/// No answer takes this long.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A request being made.
pub(crate) struct Frame(Vec<u8>);

impl Frame {
    pub(crate) fn new(api: i16, version: i16) -> Self {
        Self(vec![0; 4]).i16(api).i16(version).i32(7).text("soak")
    }

    fn put(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn i8(self, value: i8) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(crate) fn i16(self, value: i16) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(crate) fn i32(self, value: i32) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(crate) fn i64(self, value: i64) -> Self {
        self.put(&value.to_be_bytes())
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.i16(i16::try_from(text.len()).expect("short"))
            .put(text.as_bytes())
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        self.i32(i32::try_from(bytes.len()).expect("short"))
            .put(bytes)
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() - 4).expect("short");
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// The least request there is.
pub(crate) fn api_versions() -> Vec<u8> {
    Frame::new(18, 0).end()
}

/// All topics.
pub(crate) fn metadata() -> Vec<u8> {
    Frame::new(3, 1).i32(-1).end()
}

pub(crate) fn produce(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let frame = Frame::new(0, 7).i16(-1).i16(-1).i32(30_000).i32(1);
    let frame = frame.text(topic).i32(1).i32(partition);
    frame.bytes(batch).end()
}

/// Everything from an offset on, as much as there is.
pub(crate) fn fetch(topic: &str, partition: i32, offset: i64, wait_ms: i32) -> Vec<u8> {
    let frame = Frame::new(1, 4).i32(-1).i32(wait_ms).i32(1).i32(i32::MAX);
    let frame = frame.i8(0).i32(1).text(topic).i32(1).i32(partition);
    frame.i64(offset).i32(i32::MAX).end()
}

pub(crate) fn init_producer_id() -> Vec<u8> {
    Frame::new(22, 0).i16(-1).i32(60_000).end()
}

/// A batch of one record; `producer` is an id, an epoch and a sequence.
pub(crate) fn batch(value: &[u8], producer: Option<(i64, i16, i32)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(id, epoch, sequence);
    }
    let record = NewRecord {
        timestamp: 1_700_000_000_000,
        value: Some(value),
        ..NewRecord::default()
    };
    builder.record(record).build().to_vec()
}

/// A connection whose answers are waited for.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends, and reads the answer without its length and correlation id.
pub(crate) fn call(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let mut answer = Answer(&head);
    let length = answer.i32()?;
    let rest = usize::try_from(length - 4).map_err(io::Error::other)?;
    let mut body = vec![0; rest];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// What is left of an answer.
pub(crate) struct Answer<'a>(pub(crate) &'a [u8]);

impl<'a> Answer<'a> {
    pub(crate) fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| io::Error::other("an answer that ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn i16(&mut self) -> io::Result<i16> {
        let bytes = self.take(2)?.try_into().map_err(io::Error::other)?;
        Ok(i16::from_be_bytes(bytes))
    }

    pub(crate) fn i32(&mut self) -> io::Result<i32> {
        let bytes = self.take(4)?.try_into().map_err(io::Error::other)?;
        Ok(i32::from_be_bytes(bytes))
    }

    pub(crate) fn i64(&mut self) -> io::Result<i64> {
        let bytes = self.take(8)?.try_into().map_err(io::Error::other)?;
        Ok(i64::from_be_bytes(bytes))
    }

    pub(crate) fn text(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.i16()?).map_err(io::Error::other)?;
        self.take(length)
    }

    pub(crate) fn bytes(&mut self) -> io::Result<&'a [u8]> {
        let length = usize::try_from(self.i32()?).unwrap_or(0);
        self.take(length)
    }
}

/// The offset that a batch was given.
pub(crate) fn produced(answer: &[u8]) -> io::Result<i64> {
    let mut answer = Answer(answer);
    answer.i32()?;
    answer.text()?;
    answer.take(8)?;
    match answer.i16()? {
        0 => answer.i64(),
        code => Err(io::Error::other(format!("produce: error {code}"))),
    }
}

/// The records of the one partition.
pub(crate) fn fetched(answer: &[u8]) -> io::Result<&[u8]> {
    let mut answer = Answer(answer);
    answer.take(8)?;
    answer.text()?;
    answer.take(8)?;
    let code = answer.i16()?;
    if code != 0 {
        return Err(io::Error::other(format!("fetch: error {code}")));
    }
    answer.take(16)?;
    let aborted = usize::try_from(answer.i32()?).unwrap_or(0);
    answer.take(aborted * 16)?;
    answer.bytes()
}

pub(crate) fn create_topics(addr: SocketAddr) -> io::Result<()> {
    let topics = [WITNESS, LARGE, HOSTILE];
    let frame = Frame::new(19, 2).i32(3);
    let frame = topics.iter().fold(frame, |frame, topic| {
        frame.text(topic).i32(PARTITIONS).i16(1).i32(0).i32(0)
    });
    let answer = call(&mut connect(addr)?, &frame.i32(30_000).i8(0).end())?;
    let mut answer = Answer(&answer);
    answer.take(8)?;
    for _ in topics {
        answer.text()?;
        match answer.i16()? {
            // No message.
            0 => drop(answer.i16()?),
            code => return Err(io::Error::other(format!("error {code}"))),
        }
    }
    Ok(())
}

/// Fills [`LARGE`] with bytes that do not compress.
pub(crate) fn fill(addr: SocketAddr) -> io::Result<()> {
    let mut stream = connect(addr)?;
    let mut numbers = Numbers(0x7a11);
    for index in 0..LARGE_RECORDS {
        let batch = batch(&numbers.bytes(LARGE_BYTES), None);
        let partition = i32::from(index % 2 == 1);
        produced(&call(&mut stream, &produce(LARGE, partition, &batch))?)?;
    }
    Ok(())
}

/// Numbers that look random and are the same every time (xorshift64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

//! Reading what the broker answered, as far as a measurement has to.

/// Reads on through an answer's bytes. A broker whose answer is too short fails the measurement.
pub struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    /// From behind the correlation id.
    pub fn new(frame: &'a [u8]) -> Self {
        Self(frame).skip(4)
    }

    /// Bytes within a frame.
    pub fn bare(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn skip(mut self, count: usize) -> Self {
        self.take(count);
        self
    }

    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at_checked(count).expect("a whole answer");
        self.0 = rest;
        taken
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().expect("four bytes"))
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().expect("eight bytes"))
    }

    pub fn count(&mut self) -> usize {
        usize::try_from(self.i32()).unwrap_or(0)
    }

    pub fn bytes(&mut self) -> &'a [u8] {
        let length = self.count();
        self.take(length)
    }

    /// Of flexible versions: a count, one more than it is where null can be said.
    pub fn varint(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.take(1)[0];
            value |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }

    pub fn compact(&mut self) -> String {
        let length = self.varint().saturating_sub(1);
        String::from_utf8_lossy(self.take(length)).into_owned()
    }

    pub fn text(&mut self) -> String {
        let length = usize::try_from(self.i16()).unwrap_or(0);
        String::from_utf8_lossy(self.take(length)).into_owned()
    }
}

/// Checks a Produce answer: the least base offset given.
pub fn produced(frame: &[u8]) -> i64 {
    let mut answer = Answer::new(frame);
    let mut least = i64::MAX;
    for _ in 0..answer.count() {
        let topic = answer.text();
        for _ in 0..answer.count() {
            let (index, error) = (answer.i32(), answer.i16());
            assert_eq!(
                error, 0,
                "{topic}-{index} refused the batch with error {error}"
            );
            least = least.min(answer.i64());
            answer.take(16);
        }
    }
    least
}

/// What one partition's part of a Fetch answer held.
pub struct Fetched {
    pub high_watermark: i64,
    pub bytes: usize,
    /// The offset behind its last whole batch.
    pub next: Option<i64>,
}

/// Reads a Fetch answer that asked for one partition.
pub fn fetched(frame: &[u8]) -> Fetched {
    let mut answer = Answer::new(frame).skip(4);
    let (error, _session, topics) = (answer.i16(), answer.i32(), answer.count());
    assert_eq!((error, topics), (0, 1), "the fetch was refused");
    let topic = answer.text();
    assert_eq!(answer.count(), 1);
    let (index, error) = (answer.i32(), answer.i16());
    assert_eq!(
        error, 0,
        "{topic}-{index} refused the fetch with error {error}"
    );
    let high_watermark = answer.i64();
    let mut answer = answer.skip(16);
    let aborted = answer.count();
    let mut answer = answer.skip(16 * aborted + 4);
    let length = answer.count();
    let records = answer.take(length);
    Fetched {
        high_watermark,
        bytes: length,
        next: next_offset(records),
    }
}

/// Reads a Fetch answer that asked for one partition: whether it is served.
pub fn serves(frame: &[u8]) -> bool {
    let mut answer = Answer::new(frame).skip(4);
    let (error, _session, topics) = (answer.i16(), answer.i32(), answer.count());
    assert_eq!((error, topics), (0, 1), "the fetch was refused");
    answer.text();
    assert_eq!(answer.count(), 1);
    let (_index, error) = (answer.i32(), answer.i16());
    error == 0
}

/// The offset behind the last whole batch.
fn next_offset(records: &[u8]) -> Option<i64> {
    let last = tailwater_record::batches(records)
        .map_while(Result::ok)
        .last()?;
    Some(last.header.base_offset + i64::from(last.header.last_offset_delta) + 1)
}

/// Checks a CreateTopics answer.
pub fn created(frame: &[u8]) {
    let mut answer = Answer::new(frame).skip(4);
    for _ in 0..answer.count() {
        let (topic, error, said) = (answer.text(), answer.i16(), answer.text());
        assert_eq!(error, 0, "{topic} was not created: {said}");
    }
}

/// Reads a Metadata answer about one topic: how many of its partitions have a leader.
pub fn leaders(frame: &[u8]) -> usize {
    let mut answer = Answer::new(frame).skip(4);
    for _ in 0..answer.count() {
        answer.take(4);
        answer.text();
        answer.take(4);
        answer.text();
    }
    answer.text();
    answer.take(4);
    assert_eq!(answer.count(), 1, "one topic was asked for");
    answer.take(2);
    answer.text();
    answer.take(1);
    let partitions = answer.count();
    (0..partitions).filter(|_| has_leader(&mut answer)).count()
}

fn has_leader(answer: &mut Answer<'_>) -> bool {
    let (error, _index, leader) = (answer.i16(), answer.i32(), answer.i32());
    for _ in 0..2 {
        let replicas = answer.count();
        answer.take(4 * replicas);
    }
    error == 0 && leader >= 0
}

/// Checks an IncrementalAlterConfigs answer.
pub fn altered(frame: &[u8]) {
    let mut answer = Answer::new(frame).skip(4);
    for _ in 0..answer.count() {
        assert_eq!(answer.i16(), 0, "a configuration was refused");
        answer.text();
        answer.take(1);
        answer.text();
    }
}

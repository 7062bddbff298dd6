//! The protocol's primitive types, read from untrusted bytes and written into our own.
//!
//! What Kafka's own reader lets pass, passes: any negative length is null, invalid UTF-8 is replaced
//! by U+FFFD, a varint's bits beyond 32 are dropped, and bytes after the message are ignored.
//! [`Reader`] is the only way in which this crate looks at untrusted bytes: each step is checked
//! against what remains, and what the result will take in memory is counted against a limit before
//! anything is allocated.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::error::{Problem, WireError};

/// The longest string that the protocol allows, compact or not.
pub(crate) const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// A topic as a request names it, and as its answer must name it again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name.
    Name(StrBytes),
    /// By id, which may be nil: nothing has checked it.
    Id(Uuid),
}

impl TopicRef {
    /// The name, if the topic is named by it.
    pub fn name(&self) -> Option<&StrBytes> {
        match self {
            TopicRef::Name(name) => Some(name),
            TopicRef::Id(_) => None,
        }
    }

    /// The id, if the topic is named by it.
    pub fn id(&self) -> Option<Uuid> {
        match self {
            TopicRef::Name(_) => None,
            TopicRef::Id(id) => Some(*id),
        }
    }
}

/// Where a broker named in a CurrentLeader is to be reached (KIP-951).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    /// The broker's id.
    pub node_id: i32,
    /// Its host.
    pub host: StrBytes,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

/// How lengths and counts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// 16 bits for a string, 32 for bytes and counts; -1 is null.
    Fixed,
    /// An unsigned varint of the length plus one; 0 is null.
    Compact,
}

impl Lengths {
    /// The lengths of messages that are flexible, or not.
    pub(crate) const fn of(flexible: bool) -> Lengths {
        if flexible {
            Lengths::Compact
        } else {
            Lengths::Fixed
        }
    }

    /// The least that a string takes.
    pub(crate) const fn string_bytes_min(self) -> usize {
        match self {
            Lengths::Fixed => 2,
            Lengths::Compact => 1,
        }
    }

    /// The least that an array or a run of bytes takes.
    pub(crate) const fn array_bytes_min(self) -> usize {
        match self {
            Lengths::Fixed => 4,
            Lengths::Compact => 1,
        }
    }
}

/// Reads untrusted bytes from the front.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    bytes_total: usize,
    decoded_bytes: usize,
    decoded_bytes_max: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes` whose result may take `decoded_bytes_max` bytes of memory.
    pub(crate) fn new(bytes: &'a [u8], decoded_bytes_max: usize) -> Self {
        Reader {
            rest: bytes,
            bytes_total: bytes.len(),
            decoded_bytes: 0,
            decoded_bytes_max,
        }
    }

    /// Bytes read so far.
    pub(crate) fn at(&self) -> usize {
        self.bytes_total - self.rest.len()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The error that `problem` is at this place.
    pub(crate) fn error(&self, problem: Problem) -> WireError {
        problem.at(self.at())
    }

    /// Counts memory that the result will take.
    pub(crate) fn charge(&mut self, decoded_bytes: usize) -> Result<(), WireError> {
        self.decoded_bytes = self.decoded_bytes.saturating_add(decoded_bytes);
        if self.decoded_bytes > self.decoded_bytes_max {
            return Err(self.error(Problem::DecodedTooLarge {
                limit: self.decoded_bytes_max,
            }));
        }
        Ok(())
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(Problem::Truncated {
                needed: count,
                remaining: self.rest.len(),
            })),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.error(Problem::Truncated {
                needed: N,
                remaining: self.rest.len(),
            })),
        }
    }

    pub(crate) fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, WireError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// An unsigned varint of at most five bytes.
    pub(crate) fn varint(&mut self) -> Result<u32, WireError> {
        let start = self.at();
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Problem::VarintTooLong.at(start))
    }

    /// A length or count; none for null, which any negative one is.
    fn length(
        &mut self,
        fixed: impl FnOnce(&mut Self) -> Result<i32, WireError>,
        lengths: Lengths,
    ) -> Result<Option<usize>, WireError> {
        Ok(match lengths {
            Lengths::Fixed => usize::try_from(fixed(self)?).ok(),
            Lengths::Compact => (self.varint()? as usize).checked_sub(1),
        })
    }

    /// A string's bytes, or null.
    pub(crate) fn nullable_str_bytes(
        &mut self,
        lengths: Lengths,
    ) -> Result<Option<&'a [u8]>, WireError> {
        match self.length(|r| Ok(i32::from(r.i16()?)), lengths)? {
            Some(length) if length > STRING_BYTES_MAX => {
                Err(self.error(Problem::StringTooLong(length)))
            }
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// A string that may be null.
    pub(crate) fn nullable_str(
        &mut self,
        lengths: Lengths,
    ) -> Result<Option<Cow<'a, str>>, WireError> {
        let Some(bytes) = self.nullable_str_bytes(lengths)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(bytes);
        if let Cow::Owned(text) = &text {
            self.charge(text.len())?;
        }
        Ok(Some(text))
    }

    /// A string.
    pub(crate) fn str(&mut self, lengths: Lengths) -> Result<Cow<'a, str>, WireError> {
        let start = self.at();
        self.nullable_str(lengths)?
            .ok_or(Problem::UnexpectedNull.at(start))
    }

    /// Bytes that may be null.
    pub(crate) fn nullable_bytes(
        &mut self,
        lengths: Lengths,
    ) -> Result<Option<&'a [u8]>, WireError> {
        match self.length(Self::i32, lengths)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    /// The count of an array that may be null, whose elements take at least `least_bytes` each
    /// here and `element_bytes` each in memory. `least_bytes` is not zero.
    pub(crate) fn nullable_count(
        &mut self,
        lengths: Lengths,
        least_bytes: usize,
        element_bytes: usize,
    ) -> Result<Option<usize>, WireError> {
        let Some(count) = self.length(Self::i32, lengths)? else {
            return Ok(None);
        };
        if count > self.rest.len() / least_bytes {
            return Err(self.error(Problem::CountTooLarge {
                count,
                least_bytes,
                remaining: self.rest.len(),
            }));
        }
        self.charge(count.saturating_mul(element_bytes))?;
        Ok(Some(count))
    }

    /// The count of an array.
    pub(crate) fn count(
        &mut self,
        lengths: Lengths,
        least_bytes: usize,
        element_bytes: usize,
    ) -> Result<usize, WireError> {
        let start = self.at();
        self.nullable_count(lengths, least_bytes, element_bytes)?
            .ok_or(Problem::UnexpectedNull.at(start))
    }

    /// Tagged fields: `known` reads the value of a tag that it knows and says so; whatever it does
    /// not know is stepped over. As in Kafka, a known value ends where it ends, not where its size
    /// says.
    pub(crate) fn tagged(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, WireError>,
    ) -> Result<(), WireError> {
        let count = self.varint()?;
        self.check_tagged_count(count)?;
        for _ in 0..count {
            let tag = self.varint()?;
            let size = self.varint()? as usize;
            if !known(self, tag)? {
                self.take(size)?;
            }
        }
        Ok(())
    }

    /// Refuses more tagged fields than fit: each takes at least a tag and a size.
    pub(crate) fn check_tagged_count(&self, count: u32) -> Result<(), WireError> {
        if count as usize > self.rest.len() / 2 {
            return Err(self.error(Problem::CountTooLarge {
                count: count as usize,
                least_bytes: 2,
                remaining: self.rest.len(),
            }));
        }
        Ok(())
    }

    /// Steps over tagged fields when the message has them, none of them known.
    pub(crate) fn skip_tagged(&mut self, lengths: Lengths) -> Result<(), WireError> {
        match lengths {
            Lengths::Fixed => Ok(()),
            Lengths::Compact => self.tagged(|_, _| Ok(false)),
        }
    }
}

/// A string of its own, so that the frame may go while the string stays.
pub(crate) fn owned(text: Cow<'_, str>) -> StrBytes {
    StrBytes::from_string(text.into_owned())
}

/// The string as a slice of the frame that it was read from.
pub(crate) fn sliced(frame: &Bytes, text: Cow<'_, str>) -> StrBytes {
    match text {
        Cow::Borrowed(text) => {
            StrBytes::from_utf8(frame.slice_ref(text.as_bytes())).expect("it was read as UTF-8")
        }
        Cow::Owned(text) => StrBytes::from_string(text),
    }
}

/// Writes the protocol's primitives. Lengths that no answer of ours can have are asserted.
pub(crate) trait Write {
    fn put_varint(&mut self, value: u32);
    fn put_count(&mut self, lengths: Lengths, count: usize);
    fn put_null_array(&mut self, lengths: Lengths);
    fn put_str(&mut self, lengths: Lengths, text: &str);
    fn put_nullable_str(&mut self, lengths: Lengths, text: Option<&str>);
    fn put_topic(&mut self, lengths: Lengths, by_id: bool, topic: &TopicRef);
    fn put_no_tags(&mut self, lengths: Lengths);
}

impl Write for BytesMut {
    fn put_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.put_u8((value as u8) | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn put_count(&mut self, lengths: Lengths, count: usize) {
        let count = i32::try_from(count).expect("an answer's counts and lengths fit 31 bits");
        match lengths {
            Lengths::Fixed => self.put_i32(count),
            Lengths::Compact => self.put_varint(count as u32 + 1),
        }
    }

    fn put_null_array(&mut self, lengths: Lengths) {
        match lengths {
            Lengths::Fixed => self.put_i32(-1),
            Lengths::Compact => self.put_u8(0),
        }
    }

    fn put_str(&mut self, lengths: Lengths, text: &str) {
        // Longer texts (an error message that quotes its input) are cut, at a character's border.
        let text = &text[..text.floor_char_boundary(STRING_BYTES_MAX)];
        match lengths {
            Lengths::Fixed => self.put_i16(text.len() as i16),
            Lengths::Compact => self.put_varint(text.len() as u32 + 1),
        }
        self.put_slice(text.as_bytes());
    }

    fn put_nullable_str(&mut self, lengths: Lengths, text: Option<&str>) {
        match (text, lengths) {
            (Some(text), _) => self.put_str(lengths, text),
            (None, Lengths::Fixed) => self.put_i16(-1),
            (None, Lengths::Compact) => self.put_u8(0),
        }
    }

    fn put_topic(&mut self, lengths: Lengths, by_id: bool, topic: &TopicRef) {
        assert_eq!(
            topic.id().is_some(),
            by_id,
            "a topic is named as the request named it"
        );
        match topic {
            TopicRef::Name(name) => self.put_str(lengths, name),
            TopicRef::Id(id) => self.put_slice(id.as_bytes()),
        }
    }

    fn put_no_tags(&mut self, lengths: Lengths) {
        if lengths == Lengths::Compact {
            self.put_u8(0);
        }
    }
}

/// A topic, by name or by id as the version has it.
pub(crate) fn topic<'a>(
    reader: &mut Reader<'a>,
    lengths: Lengths,
    by_id: bool,
    name: impl FnOnce(Cow<'a, str>) -> StrBytes,
) -> Result<TopicRef, WireError> {
    if by_id {
        Ok(TopicRef::Id(reader.uuid()?))
    } else {
        Ok(TopicRef::Name(name(reader.str(lengths)?)))
    }
}

/// A partition's leader as a tagged field of nine bytes: id, epoch, no tags of its own.
pub(crate) fn put_current_leader(
    buffer: &mut BytesMut,
    tag: u32,
    leader: crate::produce::CurrentLeader,
) {
    buffer.put_varint(tag);
    buffer.put_varint(9);
    buffer.put_i32(leader.leader_id);
    buffer.put_i32(leader.leader_epoch);
    buffer.put_varint(0);
}

/// Endpoints of brokers as the tagged field 0.
pub(crate) fn put_node_endpoints(buffer: &mut BytesMut, endpoints: &[NodeEndpoint]) {
    let mut value = BytesMut::with_capacity(endpoints.len() * 64);
    value.put_count(Lengths::Compact, endpoints.len());
    for endpoint in endpoints {
        value.put_i32(endpoint.node_id);
        value.put_str(Lengths::Compact, &endpoint.host);
        value.put_i32(endpoint.port);
        value.put_nullable_str(Lengths::Compact, endpoint.rack.as_deref());
        value.put_varint(0);
    }
    buffer.put_varint(0);
    buffer.put_varint(u32::try_from(value.len()).expect("an answer's lengths fit 31 bits"));
    buffer.put_slice(&value);
}

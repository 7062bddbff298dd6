//! One record: its fields, and the walk over uncompressed records.
//!
//! The same parser reads a record out of a slice, lending its parts, and out of a stream, holding nothing
//! of it. What it demands: every length lies within the record, the header count fits what remains, and
//! the last byte of the record is its last header's.

use crate::error::RecordError;
use crate::headers::Headers;
use crate::varint::{VARINT_BYTES_MAX, VARLONG_BYTES_MAX, take_varint, take_varlong};

/// A record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its timestamp less the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Its offset less the batch's base offset.
    pub offset_delta: i32,
    /// Its key, which may be null.
    pub key: Option<&'a [u8]>,
    /// Its value; null is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers in order, repeated keys kept.
    pub headers: Headers<'a>,
}

impl<'a> Record<'a> {
    /// Reads the record that `body` is, the bytes after its length prefix. The error says what is wrong.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Record<'a>, &'static str> {
        let mut input = body;
        let parts = parse(&mut input).map_err(|stop| match stop {
            Stop::Malformed(reason) => reason,
            Stop::Failed(_) => unreachable!("reading from a slice does not fail"),
        })?;
        Ok(Record {
            timestamp_delta: parts.timestamp_delta,
            offset_delta: parts.offset_delta,
            key: parts.key,
            value: parts.value,
            headers: Headers::checked(parts.headers, parts.header_count),
        })
    }
}

/// Why the parser stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    Malformed(&'static str),
    Failed(RecordError),
}

/// The rest of one record's body, wherever it is.
pub(crate) trait Body {
    /// What is left of bytes that were passed over: themselves, or nothing.
    type Bytes;
    fn left(&self) -> usize;
    fn byte(&mut self) -> Result<u8, Stop>;
    /// Passes over `len` bytes, no more than are left.
    fn bytes(&mut self, len: usize) -> Result<Self::Bytes, Stop>;
    /// All that is left, without passing over it.
    fn rest(&self) -> Self::Bytes;

    fn varint(&mut self) -> Result<i32, Stop> {
        let (bytes, len) = varint_bytes::<VARINT_BYTES_MAX>(|| self.byte())?;
        take_varint(&mut bytes.get(..len).unwrap_or_default()).ok_or(BAD_VARINT)
    }

    fn varlong(&mut self) -> Result<i64, Stop> {
        let (bytes, len) = varint_bytes::<VARLONG_BYTES_MAX>(|| self.byte())?;
        take_varlong(&mut bytes.get(..len).unwrap_or_default()).ok_or(BAD_VARINT)
    }
}

pub(crate) const BAD_VARINT: Stop = Stop::Malformed("a varint is too long or cut off");

/// Collects a varint's bytes, at most `N`.
pub(crate) fn varint_bytes<const N: usize>(
    mut byte: impl FnMut() -> Result<u8, Stop>,
) -> Result<([u8; N], usize), Stop> {
    let mut bytes = [0; N];
    for (index, slot) in bytes.iter_mut().enumerate() {
        *slot = byte()?;
        if *slot < 0x80 {
            return Ok((bytes, index + 1));
        }
    }
    Err(BAD_VARINT)
}

impl<'a> Body for &'a [u8] {
    type Bytes = &'a [u8];

    fn left(&self) -> usize {
        self.len()
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (byte, rest) = self.split_first().ok_or(SHORT)?;
        *self = rest;
        Ok(*byte)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Stop> {
        let (bytes, rest) = self.split_at_checked(len).ok_or(SHORT)?;
        *self = rest;
        Ok(bytes)
    }

    fn rest(&self) -> &'a [u8] {
        self
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, Stop> {
        take_varint(self).ok_or(BAD_VARINT)
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, Stop> {
        take_varlong(self).ok_or(BAD_VARINT)
    }
}

pub(crate) const SHORT: Stop = Stop::Malformed("a field goes beyond the record's end");

/// What a record is made of, its bytes as the body lends them.
pub(crate) struct Parts<B> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<B>,
    pub(crate) value: Option<B>,
    pub(crate) header_count: u32,
    pub(crate) headers: B,
}

/// Reads one record, to its last byte.
#[inline]
pub(crate) fn parse<B: Body>(body: &mut B) -> Result<Parts<B::Bytes>, Stop> {
    // A record's own attributes have no meaning yet; Kafka does not look at them either.
    body.byte()?;
    let timestamp_delta = body.varlong()?;
    let offset_delta = body.varint()?;
    let key = nullable(body)?;
    let value = nullable(body)?;
    let count = body.varint()?;
    let header_count =
        u32::try_from(count).map_err(|_| Stop::Malformed("negative header count"))?;
    // A header has at least two bytes: the lengths of its key and value.
    if header_count as usize > body.left() / 2 {
        return Err(Stop::Malformed("more headers than the record has room for"));
    }
    let headers = body.rest();
    for _ in 0..header_count {
        nullable(body)?.ok_or(Stop::Malformed("a header without a key"))?;
        nullable(body)?;
    }
    if body.left() != 0 {
        return Err(Stop::Malformed(
            "bytes remain after the record's last field",
        ));
    }
    Ok(Parts {
        timestamp_delta,
        offset_delta,
        key,
        value,
        header_count,
        headers,
    })
}

/// Passes over a length and as many bytes; -1 is null, and nothing else below 0 is allowed.
#[inline]
fn nullable<B: Body>(body: &mut B) -> Result<Option<B::Bytes>, Stop> {
    let len = body.varint()?;
    match usize::try_from(len) {
        Ok(len) if len <= body.left() => body.bytes(len).map(Some),
        Ok(_) => Err(SHORT),
        Err(_) if len == -1 => Ok(None),
        Err(_) => Err(Stop::Malformed("a length below -1")),
    }
}

/// Iterates over uncompressed records. For a batch that may be compressed there is
/// [`crate::RecordStream`].
///
/// Ends after the last record, or after the first error.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    record_count: u32,
    index: u32,
}

impl<'a> RecordIter<'a> {
    /// Over `payload`, an uncompressed batch's bytes after its header, which claims `record_count`
    /// records; a claim below 0 counts as 0.
    pub fn new(payload: &'a [u8], record_count: i32) -> RecordIter<'a> {
        RecordIter {
            rest: payload,
            record_count: u32::try_from(record_count).unwrap_or(0),
            index: 0,
        }
    }

    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let len = take_varint(&mut self.rest).ok_or("its length is too long or cut off")?;
        let len = usize::try_from(len).map_err(|_| "negative length")?;
        let (body, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or("the batch ends inside it")?;
        self.rest = rest;
        Record::parse(body)
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.record_count {
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(RecordError::BytesAfterRecords {
                record_count: self.record_count,
            }));
        }
        let index = self.index;
        self.index += 1;
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
            self.index = self.record_count;
        }
        Some(read.map_err(|reason| RecordError::MalformedRecord { index, reason }))
    }
}

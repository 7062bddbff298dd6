//! The primitives of Kafka's formats.

use bytes::Bytes;
use uuid::Uuid;

use super::RecordError;

/// Writes a key or value, beginning with its version.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn new(version: i16) -> Writer {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&version.to_be_bytes());
        Writer { bytes }
    }

    /// Writes a part of a value.
    pub(crate) fn bare() -> Writer {
        Writer { bytes: Vec::new() }
    }

    pub(crate) fn finish(self) -> Bytes {
        Bytes::from(self.bytes)
    }

    pub(crate) fn into_inner(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn raw(&mut self, raw: &[u8]) {
        self.bytes.extend_from_slice(raw);
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.raw(value.as_bytes());
    }

    pub(crate) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// A string of the old form. Longer ones than it can say never come: requests have the same
    /// limit.
    pub(crate) fn string(&mut self, text: &str) {
        assert!(
            text.len() <= i16::MAX as usize,
            "a string of 32 KiB or more"
        );
        self.i16(text.len() as i16);
        self.raw(text.as_bytes());
    }

    pub(crate) fn nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.i16(-1),
        }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    /// How many elements an array of the old form has.
    pub(crate) fn count(&mut self, count: usize) {
        self.i32(i32::try_from(count).unwrap_or(i32::MAX));
    }

    pub(crate) fn compact_string(&mut self, text: &str) {
        self.compact_count(text.len());
        self.raw(text.as_bytes());
    }

    pub(crate) fn compact_nullable_string(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.compact_string(text),
            None => self.uvarint(0),
        }
    }

    pub(crate) fn compact_bytes(&mut self, bytes: &[u8]) {
        self.compact_count(bytes.len());
        self.raw(bytes);
    }

    /// How many elements a compact array has, or how many bytes.
    pub(crate) fn compact_count(&mut self, count: usize) {
        self.uvarint(u32::try_from(count + 1).unwrap_or(u32::MAX));
    }

    pub(crate) fn compact_i32s(&mut self, values: &[i32]) {
        self.compact_count(values.len());
        for value in values {
            self.i32(*value);
        }
    }

    /// Tagged fields: each with its tag, ascending.
    pub(crate) fn tags(&mut self, fields: &[(u32, &[u8])]) {
        self.uvarint(fields.len() as u32);
        for (tag, field) in fields {
            self.uvarint(*tag);
            self.uvarint(field.len() as u32);
            self.raw(field);
        }
    }
}

/// Reads a key or value. What it gives shares nothing with the record.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (head, tail) = self
            .left
            .split_at_checked(len)
            .ok_or(RecordError::Truncated {
                missing: len.saturating_sub(self.left.len()),
            })?;
        self.left = tail;
        Ok(head)
    }

    /// How many bytes are left.
    pub(crate) fn rest(&self) -> usize {
        self.left.len()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn i8(&mut self) -> Result<i8, RecordError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, RecordError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32, RecordError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Malformed { what: "a varint" })
    }

    fn text(&mut self, len: usize) -> Result<Box<str>, RecordError> {
        let text = std::str::from_utf8(self.take(len)?)
            .map_err(|_| RecordError::Malformed { what: "a string" })?;
        Ok(Box::from(text))
    }

    pub(crate) fn string<S: From<Box<str>>>(&mut self) -> Result<S, RecordError> {
        self.nullable_string()?.ok_or(RecordError::Malformed {
            what: "a string that is null",
        })
    }

    pub(crate) fn nullable_string<S: From<Box<str>>>(&mut self) -> Result<Option<S>, RecordError> {
        match usize::try_from(self.i16()?) {
            Ok(len) => Ok(Some(S::from(self.text(len)?))),
            Err(_) => Ok(None),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, RecordError> {
        let len = self.count()?;
        Ok(Bytes::copy_from_slice(self.take(len)?))
    }

    pub(crate) fn count(&mut self) -> Result<usize, RecordError> {
        usize::try_from(self.i32()?).map_err(|_| RecordError::Malformed { what: "a count" })
    }

    pub(crate) fn compact_string<S: From<Box<str>>>(&mut self) -> Result<S, RecordError> {
        self.compact_nullable_string()?
            .ok_or(RecordError::Malformed {
                what: "a string that is null",
            })
    }

    pub(crate) fn compact_nullable_string<S: From<Box<str>>>(
        &mut self,
    ) -> Result<Option<S>, RecordError> {
        match self.uvarint()?.checked_sub(1) {
            Some(len) => Ok(Some(S::from(self.text(len as usize)?))),
            None => Ok(None),
        }
    }

    pub(crate) fn compact_bytes(&mut self) -> Result<Bytes, RecordError> {
        let len = self.compact_count()?;
        Ok(Bytes::copy_from_slice(self.take(len)?))
    }

    /// A null array counts as an empty one.
    pub(crate) fn compact_count(&mut self) -> Result<usize, RecordError> {
        Ok(self.uvarint()?.saturating_sub(1) as usize)
    }

    pub(crate) fn compact_i32s(&mut self) -> Result<Vec<i32>, RecordError> {
        let count = self.compact_count()?;
        self.elements(count, Reader::i32)
    }

    /// Reads `count` elements. A count that lies ends with the bytes, before memory does.
    pub(crate) fn elements<T>(
        &mut self,
        count: usize,
        mut read: impl FnMut(&mut Reader<'a>) -> Result<T, RecordError>,
    ) -> Result<Vec<T>, RecordError> {
        let mut elements = Vec::with_capacity(count.min(self.left.len()));
        for _ in 0..count {
            elements.push(read(self)?);
        }
        Ok(elements)
    }

    /// Reads tagged fields, calling for each; unknown ones are to be passed over.
    pub(crate) fn tags(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let len = self.uvarint()? as usize;
            field(tag, &mut Reader::new(self.take(len)?))?;
        }
        Ok(())
    }
}

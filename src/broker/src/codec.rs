//! The bytes of what the broker stores (metadata, producer snapshots): little-endian numbers, text and lists with a length before them.
//!
//! Decoding trusts nothing: a length is checked against what remains before anything is taken.

use crate::BrokerError;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Puts values one after the other.
#[derive(Default)]
pub(crate) struct Encoder {
    bytes: BytesMut,
}

impl Encoder {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.put_u8(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.bytes.put_i16_le(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes.put_i32_le(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes.put_i64_le(value);
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.put_u64_le(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.bytes.put_slice(value.as_bytes());
    }

    /// How many elements follow.
    pub(crate) fn count(&mut self, count: usize) {
        self.bytes
            .put_u32_le(u32::try_from(count).expect("lists are bounded far below"));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes.put_slice(text.as_bytes());
    }

    pub(crate) fn map(&mut self, map: &BTreeMap<String, String>) {
        self.count(map.len());
        for (name, value) in map {
            self.text(name);
            self.text(value);
        }
    }

    pub(crate) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// Takes values one after the other.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], BrokerError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(BrokerError::StoredMetadata(format!(
                "{count} bytes are expected where {} are left",
                self.rest.len()
            )));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BrokerError> {
        Ok(self
            .take(N)?
            .try_into()
            .expect("exactly so many were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, BrokerError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, BrokerError> {
        Ok(i16::from_le_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, BrokerError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, BrokerError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, BrokerError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, BrokerError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// How many elements follow, each of which takes at least `element_bytes_min`.
    pub(crate) fn count(&mut self, element_bytes_min: usize) -> Result<usize, BrokerError> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        if count > self.rest.len() / element_bytes_min.max(1) {
            return Err(BrokerError::StoredMetadata(format!(
                "{count} elements cannot be in {} bytes",
                self.rest.len()
            )));
        }
        Ok(count)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, BrokerError> {
        let count = self.count(1)?;
        let bytes = self.take(count)?;
        std::str::from_utf8(bytes).map_err(|error| BrokerError::StoredMetadata(error.to_string()))
    }

    pub(crate) fn map(&mut self) -> Result<BTreeMap<String, String>, BrokerError> {
        let mut map = BTreeMap::new();
        for _ in 0..self.count(8)? {
            let name = self.text()?.to_owned();
            map.insert(name, self.text()?.to_owned());
        }
        Ok(map)
    }

    /// Nothing may be left.
    pub(crate) fn finish(self) -> Result<(), BrokerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(BrokerError::StoredMetadata(format!(
                "{} bytes too many",
                self.rest.len()
            )))
        }
    }
}

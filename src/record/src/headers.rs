//! A record's headers. Keys may repeat and keep their order.

use crate::varint::take_varint;

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key: UTF-8 by convention, which nobody checks.
    pub key: &'a [u8],
    /// Its value, which may be null.
    pub value: Option<&'a [u8]>,
}

/// Iterates over a record's headers, which were checked when the record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Headers<'a> {
    /// `bytes` holds exactly `count` headers, all checked.
    pub(crate) fn checked(bytes: &'a [u8], count: u32) -> Headers<'a> {
        Headers {
            rest: bytes,
            left: count,
        }
    }

    fn take(&mut self) -> Option<Header<'a>> {
        let key = self.take_bytes()??;
        let value = self.take_bytes()?;
        Some(Header { key, value })
    }

    fn take_bytes(&mut self) -> Option<Option<&'a [u8]>> {
        let Ok(len) = usize::try_from(take_varint(&mut self.rest)?) else {
            return Some(None);
        };
        let (bytes, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Some(bytes))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(
            self.take()
                .expect("the headers were checked when the record was read"),
        )
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Headers<'_> {}

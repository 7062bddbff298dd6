//! The skim: a body is walked by its shape before the codec sees it.
//!
//! kafka-protocol allocates what a count asks for, so that a body of four bytes could end the
//! process. The skim walks a body by the shape of its API and version and lets it pass only if
//! - every length fits what remains, and every count times the least that an element takes does;
//! - nothing is null that cannot be;
//! - what it decodes into stays within [`decoded_bytes_max`].
//!
//! What Kafka's own reader lets pass and the codec would refuse or pay dearly for (invalid UTF-8,
//! negative lengths other than -1, presence markers other than 1 and -1, unknown tagged fields),
//! is written anew in its plain form; so the codec sees plain bodies only. As in Kafka, bytes after
//! the message are ignored.
//!
//! The shapes are in `messages.txt`. No shape, no API: a test holds them against the API table.
//! Nesting is bounded by the shapes, none of which is recursive.

mod parse;
mod rewrite;
mod shape;
mod walk;

#[cfg(test)]
pub(crate) mod generate;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use bytes::Bytes;

use crate::api::ApiKey;
use crate::error::WireError;
use crate::primitives::Reader;
use shape::{Shape, Table};

/// A body may decode into so many times its own bytes. The most that a body without empty names
/// asks for is 24 (Metadata for topics of one-letter names); three bytes are a name, and 72 the
/// structure that holds it.
pub const DECODED_FACTOR: usize = 32;

/// What a body may decode into however short it is.
pub const DECODED_BYTES_FLOOR: usize = 16 * 1024;

/// The most memory that a body of `body_bytes` may decode into.
pub const fn decoded_bytes_max(body_bytes: usize) -> usize {
    body_bytes
        .saturating_mul(DECODED_FACTOR)
        .saturating_add(DECODED_BYTES_FLOOR)
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    Table::parse(include_str!("messages.txt")).expect("a test parses the same text")
});

/// Checks a body, and gives back what the codec may decode: mostly the same bytes.
pub fn check(api: ApiKey, version: i16, body: Bytes) -> Result<Bytes, WireError> {
    let shape = TABLE
        .shape(api, version)
        .ok_or(WireError::UnsupportedVersion { api, version })?;
    check_shape(shape, body)
}

fn check_shape(shape: &Shape, body: Bytes) -> Result<Bytes, WireError> {
    let mut reader = Reader::new(&body, decoded_bytes_max(body.len()));
    if walk::is_plain(shape, &mut reader)? {
        Ok(body)
    } else {
        reader.charge(body.len())?;
        Ok(rewrite::plain(shape, &body))
    }
}

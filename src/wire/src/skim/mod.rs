//! The skim.

use crate::api::ApiKey;
use crate::error::WireError;

/// The most memory that a body of `body_bytes` may decode into.
pub const fn decoded_bytes_max(body_bytes: usize) -> usize {
    body_bytes.saturating_mul(16).saturating_add(16 * 1024)
}

/// Checks.
pub fn check(_api: ApiKey, _version: i16, _body: &[u8]) -> Result<usize, WireError> {
    Ok(0)
}

//! What can be wrong with bytes on the wire, and with an answer that is to become such bytes.
//!
//! Kafka answers a request that it cannot read by closing the connection, so nearly every variant
//! ends in that; [`WireError`] carries the facts for the one debug line that says why.

use crate::api::ApiKey;

/// Why a frame was refused, or an answer could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length before a frame is zero or negative.
    #[error("a frame's length must be positive, not {got}")]
    FrameLengthNotPositive {
        /// The length as read.
        got: i32,
    },
    /// The length before a frame exceeds `socket.request.max.bytes`.
    #[error("a frame of {got} bytes exceeds socket.request.max.bytes = {limit}")]
    FrameTooLarge {
        /// The length as read.
        got: usize,
        /// The most that is accepted.
        limit: usize,
    },
    /// An API that is not served.
    #[error("unknown API key {api_key}")]
    UnknownApi {
        /// The key as read.
        api_key: i16,
    },
    /// A version that is not served (for ApiVersions this is answered, see
    /// [`Request::UnsupportedApiVersions`](crate::Request::UnsupportedApiVersions)).
    #[error("{api:?} version {version} is not served")]
    UnsupportedVersion {
        /// The API asked for.
        api: ApiKey,
        /// The version as read.
        version: i16,
    },
    /// The bytes do not have the shape of the message that they claim to be.
    #[error("malformed at byte {at}: {problem}")]
    Malformed {
        /// Where, counted from the start of the part being read (the frame for a header, the body
        /// for a body).
        at: usize,
        /// What is wrong there.
        problem: Problem,
    },
    /// The codec refused a body that the skim had let pass.
    #[error("{api:?} version {version}: {reason}")]
    Decode {
        /// The API asked for.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// The codec's words.
        reason: String,
    },
    /// An answer cannot be expressed in the version asked for: a mistake of ours.
    #[error("{api:?} version {version} cannot carry this answer: {reason}")]
    Encode {
        /// The API answered.
        api: ApiKey,
        /// The version asked for.
        version: i16,
        /// What does not fit.
        reason: String,
    },
}

/// What is wrong with the bytes at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end too early.
    #[error("{needed} bytes needed, {remaining} left")]
    Truncated {
        /// Bytes that the field needs.
        needed: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// Null where the protocol knows no null.
    #[error("null in a field that cannot be null")]
    UnexpectedNull,
    /// More elements are announced than can fit into what remains.
    #[error("{count} elements of at least {least_bytes} bytes do not fit into {remaining}")]
    CountTooLarge {
        /// Announced elements.
        count: usize,
        /// The least that one of them takes.
        least_bytes: usize,
        /// Bytes that are left.
        remaining: usize,
    },
    /// A string longer than the 32,767 bytes that the protocol allows.
    #[error("a string of {0} bytes exceeds 32767")]
    StringTooLong(usize),
    /// A variable-length integer of more than five bytes.
    #[error("a variable-length integer exceeds five bytes")]
    VarintTooLong,
    /// The message would take far more memory than its bytes.
    #[error("would decode into more than {limit} bytes")]
    DecodedTooLarge {
        /// The most that a message of this size may take.
        limit: usize,
    },
}

impl Problem {
    pub(crate) fn at(self, at: usize) -> WireError {
        WireError::Malformed { at, problem: self }
    }
}

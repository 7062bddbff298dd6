//! When a request passed each stage of its way.
//!
//! Every request carries these from its first byte on. Nanoseconds of the monotonic clock; zero
//! means that the stage was not passed. Reading them out is left to what exports them.

use tailwater_shards::now;

/// The stamps of one request. They never decrease in the order of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// The whole frame had arrived.
    pub read_ns: u64,
    /// Header and body were decoded.
    pub decoded_ns: u64,
    /// The request's turn on its connection had come.
    pub begun_ns: u64,
    /// Everything it holds was checked, and every owner has been handed its part.
    pub handed_over_ns: u64,
    /// Its condition was met: appended, durable, or enough bytes found.
    pub done_ns: u64,
    /// The answer was encoded.
    pub encoded_ns: u64,
    /// The answer was given to the socket.
    pub replied_ns: u64,
}

impl Stages {
    /// For a frame that has just arrived.
    pub(crate) fn read_now() -> Self {
        Self {
            read_ns: now().as_nanos(),
            ..Self::default()
        }
    }

    pub(crate) fn stamp_decoded(&mut self) {
        self.decoded_ns = now().as_nanos();
    }

    pub(crate) fn stamp_begun(&mut self) {
        self.begun_ns = now().as_nanos();
    }

    pub(crate) fn stamp_handed_over(&mut self) {
        self.handed_over_ns = now().as_nanos();
    }

    pub(crate) fn stamp_done(&mut self) {
        self.done_ns = now().as_nanos();
    }

    pub(crate) fn stamp_encoded(&mut self) {
        self.encoded_ns = now().as_nanos();
    }

    pub(crate) fn stamp_replied(&mut self) {
        self.replied_ns = now().as_nanos();
    }
}

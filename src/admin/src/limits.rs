//! The bounds of the listener, with their units, and what happens at them.

use std::time::Duration;

/// Connections served at once. When one more comes, the one that has done nothing for longest is
/// closed: who is silent keeps nobody from asking.
pub(crate) const CONNECTIONS_MAX: usize = 16;

/// How long the head of a request may take to come, the first as any later one of its connection.
/// Then the connection is closed.
pub(crate) const HEAD_MAX: Duration = Duration::from_secs(1);

/// How long a connection may last, whatever it does; then it is closed, in the middle of an answer
/// too. A client that reads slowly holds an answer for no longer.
pub(crate) const CONNECTION_MAX: Duration = Duration::from_secs(30);

/// Bytes of a request that are buffered: a longer head is answered 431. A body is read by nobody,
/// and ends its connection.
pub(crate) const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Headers that a request may have; one with more is answered 431.
pub(crate) const HEADERS_MAX: usize = 64;

/// Percentiles that one request may ask for; with more it is refused.
pub(crate) const PERCENTILES_MAX: usize = 16;

/// The pause after an accept that failed (no descriptors left, say).
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How often it is looked at how much the shards have worked.
pub(crate) const WORK_INTERVAL: Duration = Duration::from_secs(1);

/// A text of metrics is told to all who ask before it is this old: making one costs processor time
/// that shards may want.
pub(crate) const METRICS_AGE_MAX: Duration = Duration::from_secs(1);

/// A shard that has polled nothing in this many looks, one each [`WORK_INTERVAL`], stands still: each
/// has something to do every second.
pub(crate) const LOOKS_STILL_MAX: u32 = 10;

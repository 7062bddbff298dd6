//! The write-ahead log of a shard.

/// The number of a commit: what an append waits for. Tickets of one shard are ordered as its
/// appends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

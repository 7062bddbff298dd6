//! Channels between shards.

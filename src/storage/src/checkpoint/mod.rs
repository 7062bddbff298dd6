//! Checkpoints: what a start needs besides the WAL, in two files a shard that take turns.
//!
//! A file is a header block and groups. A group is one checkpoint: it counts when all of it is
//! there under its checksum. The first group of a file names every partition; those after it
//! only the ones that have changed. When a file has grown to twice what is alive, the other file
//! is written anew, and until its first group is durable this one stays the one that counts.

pub(crate) mod format;
pub(crate) mod reader;
pub(crate) mod writer;

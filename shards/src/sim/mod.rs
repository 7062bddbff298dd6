//! The simulator: many shards on one thread, on virtual time, from one seed.

pub(crate) mod engine;

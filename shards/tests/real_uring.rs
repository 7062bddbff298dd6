//! The uring engine as it stands on this machine: real threads, rings, files and sockets.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests of the crate that wraps what is banned elsewhere"
)]

mod real {
    /// The engine that these tests run on.
    const ENGINE: tailwater_shards::Engine = tailwater_shards::Engine::Uring;

    pub(crate) mod support;

    mod boot;
    mod buffers;
    mod files;
    mod mesh;
    mod polling;
    mod sockets;
    mod stalls;
    mod tasks;
}

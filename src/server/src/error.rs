//! Why a server did not start, and why it ended.

use std::net::SocketAddr;

/// Why the server did not start. Each prints as one sentence; nothing was served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value that cannot be lived by.
    #[error("{0}")]
    Config(String),
    /// The executors could not be started.
    #[error("{0}")]
    Engine(String),
    /// The data directory was refused.
    #[error("{0}")]
    Storage(String),
    /// The address could not be listened on.
    #[error("cannot listen on {addr}: {error}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Why a server that had started did not end in an orderly way.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A shard's executor ended by itself.
    #[error("{0}")]
    Shard(String),
}

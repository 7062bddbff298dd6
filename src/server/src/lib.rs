//! The server: listeners, connections, one handler a file, and the routing between them.
//!
//! Owns the boot sequence, sockets, the order of requests on a connection, and the translation
//! between Kafka's messages (`wire`) and the broker's plain data. It must not know how a record
//! is stored or when it counts as durable: `broker` and `storage` answer that.
//!
//! Invariants: replies leave a connection in the order of its requests; every buffer is charged
//! to a budget before it is filled, but for a few small ones a connection; nothing that comes from a socket is asserted.
//!
//! A program starts it with a [`ServerConfig`]:
//! ```no_run
//! # use tailwater_server::{Server, ServerConfig};
//! fn serve(config: ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
//!     let running = Server::start(config)?;
//!     let shutdown = running.shutdown_handle(); // Clone and Send: for a signal handler.
//!     println!("{}", running.addr());
//!     running.join()?; // Returns when the last shard has stopped.
//!     # let _ = shutdown;
//!     Ok(())
//! }
//! ```

mod accept;
mod admission;
mod boot;
mod config;
mod connection;
mod doors;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod hand_out;
mod handlers;
mod identity;
mod large_replies;
mod latency_target;
mod limits;
mod program;
mod registry;
mod request_memory;
mod router;
mod server;
mod shard;
mod shard_ports;
mod slow_readers;
mod slow_senders;
mod stages;
mod turns;

pub use config::{Advertised, ConnectionLimits, Engine, Poll, ServerConfig, ShardDirect};
pub use error::{ServeError, StartError};
pub use program::Program;
pub use server::{RunningServer, Server, ShardInfo, Shutdown, StartInfo};
pub use stages::Stages;
pub use tailwater_shards::{Counter, Counters};

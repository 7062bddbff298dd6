//! The server: listeners, connections, one handler a file, and the routing between them.
//!
//! Owns the boot sequence, sockets, the order of requests on a connection, and the translation
//! between Kafka's messages (`wire`) and the broker's plain data. It must not know how a record
//! is stored or when it counts as durable: `broker` and `storage` answer that.
//!
//! Invariants: replies leave a connection in the order of its requests; every buffer is charged
//! to a budget before it is filled; nothing that comes from a socket is asserted.
//!
//! A program starts it with a [`ServerConfig`]:
//! ```ignore
//! let running = Server::start(config)?;
//! let shutdown = running.shutdown_handle();   // Clone + Send: trigger() from a signal handler
//! println!("{}", running.addr());
//! running.join()?;                            // returns when the last shard has stopped
//! ```

mod config;
mod error;
mod server;

pub use config::{Advertised, ConnectionLimits, Engine, Poll, ServerConfig};
pub use error::{ServeError, StartError};
pub use server::{RunningServer, Server, Shutdown, StartInfo};

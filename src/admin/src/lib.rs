//! What the broker tells its operator over HTTP: metrics, health, and where the time goes.
//!
//! Owns a listener and one thread of its own, pinned nowhere, with tokio and axum on it; nothing of
//! it runs on a shard. What it tells it reads from cells that the shards write; where every core has a
//! shard its thread gives way to them. It must not know how anything is served or stored, and it changes
//! nothing.
//!
//! Bounds, for clients that mean harm: see [`limits`]. A client beyond [`limits::CONNECTIONS_MAX`]
//! has the one closed that did nothing for longest; a request that comes too slowly or is too large ends its connection, and a
//! connection ends by itself, whatever it does. Between requests one text of metrics is kept.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a thread, a clock and sockets of its own, beside the shards"
)]

mod budget;
mod connections;
mod http;
mod latency;
mod limits;
mod metrics;
#[cfg(test)]
mod tests;
mod watched;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tailwater_shards::Figures;
use tokio::sync::Notify;

use watched::Watched;

/// A listener that answers.
#[derive(Debug)]
pub struct Admin {
    addr: SocketAddr,
    watched: Arc<Watched>,
    stop: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the listener how the broker is. Clone and Send.
#[derive(Debug, Clone)]
pub struct Status {
    watched: Arc<Watched>,
}

impl Status {
    /// Clients are served from now on, by shards with these figures.
    pub fn serves(&self, figures: Figures) {
        self.watched.serves(figures);
    }

    /// The broker stops: it is not ready any more.
    pub fn stops(&self) {
        self.watched.stops();
    }
}

impl Admin {
    /// Listens, and answers from now on: `/readyz` says that the broker is not ready yet.
    /// `version` is told as the broker's.
    ///
    /// # Errors
    /// The address cannot be listened on, or the thread not be started.
    pub fn start(listen: SocketAddr, version: &'static str) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let watched = Arc::new(Watched::new(version));
        let stop = Arc::new(Notify::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let serving = http::serve(listener, Arc::clone(&watched), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                if let Err(error) = tailwater_shards::give_way_to_shards() {
                    tracing::warn!("the admin thread does not give way to shards: {error}");
                }
                if let Err(error) = runtime.block_on(serving) {
                    tracing::error!("the admin listener ended: {error}");
                }
            })?;
        Ok(Self {
            addr,
            watched,
            stop,
            thread: Some(thread),
        })
    }

    /// The address listened on, with its real port.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// By which it is told how the broker is.
    pub fn status(&self) -> Status {
        Status {
            watched: Arc::clone(&self.watched),
        }
    }
}

impl Drop for Admin {
    /// Ends the listener, its connections and its thread.
    fn drop(&mut self) {
        self.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by the panic itself.
            drop(thread.join());
        }
    }
}

//! The server as its owner sees it: start, information, shutdown, end.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Engine, Poll, ServerConfig};
use crate::error::{ServeError, StartError};

/// Starts servers.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Recovers the data directory, starts the shards and opens the listener. When it returns
    /// clients can connect.
    ///
    /// # Errors
    /// One sentence on what was refused; nothing was served.
    pub fn start(_config: ServerConfig) -> Result<RunningServer, StartError> {
        Err(StartError::Config("the server cannot start yet".to_owned()))
    }
}

/// What was started, for the block that is printed at the start.
#[derive(Debug, Clone)]
pub struct StartInfo {
    /// The address listened on, with its real port.
    pub addr: SocketAddr,
    /// `host:port` that clients are told.
    pub advertised: String,
    /// The core of each shard, in the order of the shards.
    pub cpus: Vec<usize>,
    /// What the shards run on.
    pub engine: Engine,
    /// How they wait.
    pub poll: Poll,
    /// Directory of the log.
    pub data_dir: PathBuf,
    /// The cluster's id as Kafka writes it: 22 characters.
    pub cluster_id: String,
    /// What was recovered, in one or a few lines.
    pub recovery: String,
}

/// Asks a server to stop. Clone and Send.
#[derive(Debug, Clone)]
pub struct Shutdown {}

impl Shutdown {
    /// Stops accepting, answers what is in flight, checkpoints and ends; within a second.
    /// Further calls do nothing.
    pub fn trigger(&self) {}
}

/// A server that serves.
#[derive(Debug)]
pub struct RunningServer {
    info: StartInfo,
    shutdown: Shutdown,
}

impl RunningServer {
    /// The address listened on, with its real port.
    pub fn addr(&self) -> SocketAddr {
        self.info.addr
    }

    /// What was started.
    pub fn info(&self) -> &StartInfo {
        &self.info
    }

    /// A handle that stops it, from any thread.
    pub fn shutdown_handle(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// If a shard ended by itself.
    pub fn join(self) -> Result<(), ServeError> {
        Ok(())
    }
}

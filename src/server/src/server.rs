//! The server as its owner sees it: start, information, shutdown, end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tailwater_shards::{Counters, Figures, RunConfig, Running};

use crate::config::{Engine, Poll, ServerConfig};
use crate::error::{ServeError, StartError};
use crate::identity::{Identity, Node};
use crate::program::Program;

/// Starts servers.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Recovers the data directory, starts the shards and opens the listener. When it returns
    /// clients can connect.
    ///
    /// # Errors
    /// One sentence on what was refused; nothing was served.
    pub fn start(config: ServerConfig) -> Result<RunningServer, StartError> {
        let mut run = RunConfig::new(config.cpus.clone());
        run.engine = match config.engine {
            Engine::Glommio => tailwater_shards::Engine::Glommio,
            Engine::Uring => tailwater_shards::Engine::Uring,
        };
        run.poll = match config.poll {
            Poll::Park => tailwater_shards::Poll::Park,
            Poll::Adaptive { spin } => tailwater_shards::Poll::Adaptive { spin },
            Poll::Spin => tailwater_shards::Poll::Spin,
        };
        let directories = Directories::make(&config)?;
        run.probe_dirs = directories.all.clone();
        let (program, started) = Program::new(config)?;
        let shutdown = program.shutdown();
        let main = move |me| Arc::clone(&program).run(me);
        let running = tailwater_shards::run(run, main)
            .map_err(|error| StartError::Engine(error.to_string()))?;
        match started.recv() {
            Ok(Ok(info)) => {
                directories.keep();
                Ok(RunningServer {
                    info,
                    shutdown: Shutdown { switch: shutdown },
                    running,
                })
            }
            Ok(Err(error)) => {
                shutdown.trigger();
                // The start's own error says more than how the shards ended.
                let _ended = running.join();
                Err(error)
            }
            Err(_) => {
                shutdown.trigger();
                let ended = running.join().err().map(|error| error.to_string());
                Err(StartError::Engine(
                    ended.unwrap_or_else(|| "shard 0 ended".to_owned()),
                ))
            }
        }
    }
}

/// The directories that files will be in. Those that were made for this start are taken away
/// again when it is refused, as far as they are empty.
struct Directories {
    all: Vec<PathBuf>,
    made: Vec<PathBuf>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "no shard runs yet that could make them"
)]
impl Directories {
    fn make(config: &ServerConfig) -> Result<Self, StartError> {
        let mut directories = Self {
            all: Vec::new(),
            made: Vec::new(),
        };
        for dir in [Some(&config.data_dir), config.wal_dir.as_ref()]
            .into_iter()
            .flatten()
        {
            if !dir.exists() {
                std::fs::create_dir_all(dir).map_err(|error| {
                    StartError::Storage(format!("cannot make {}: {error}", dir.display()))
                })?;
                directories.made.push(dir.clone());
            }
            directories.all.push(dir.clone());
        }
        Ok(directories)
    }

    fn keep(mut self) {
        self.made.clear();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "no shard runs any more that could take them away"
)]
impl Drop for Directories {
    fn drop(&mut self) {
        for dir in &self.made {
            // One that is not empty any more stays.
            let _removed = std::fs::remove_dir(dir);
        }
    }
}

/// A shard that is a broker of its own.
#[derive(Debug, Clone)]
pub struct ShardInfo {
    /// The broker's id.
    pub id: i32,
    /// The address listened on, with its real port.
    pub addr: SocketAddr,
    /// `host:port` that clients are told.
    pub advertised: String,
}

/// What was started, for the block that is printed at the start.
#[derive(Debug, Clone)]
pub struct StartInfo {
    /// The address listened on, with its real port.
    pub addr: SocketAddr,
    /// `host:port` that clients are told; `None` when they are told the shards' instead.
    pub advertised: Option<String>,
    /// Each shard with a port of its own, in order.
    pub shards: Vec<ShardInfo>,
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

impl StartInfo {
    pub(crate) fn new(
        config: &ServerConfig,
        addr: SocketAddr,
        shard_addrs: &[SocketAddr],
        identity: &Identity,
        recovery: String,
    ) -> Self {
        let advertised = |node: &Node| format!("{}:{}", &*node.host, node.port);
        let shard = |(node, addr): (&Node, &SocketAddr)| ShardInfo {
            id: node.id,
            addr: *addr,
            advertised: advertised(node),
        };
        let shards = identity.nodes().iter().zip(shard_addrs);
        Self {
            addr,
            advertised: shard_addrs
                .is_empty()
                .then(|| advertised(identity.controller())),
            shards: shards.map(shard).collect(),
            cpus: config.cpus.clone(),
            engine: config.engine,
            poll: config.poll,
            data_dir: config.data_dir.clone(),
            cluster_id: identity.cluster_id.to_string(),
            recovery,
        }
    }
}

/// Asks a server to stop. Clone and Send.
#[derive(Debug, Clone)]
pub struct Shutdown {
    switch: tailwater_shards::Shutdown,
}

impl Shutdown {
    /// Stops accepting, answers what is in flight, checkpoints and ends; within a second.
    /// Further calls do nothing.
    pub fn trigger(&self) {
        self.switch.trigger();
    }
}

/// A server that serves.
#[derive(Debug)]
pub struct RunningServer {
    info: StartInfo,
    shutdown: Shutdown,
    running: Running,
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

    /// What its shards count by name; readable while they run and after.
    pub fn counters(&self) -> Counters {
        self.running.counters()
    }

    /// All that its shards write down of themselves, the counters too.
    pub fn figures(&self) -> Figures {
        self.running.figures()
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// If a shard ended by itself.
    pub fn join(self) -> Result<(), ServeError> {
        self.running
            .join()
            .map_err(|error| ServeError::Shard(error.to_string()))
    }
}

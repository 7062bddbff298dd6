//! What runs on each shard, from its first moment to its last.
//!
//! Owns the order of a start and of an end. A start: shard 0 recovers, hands every shard its seed,
//! and listens only when all have their storage and broker. An end: nothing more is accepted, each
//! connection answers what it has in flight, and when that is so on all shards each writes its
//! storage's tails and ends. All waits of the end are bounded: see `limits`.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use futures_util::future::{FutureExt, LocalBoxFuture, select};
use tailwater_broker::{BrokerMesh, BrokerMeshEnds, BrokerSettings};
use tailwater_shards::{Accepted, Listener, Mesh, MeshEnds, ShardId, Shutdown, spawn, timeout};

use crate::admission::{Admission, Place, Turned};
use crate::boot::{self, Booted, Seed};
use crate::config::{ConnectionLimits, ServerConfig};
use crate::doors::{Doors, bind, listen_at_shards};
use crate::error::StartError;
use crate::gate::Gate;
use crate::hand_out::HandOut;
use crate::identity::Identity;
use crate::latency_target;
use crate::limits::{DRAIN_GATE_MAX, DRAIN_MAX, MESH_CAPACITY, STORAGE_SHUTDOWN_MAX};
use crate::server::StartInfo;
use crate::shard::Shard;

/// What the shards' servers send each other, shard 0 most of it.
pub(crate) enum Message {
    /// What to start with; the first message, and the only one of its kind.
    Boot(Box<Seed>),
    /// A connection to serve.
    Accepted(Accepted, Place),
    /// To listen on the shard's own port; before the boot.
    Listen(SocketAddr),
    /// Of shard 0 only: whether a connection from there may come in on the sender's own port.
    Admit(IpAddr),
}

/// What they answer.
pub(crate) enum Answer {
    /// Storage and broker stand, or why not.
    Booted(Result<(), String>),
    /// The connection is being served, or was dropped.
    Taken,
    /// Where the shard listens.
    Listening(std::io::Result<SocketAddr>),
    /// A place, or why there is none.
    Admitted(Result<Place, Turned>),
}

/// What the shards of one server share from before they run.
pub struct Program {
    pub(crate) config: ServerConfig,
    pub(crate) settings: Arc<BrokerSettings>,
    pub(crate) shards: u16,
    shutdown: Shutdown,
    /// Triggered when all shards stand: their own ports may accept.
    pub(crate) opened: Shutdown,
    drained: Gate,
    quiet: Gate,
    mesh: HandOut<MeshEnds<Message, Answer>>,
    broker_mesh: HandOut<BrokerMeshEnds>,
    /// Where the shards listen, in order; set before they boot.
    pub(crate) shard_addrs: OnceLock<Vec<SocketAddr>>,
    /// Set before the first connection is accepted.
    identity: OnceLock<Identity>,
    started: HandOut<SyncSender<Result<StartInfo, StartError>>>,
}

impl Program {
    /// A program for `config`, and where the start's outcome will arrive. The channel breaks off
    /// without one if shard 0 fails.
    ///
    /// # Errors
    /// A configuration that cannot be lived by.
    #[allow(clippy::type_complexity, reason = "the pair is taken apart at once")]
    pub fn new(
        config: ServerConfig,
    ) -> Result<(Arc<Self>, Receiver<Result<StartInfo, StartError>>), StartError> {
        let shards = u16::try_from(config.cpus.len()).unwrap_or(0);
        if shards == 0 {
            return Err(StartError::Config(
                "a server needs 1 to 65535 shards".to_owned(),
            ));
        }
        config.check_addresses()?;
        config.check_request_bytes()?;
        let settings = BrokerSettings::from_pairs(&config.broker_pairs())
            .and_then(|settings| {
                let bytes_max = boot::storage_config(&config, &settings).batch_bytes_max();
                settings.with_batches_up_to(bytes_max)
            })
            .map_err(|error| StartError::Config(error.to_string()))?;
        let (sender, receiver) = sync_channel(1);
        let program = Self {
            config,
            settings: Arc::new(settings),
            shards,
            shutdown: Shutdown::new(),
            opened: Shutdown::new(),
            drained: Gate::new(shards),
            quiet: Gate::new(shards),
            mesh: HandOut::new(tailwater_shards::mesh(shards, MESH_CAPACITY)),
            broker_mesh: HandOut::new(tailwater_broker::broker_mesh(shards)),
            shard_addrs: OnceLock::new(),
            identity: OnceLock::new(),
            started: HandOut::new([sender]),
        };
        Ok((Arc::new(program), receiver))
    }

    /// Stops the shards when triggered.
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// The main future of a shard.
    pub async fn run(self: Arc<Self>, me: ShardId) {
        let mesh = self.mesh.take(me).expect("a shard runs once").attach();
        let ends = self.broker_mesh.take(me).expect("a shard runs once");
        let node = Rc::new(Node {
            program: Arc::clone(&self),
            broker_mesh: ends.attach(),
            doors: Doors::new(Admission::new(self.shards, &self.config.limits)),
            standing: RefCell::new(None),
        });
        mesh.serve({
            let node = Rc::clone(&node);
            move |from, message| node.handle(from, message)
        });
        if self.config.shard_direct.is_some() {
            let accepting = Rc::clone(&node).accept_own(mesh.clone());
            spawn("own port", accepting).detach();
        }
        if me == ShardId(0) {
            let started = self.started.take(me).expect("shard 0 runs once");
            // Dropped when the server stops, and the listener with it.
            let lead = node.lead(&mesh, started).boxed_local();
            select(lead, self.shutdown.triggered().boxed_local()).await;
        }
        self.shutdown.triggered().await;
        node.stop().await;
        mesh.close();
    }
}

/// One shard of a running program.
pub(crate) struct Node {
    pub(crate) program: Arc<Program>,
    broker_mesh: BrokerMesh,
    pub(crate) doors: Doors,
    /// Storage and broker, and the server on top once the address is known.
    standing: RefCell<Option<Standing>>,
}

struct Standing {
    booted: Booted,
    servers: Option<Servers>,
}

/// A shard's server as each kind of port has it.
#[derive(Clone)]
struct Servers {
    /// It answers for all shards.
    of_all: Rc<Shard>,
    /// It answers for this shard alone: that of its own port.
    direct: Rc<Shard>,
}

impl Node {
    fn handle(self: &Rc<Self>, from: ShardId, message: Message) -> LocalBoxFuture<'static, Answer> {
        let node = Rc::clone(self);
        match message {
            Message::Listen(addr) => {
                async move { Answer::Listening(node.listen(addr).await) }.boxed_local()
            }
            Message::Admit(address) => {
                let admitted = node.admit(from, address);
                std::future::ready(Answer::Admitted(admitted)).boxed_local()
            }
            Message::Boot(seed) => async move {
                let booted = node.boot(*seed).await;
                Answer::Booted(booted.map_err(|error| error.to_string()))
            }
            .boxed_local(),
            Message::Accepted(accepted, place) => {
                node.serve(accepted, place);
                std::future::ready(Answer::Taken).boxed_local()
            }
        }
    }

    async fn boot(&self, seed: Seed) -> Result<(), StartError> {
        let booted = boot::start(&self.program, self.broker_mesh.clone(), seed).await?;
        if let Some(target) = self.program.config.latency_target {
            latency_target::start(target, booted.storage.clone());
        }
        *self.standing.borrow_mut() = Some(Standing {
            booted,
            servers: None,
        });
        Ok(())
    }

    /// Starts everything, then accepts for ever. What went wrong is told to the starter, and
    /// stops every shard.
    async fn lead(
        self: &Rc<Self>,
        mesh: &Mesh<Message, Answer>,
        started: SyncSender<Result<StartInfo, StartError>>,
    ) {
        let (listener, info) = match self.start(mesh).await {
            Ok(standing) => standing,
            Err(error) => {
                // The starter may have gone; the shards stop all the same.
                let _told = started.send(Err(error));
                return self.program.shutdown.trigger();
            }
        };
        let _told = started.send(Ok(info));
        self.program.opened.trigger();
        self.accept_for_all(listener, mesh).await;
    }

    async fn start(
        &self,
        mesh: &Mesh<Message, Answer>,
    ) -> Result<(Listener, StartInfo), StartError> {
        let program = &self.program;
        // Before the data directory is touched: an address in use alters nothing. Who connects
        // now waits in the backlog until the first accept.
        let shard_addrs = listen_at_shards(mesh, program.config.shard_addrs()).await?;
        let addr = program.config.listen;
        let listen = |error| StartError::Listen { addr, error };
        let listener = bind(addr).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let shard_addrs = program.shard_addrs.get_or_init(|| shard_addrs);
        let boot::Recovery {
            cluster_id,
            told,
            seeds,
        } = boot::recover(program).await?;
        let mut others = Vec::new();
        let mut mine = None;
        for (index, seed) in (0..program.shards).zip(seeds) {
            if index == 0 {
                mine = Some(seed);
            } else {
                others.push(
                    mesh.send(ShardId(index), Message::Boot(Box::new(seed)))
                        .await,
                );
            }
        }
        self.boot(mine.expect("recovery makes a seed for every shard"))
            .await?;
        for other in others {
            match other.await {
                Ok(Answer::Booted(Ok(()))) => {}
                Ok(Answer::Booted(Err(sentence))) => return Err(StartError::Storage(sentence)),
                _ => {
                    return Err(StartError::Engine(
                        "a shard ended while it started".to_owned(),
                    ));
                }
            }
        }
        let identity = program.config.identity(addr, shard_addrs, cluster_id);
        let info = StartInfo::new(&program.config, addr, shard_addrs, &identity, told);
        program
            .identity
            .set(identity)
            .expect("a program starts once");
        Ok((listener, info))
    }

    /// Serves a connection; before the start and after the end there is nobody to.
    pub(crate) fn serve(&self, accepted: Accepted, place: Place) {
        if let Some(servers) = self.servers() {
            serve(&servers.of_all, accepted, place);
        }
    }

    /// Serves a connection that came to the shard's own port.
    pub(crate) fn serve_direct(&self, accepted: Accepted, place: Place) {
        if let Some(servers) = self.servers() {
            serve(&servers.direct, accepted, place);
        }
    }

    /// The server of this shard, made for its first connection.
    fn servers(&self) -> Option<Servers> {
        let identity = self.program.identity.get()?;
        let mut standing = self.standing.borrow_mut();
        let standing = standing.as_mut()?;
        let servers = standing.servers.get_or_insert_with(|| {
            let config = &self.program.config;
            let memory = config.memory_bytes / u64::from(self.program.shards);
            let broker = standing.booted.broker.clone();
            let limits = ConnectionLimits {
                request_bytes_max: config.request_bytes_max(),
                ..config.limits.clone()
            };
            let request_memory = config.request_memory_bytes();
            let shard = Shard::new(broker, identity.clone(), limits, request_memory, memory);
            shard.start_sweeping();
            Servers {
                direct: Rc::new(shard.direct()),
                of_all: shard,
            }
        });
        Some(servers.clone())
    }

    async fn stop(&self) {
        let standing = self.standing.borrow_mut().take();
        let servers = standing.as_ref().and_then(|s| s.servers.clone());
        if let Some(servers) = servers {
            // Both have the same.
            servers.of_all.registry.drain(DRAIN_MAX).await;
        }
        // Another shard's connections may still wait for this shard's storage.
        self.program.drained.pass(DRAIN_GATE_MAX).await;
        if let Some(standing) = &standing {
            standing.booted.broker.shutdown().await;
        }
        self.program.quiet.pass(DRAIN_GATE_MAX).await;
        let Some(Standing { booted, .. }) = standing else {
            return;
        };
        if timeout(STORAGE_SHUTDOWN_MAX, booted.storage.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("the storage was not done in time; the next start replays its log");
        }
    }
}

fn serve(shard: &Rc<Shard>, accepted: Accepted, place: Place) {
    match accepted.into_stream() {
        Ok(stream) => shard.serve(stream, place),
        Err(error) => tracing::debug!("a connection was gone when it was taken: {error}"),
    }
}

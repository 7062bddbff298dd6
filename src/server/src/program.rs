//! What runs on each shard, from its first moment to its last.
//!
//! Owns the order of a start and of an end. A start: shard 0 recovers, hands every shard its seed,
//! and listens only when all have their storage and broker. An end: nothing more is accepted, each
//! connection answers what it has in flight, and when that is so on all shards each writes its
//! storage's tails and ends. All waits of the end are bounded: see `limits`.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use futures_util::future::{FutureExt, LocalBoxFuture, select};
use tailwater_broker::{BrokerMesh, BrokerMeshEnds, BrokerSettings};
use tailwater_shards::{
    Accepted, Listener, Mesh, MeshEnds, ShardId, Shutdown, now, sleep, timeout,
};

use crate::accept::accept;
use crate::admission::{Admission, Place};
use crate::boot::{self, Booted, Seed};
use crate::config::{ConnectionLimits, ServerConfig};
use crate::error::StartError;
use crate::gate::Gate;
use crate::hand_out::HandOut;
use crate::identity::Identity;
use crate::limits::{
    DRAIN_GATE_MAX, DRAIN_MAX, LISTEN_RETRY_INTERVAL, LISTEN_RETRY_MAX, MESH_CAPACITY,
    STORAGE_SHUTDOWN_MAX,
};
use crate::server::StartInfo;
use crate::shard::Shard;

/// What shard 0 sends to the others.
pub(crate) enum Message {
    /// What to start with; the first message, and the only one of its kind.
    Boot(Box<Seed>),
    /// A connection to serve.
    Accepted(Accepted, Place),
}

/// What they answer.
pub(crate) enum Answer {
    /// Storage and broker stand, or why not.
    Booted(Result<(), String>),
    /// The connection is being served, or was dropped.
    Taken,
}

/// What the shards of one server share from before they run.
pub struct Program {
    pub(crate) config: ServerConfig,
    pub(crate) settings: Arc<BrokerSettings>,
    pub(crate) shards: u16,
    shutdown: Shutdown,
    drained: Gate,
    quiet: Gate,
    mesh: HandOut<MeshEnds<Message, Answer>>,
    broker_mesh: HandOut<BrokerMeshEnds>,
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
        if config.listen.ip().is_unspecified() && config.advertise.is_none() {
            return Err(StartError::Config(format!(
                "listening on {} needs an address for clients to connect to: advertise one",
                config.listen
            )));
        }
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
            drained: Gate::new(shards),
            quiet: Gate::new(shards),
            mesh: HandOut::new(tailwater_shards::mesh(shards, MESH_CAPACITY)),
            broker_mesh: HandOut::new(tailwater_broker::broker_mesh(shards)),
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
            standing: RefCell::new(None),
        });
        mesh.serve({
            let node = Rc::clone(&node);
            move |_, message| node.handle(message)
        });
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

/// Listens. The kernel gives a killed process's address free only when it is done with what that
/// had in flight, which may be after the process is gone: a while is waited.
async fn bind(addr: SocketAddr) -> std::io::Result<Listener> {
    let until = now() + LISTEN_RETRY_MAX;
    loop {
        match Listener::bind(addr) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && now() < until => {
                sleep(LISTEN_RETRY_INTERVAL).await;
            }
            bound => return bound,
        }
    }
}

/// One shard of a running program.
struct Node {
    program: Arc<Program>,
    broker_mesh: BrokerMesh,
    /// Storage and broker, and the server on top once the address is known.
    standing: RefCell<Option<Standing>>,
}

struct Standing {
    booted: Booted,
    shard: Option<Rc<Shard>>,
}

impl Node {
    fn handle(self: &Rc<Self>, message: Message) -> LocalBoxFuture<'static, Answer> {
        let node = Rc::clone(self);
        match message {
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
        *self.standing.borrow_mut() = Some(Standing {
            booted,
            shard: None,
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
        let admission = Admission::new(self.program.shards, &self.program.config.limits);
        let node = Rc::clone(self);
        accept(listener, admission, mesh.clone(), move |accepted, place| {
            node.serve(accepted, place)
        })
        .await;
    }

    async fn start(
        &self,
        mesh: &Mesh<Message, Answer>,
    ) -> Result<(Listener, StartInfo), StartError> {
        let program = &self.program;
        // Before the data directory is touched: an address in use alters nothing. Who connects
        // now waits in the backlog until the first accept.
        let addr = program.config.listen;
        let listen = |error| StartError::Listen { addr, error };
        let listener = bind(addr).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
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
                Ok(Answer::Taken) | Err(_) => {
                    return Err(StartError::Engine(
                        "a shard ended while it started".to_owned(),
                    ));
                }
            }
        }
        let identity = program.config.identity(addr, cluster_id);
        let info = StartInfo::new(&program.config, addr, &identity, told);
        program
            .identity
            .set(identity)
            .expect("a program starts once");
        Ok((listener, info))
    }

    /// Serves a connection; before the start and after the end there is nobody to.
    fn serve(&self, accepted: Accepted, place: Place) {
        let Some(shard) = self.shard() else { return };
        match accepted.into_stream() {
            Ok(stream) => shard.serve(stream, place),
            Err(error) => tracing::debug!("a connection was gone when it was taken: {error}"),
        }
    }

    /// The server of this shard, made for its first connection.
    fn shard(&self) -> Option<Rc<Shard>> {
        let identity = self.program.identity.get()?;
        let mut standing = self.standing.borrow_mut();
        let standing = standing.as_mut()?;
        let shard = standing.shard.get_or_insert_with(|| {
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
            shard
        });
        Some(Rc::clone(shard))
    }

    async fn stop(&self) {
        let standing = self.standing.borrow_mut().take();
        if let Some(shard) = standing
            .as_ref()
            .and_then(|standing| standing.shard.clone())
        {
            shard.registry.drain(DRAIN_MAX).await;
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

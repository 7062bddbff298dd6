//! A simulated machine with one server on it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Duration;

use tailwater_server::{
    ConnectionLimits, Engine, Poll, Program, ServerConfig, StartError, StartInfo,
};
use tailwater_shards::Shutdown;
use tailwater_shards::sim::{Process, Simulation};

use crate::client::Client;

/// Where the server listens.
pub(crate) fn addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9092))
}

/// A configuration for a small server of that many shards.
pub(crate) fn config(shards: usize) -> ServerConfig {
    ServerConfig {
        listen: addr(),
        advertise: None,
        shard_direct: None,
        data_dir: "/data".into(),
        wal_dir: None,
        wal_bytes: 64 << 20,
        disk_reserve_bytes: 1 << 20,
        node_id: 1,
        cpus: (0..shards).collect(),
        poll: Poll::Park,
        engine: Engine::Glommio,
        latency_target: None,
        memory_bytes: 128 << 20,
        limits: ConnectionLimits::default(),
        broker: BTreeMap::new(),
    }
}

/// A server that has started, or is about to.
pub(crate) struct Cluster {
    pub(crate) simulation: Simulation,
    pub(crate) process: Process,
    shutdown: Shutdown,
    started: Receiver<Result<StartInfo, StartError>>,
}

impl Cluster {
    /// Starts a server on an empty disk.
    pub(crate) fn start(seed: u64, config: ServerConfig) -> Self {
        Self::start_on(Simulation::new(seed), config)
    }

    /// Starts a server on a machine that may have seen one before.
    pub(crate) fn start_on(simulation: Simulation, config: ServerConfig) -> Self {
        let mut cluster = Self::boot(simulation, config);
        cluster.wait_for_start().expect("it starts");
        cluster
    }

    /// Boots, whatever comes of it.
    pub(crate) fn boot(mut simulation: Simulation, config: ServerConfig) -> Self {
        let shards = u16::try_from(config.cpus.len()).unwrap();
        let (program, started) = Program::new(config).unwrap();
        let shutdown = program.shutdown();
        let process = simulation.boot(shards, move |me| Arc::clone(&program).run(me));
        Self {
            simulation,
            process,
            shutdown,
            started,
        }
    }

    /// Runs until the start's outcome is known.
    pub(crate) fn wait_for_start(&mut self) -> Result<StartInfo, StartError> {
        loop {
            match self.started.try_recv() {
                Ok(outcome) => return outcome,
                Err(TryRecvError::Empty) => self.simulation.run_for(Duration::from_millis(1)),
                Err(TryRecvError::Disconnected) => panic!("the server ended without a word"),
            }
        }
    }

    /// Runs a client to its end.
    pub(crate) fn client<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        body: impl FnOnce(Client) -> F + 'static,
    ) -> T {
        let task = self
            .simulation
            .spawn("client", async move { body(Client::connect().await).await });
        self.simulation.run_until_done(&task)
    }

    /// A handle that stops the server.
    pub(crate) fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Stops the server in an orderly way and says how long it took, in virtual time.
    pub(crate) fn stop(mut self) -> (Simulation, Duration) {
        let before = self.simulation.now();
        self.shutdown.trigger();
        self.simulation.run_until_ended(self.process);
        let took = self.simulation.now() - before;
        (self.simulation, took)
    }

    /// Ends the server as kill -9 does.
    pub(crate) fn kill(mut self) -> Simulation {
        self.simulation.kill(self.process);
        self.simulation
    }
}

/// Something that tasks of one simulation write and read.
pub(crate) type Cell<T> = Rc<RefCell<T>>;

//! What a server is told at its start: plain values, every one typed and with its unit.
//!
//! Reading files, flags and environment is the program's business, not this crate's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::StartError;
use crate::limits::{
    GROUP_MEMORY_BYTES_MIN, GROUP_MEMORY_DIVISOR, REQUEST_MEMORY_BYTES_MIN, REQUEST_MEMORY_DIVISOR,
};
use crate::request_memory::large_frames_bytes;

/// Kafka's name for the largest frame.
const REQUEST_BYTES_MAX: &str = "socket.request.max.bytes";

/// What the shards' executors run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// glommio over io_uring, one pinned thread a shard.
    Glommio,
    /// An executor of our own over io_uring, one pinned thread a shard.
    Uring,
}

impl Engine {
    /// What a broker runs on that was not told: `Uring`, if this kernel's io_uring has what it
    /// needs.
    pub fn of_this_kernel() -> Engine {
        if tailwater_shards::has_uring() {
            Engine::Uring
        } else {
            Engine::Glommio
        }
    }
}

/// How a shard waits when it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// Sleeps in the kernel at once.
    Park,
    /// Spins this long, then sleeps.
    Adaptive {
        /// Time spent spinning before the sleep.
        spin: Duration,
    },
    /// Never sleeps.
    Spin,
}

/// Host and port that clients are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// A name or an address, as it appears in Metadata.
    pub host: String,
    /// The port; 0 means the one that is listened on.
    pub port: u16,
}

/// Shard-direct routing: each shard listens on a port of its own and is told to clients as a broker
/// of its own, so that a request comes where its partition is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardDirect {
    /// Shard i listens on this port + i, at the address of `listen`; 0 takes any free ones.
    pub port_base: u16,
    /// What clients are told: shard i is at this port + i, or with port 0 at the one it listens on.
    /// `None` is the addresses listened on.
    pub advertise: Option<Advertised>,
}

/// Bounds on what connections may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// `max.connections`: connections over all shards. One more is closed at once.
    pub connections_max: usize,
    /// `max.connections.per.ip`: connections of one address. One more is closed at once.
    pub connections_per_ip_max: usize,
    /// `connections.max.idle.ms`: a connection with nothing in flight is closed after this
    /// long; a parked fetch is in flight. `None` never closes.
    pub idle_max: Option<Duration>,
    /// `socket.request.max.bytes`: a larger frame closes its connection.
    pub request_bytes_max: usize,
}

impl Default for ConnectionLimits {
    /// Kafka's defaults, except that the number of connections is bounded.
    fn default() -> Self {
        Self {
            connections_max: 100_000,
            connections_per_ip_max: usize::MAX,
            idle_max: Some(Duration::from_secs(600)),
            request_bytes_max: 100 * 1024 * 1024,
        }
    }
}

/// Everything a server needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Address to accept clients on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What clients are told; `None` is the address listened on, which must then be one that
    /// clients can connect to: not 0.0.0.0. Refused with `shard_direct`, which says it itself.
    pub advertise: Option<Advertised>,
    /// Each shard as a broker of its own; `None` is one broker for all.
    pub shard_direct: Option<ShardDirect>,
    /// Directory of the log. Made if it does not exist.
    pub data_dir: PathBuf,
    /// Directory of the write-ahead log; `None` is inside the data directory.
    pub wal_dir: Option<PathBuf>,
    /// Size of each shard's write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// Free bytes kept on the disk: below it appends are refused.
    pub disk_reserve_bytes: u64,
    /// This broker's id.
    pub node_id: i32,
    /// The cores to pin shards to, one a shard; their number is the number of shards.
    pub cpus: Vec<usize>,
    /// How shards wait.
    pub poll: Poll,
    /// What the shards run on.
    pub engine: Engine,
    /// 99.9 of a hundred durable acknowledgements are to take no longer: the background gives way for it.
    /// `None` leaves the background what it may always have.
    pub latency_target: Option<Duration>,
    /// Memory for all shards together, in bytes: request frames, write buffers and read caches.
    pub memory_bytes: u64,
    /// Bounds on connections.
    pub limits: ConnectionLimits,
    /// Kafka's broker keys that the broker knows (`num.partitions`, `log.retention.ms`, ...),
    /// as text: the `broker` crate parses and refuses them by name.
    pub broker: BTreeMap<String, String>,
}

impl ServerConfig {
    /// Kafka's broker keys: those that were set, and under Kafka's names what the fields above
    /// say, so that clients who ask are told what holds.
    pub(crate) fn broker_pairs(&self) -> BTreeMap<String, String> {
        let mut pairs = self.broker.clone();
        let mut put = |name: &str, value: String| pairs.insert(name.to_owned(), value);
        for name in ["broker.id", "node.id"] {
            put(name, self.node_id.to_string());
        }
        for name in ["log.dir", "log.dirs"] {
            put(name, self.data_dir.display().to_string());
        }
        put("listeners", format!("PLAINTEXT://{}", self.listen));
        // What a shard's memory allows may be less than the default.
        let request = self.request_bytes_max();
        if request < self.limits.request_bytes_max {
            put(REQUEST_BYTES_MAX, request.to_string());
        }
        if let Some(Advertised { host, port }) = &self.advertise {
            put("advertised.listeners", format!("PLAINTEXT://{host}:{port}"));
        }
        if self.shard_direct.is_some() {
            // So that it is known as set; each shard says its own.
            put("advertised.listeners", String::new());
        }
        pairs
    }

    /// What the groups of one shard may hold, in bytes.
    pub(crate) fn group_memory_bytes(&self) -> u64 {
        let shards = self.cpus.len().max(1) as u64;
        (self.memory_bytes / shards / GROUP_MEMORY_DIVISOR).max(GROUP_MEMORY_BYTES_MIN)
    }

    /// Request memory of one shard, in bytes.
    pub(crate) fn request_memory_bytes(&self) -> u64 {
        let shards = self.cpus.len().max(1) as u64;
        (self.memory_bytes / shards / REQUEST_MEMORY_DIVISOR).max(REQUEST_MEMORY_BYTES_MIN)
    }

    /// The largest frame that is let in: as configured, or what a shard's request memory has for
    /// large frames.
    pub(crate) fn request_bytes_max(&self) -> usize {
        let held = large_frames_bytes(self.request_memory_bytes());
        let held = usize::try_from(held).unwrap_or(usize::MAX);
        self.limits.request_bytes_max.min(held)
    }

    /// Refuses a request size that was asked for and cannot be had.
    ///
    /// # Errors
    /// One sentence with both sizes.
    pub(crate) fn check_request_bytes(&self) -> Result<(), StartError> {
        let asked = self.limits.request_bytes_max;
        let most = self.request_bytes_max();
        if !self.broker.contains_key(REQUEST_BYTES_MAX) || asked <= most {
            return Ok(());
        }
        Err(StartError::Config(format!(
            "{REQUEST_BYTES_MAX}={asked} is more than the {most} bytes that requests may take of \
             one shard's memory; raise the memory, or lower it or the number of shards"
        )))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config(memory_bytes: u64, asked: Option<usize>) -> ServerConfig {
        let mut config = ServerConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            shard_direct: None,
            data_dir: PathBuf::new(),
            wal_dir: None,
            wal_bytes: 0,
            disk_reserve_bytes: 0,
            node_id: 1,
            cpus: vec![0, 1],
            poll: Poll::Park,
            engine: Engine::of_this_kernel(),
            latency_target: None,
            memory_bytes,
            limits: ConnectionLimits::default(),
            broker: BTreeMap::new(),
        };
        if let Some(asked) = asked {
            config.limits.request_bytes_max = asked;
            config
                .broker
                .insert(REQUEST_BYTES_MAX.to_owned(), asked.to_string());
        }
        config
    }

    #[test]
    fn clients_are_told_the_request_size_that_memory_allows() {
        let small = config(64 << 20, None);
        assert!(small.check_request_bytes().is_ok());
        let told = small.broker_pairs();
        assert_eq!(told.get(REQUEST_BYTES_MAX), Some(&(7 << 20).to_string()));
        let large = config(4 << 30, None);
        assert_eq!(large.broker_pairs().get(REQUEST_BYTES_MAX), None);
        assert_eq!(large.request_bytes_max(), 100 << 20);
    }

    #[test]
    fn a_request_size_that_was_set_and_cannot_be_had_is_refused() {
        assert!(
            config(64 << 20, Some(7 << 20))
                .check_request_bytes()
                .is_ok()
        );
        let refused = config(64 << 20, Some(8 << 20)).check_request_bytes();
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("socket.request.max.bytes=8388608"), "{said}");
        assert!(said.contains("7340032"), "{said}");
    }
}

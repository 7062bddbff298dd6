//! The one table of what `tailwater serve` can be told.
//!
//! Every row is a flag (`--data-dir`), a key of the configuration file (`data-dir`) and an
//! environment variable (`TAILWATER_DATA_DIR`). The command line, the example file and the
//! error for an unknown key are all made from it.

/// One thing that can be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name in the file; with two dashes before it, the flag.
    pub(crate) name: &'static str,
    /// The shape of its value, as the help shows it.
    pub(crate) shape: &'static str,
    /// Its value when nobody sets it; `None` where absence itself means something.
    pub(crate) default: Option<&'static str>,
    /// What it does and what it costs.
    pub(crate) doc: &'static str,
}

/// The shape of what is either so or not: its flag needs no value.
pub(crate) const SWITCH: &str = "true|false";

/// The process's own keys. Kafka's broker keys are a table of the `broker` crate.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "listen",
        shape: "HOST:PORT",
        default: Some("127.0.0.1:9092"),
        doc: "Address the broker accepts clients on.",
    },
    Key {
        name: "advertise",
        shape: "HOST:PORT",
        default: None,
        doc: "Address clients are told to connect to. Default: the address listened on.",
    },
    Key {
        name: "admin",
        shape: "HOST:PORT",
        default: None,
        doc: "Address of an HTTP listener for operators: /metrics, /healthz, /readyz and /v1/latency. It asks for no password: let nobody reach it who may not know. Default: none.",
    },
    Key {
        name: "data-dir",
        shape: "DIR",
        default: Some("./data"),
        doc: "Directory of the log. Made if it does not exist; its file system must support O_DIRECT.",
    },
    Key {
        name: "wal-dir",
        shape: "DIR",
        default: None,
        doc: "Directory of the write-ahead log, for a device of its own. Default: inside the data directory. It belongs to its data directory: a start with another one is refused.",
    },
    Key {
        name: "wal-size",
        shape: "SIZE",
        default: Some("256MiB"),
        doc: "Size of each shard's write-ahead log. Larger means fewer, larger writes to segments and a longer replay after a crash; full means appends wait.",
    },
    Key {
        name: "disk-reserve",
        shape: "SIZE",
        default: Some("1GiB"),
        doc: "Free space kept on the disk. Below it produce answers KAFKA_STORAGE_ERROR while reads and deletions go on.",
    },
    Key {
        name: "node-id",
        shape: "N",
        default: Some("1"),
        doc: "This broker's id. It is written into the data directory at the first start and must not change.",
    },
    Key {
        name: "shards",
        shape: "N",
        default: None,
        doc: "Number of shards, one pinned thread each. Default: the cores this process may use. May differ from start to start.",
    },
    Key {
        name: "shard-direct",
        shape: SWITCH,
        default: Some("false"),
        doc: "Each shard listens on a port of its own and is advertised as broker node-id * 1000 + its number, so that stock clients reach the right core and no request crosses over.",
    },
    Key {
        name: "shard-port-base",
        shape: "PORT",
        default: None,
        doc: "With shard-direct, shard 0 listens on this port, shard 1 on the next, and so on. 0 takes any free ones. Default: the ports after that of listen.",
    },
    Key {
        name: "advertise-shards",
        shape: "HOST:BASE",
        default: None,
        doc: "With shard-direct, clients are told that shard 0 is at this port, shard 1 at the next, and so on. Default: the addresses the shards listen on.",
    },
    Key {
        name: "cpus",
        shape: "LIST",
        default: None,
        doc: "The cores to pin shards to, such as 0,2-3. Default: those this process may use, in order.",
    },
    Key {
        name: "poll",
        shape: "park|adaptive|spin",
        default: Some("park"),
        doc: "How a shard waits: `park` sleeps in the kernel and costs nothing idle; `adaptive` spins for spin-us first; `spin` never sleeps, costs a whole core, and leaves one core to the kernel unless `shards` or `cpus` say otherwise.",
    },
    Key {
        name: "spin-us",
        shape: "N",
        default: Some("50"),
        doc: "Microseconds `adaptive` spins before it sleeps: CPU time against the cost of a wake (some 25 us).",
    },
    Key {
        name: "engine",
        shape: "NAME",
        default: None,
        doc: "What the shards run on: `uring`, our own executor (Linux 5.19 or newer, better 6.1), or `glommio` (Linux 5.8 or newer). Default: `uring` where the kernel has what it needs, else `glommio`.",
    },
    Key {
        name: "latency-target",
        shape: "TIME",
        default: None,
        doc: "What 999 of 1,000 durable acknowledgements are to take at most, such as 5ms: reads of old data, segments written behind and maintenance give way for it. Default: none, and they do not.",
    },
    Key {
        name: "memory",
        shape: "SIZE",
        default: None,
        doc: "Memory for buffers and caches over all shards. Default: half of what the machine or the control group has, at most 4 GiB.",
    },
];

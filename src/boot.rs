//! From settings to the server's typed configuration: defaults that depend on the machine, and
//! every refusal that needs no disk.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tailwater_broker::BrokerSettings;
use tailwater_server::{Advertised, ConnectionLimits, Engine, Poll, ServerConfig, ShardDirect};

use crate::machine;
use crate::settings::{
    BrokerKeys, Settings, SettingsError, Source, cpu_list, duration, number, size, socket_address,
    words,
};

/// Kafka's broker keys, as the `broker` crate knows them.
pub(crate) struct KafkaKeys;

/// Kafka's keys that this program has keys of its own for: they are shown to clients with the
/// values in force, and setting them here would say the same thing twice.
const OWN_KEYS_INSTEAD: &[&str] = &[
    "advertised.listeners",
    "broker.id",
    "broker.rack",
    "listeners",
    "log.dir",
    "log.dirs",
    "node.id",
];

impl BrokerKeys for KafkaKeys {
    fn names(&self) -> Vec<&str> {
        kafka_keys().map(|(name, _, _)| name).collect()
    }
}

/// Kafka's broker keys that can be set: name, default, text.
pub(crate) fn kafka_keys()
-> impl Iterator<Item = (&'static str, Option<&'static str>, &'static str)> {
    BrokerSettings::documented().filter(|(name, _, _)| !OWN_KEYS_INSTEAD.contains(name))
}

const WAL_BYTES_MIN: u64 = 32 << 20;
const MEMORY_BYTES_MIN: u64 = 32 << 20;
const SHARDS_MAX: u16 = 256;
/// No disk syncs faster, and no client waits longer.
const LATENCY_TARGET_MIN: Duration = Duration::from_micros(10);
const LATENCY_TARGET_MAX: Duration = Duration::from_secs(60);

/// Kafka's key.
pub(crate) const CONNECTIONS_MAX: &str = "max.connections";

/// The server's configuration.
///
/// # Errors
/// One sentence that names the key, its value and where it came from.
pub(crate) fn server_config(settings: &Settings) -> Result<ServerConfig, SettingsError> {
    let poll = poll(settings)?;
    let cpus = cpus(settings, poll)?;
    let broker: BTreeMap<String, String> = settings
        .broker_pairs()
        .map(|(name, value, _)| (name.to_owned(), value.to_owned()))
        .collect();
    let wal_bytes = required(settings, "wal-size", |text| at_least(text, WAL_BYTES_MIN))?;
    let mut limits = limits(settings, &broker)?;
    limits.connections_max = connections_max(settings, &limits, cpus.len(), wal_bytes)?;
    let listen = required(settings, "listen", socket_address)?;
    Ok(ServerConfig {
        listen,
        advertise: settings.parse("advertise", advertised)?,
        shard_direct: shard_direct(settings, listen.port())?,
        data_dir: required(settings, "data-dir", directory)?,
        wal_dir: settings.parse("wal-dir", directory)?,
        wal_bytes,
        disk_reserve_bytes: required(settings, "disk-reserve", size)?,
        node_id: required(settings, "node-id", |text| number(text, 0, i32::MAX))?,
        cpus,
        poll,
        engine: settings
            .parse("engine", |text| {
                words(
                    text,
                    &[("glommio", Engine::Glommio), ("uring", Engine::Uring)],
                )
            })?
            .unwrap_or_else(Engine::of_this_kernel),
        latency_target: settings.parse("latency-target", |text| {
            duration(text, LATENCY_TARGET_MIN, LATENCY_TARGET_MAX)
        })?,
        memory_bytes: settings
            .parse("memory", |text| at_least(text, MEMORY_BYTES_MIN))?
            .unwrap_or_else(machine::memory_bytes_default),
        limits,
        broker,
    })
}

/// Where operators are answered, if anywhere.
///
/// # Errors
/// As [`server_config`].
pub(crate) fn admin_address(settings: &Settings) -> Result<Option<SocketAddr>, SettingsError> {
    settings.parse("admin", socket_address)
}

/// A key of the table that has a default.
fn required<T>(
    settings: &Settings,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, SettingsError> {
    settings
        .parse(name, parse)
        .map(|value| value.expect("the table has a default for it"))
}

fn at_least(text: &str, least: u64) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes < least {
        Err(format!("expected at least {} MiB", least >> 20))
    } else {
        Ok(bytes)
    }
}

fn directory(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("expected a directory".to_owned())
    } else {
        Ok(PathBuf::from(text))
    }
}

fn advertised(text: &str) -> Result<Advertised, String> {
    let expected = || "expected HOST:PORT".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(expected());
    }
    Ok(Advertised {
        host: host.to_owned(),
        port: port.parse().map_err(|_| expected())?,
    })
}

/// Shard-direct routing, if it was asked for. What means something with it only is refused without.
fn shard_direct(settings: &Settings, listen: u16) -> Result<Option<ShardDirect>, SettingsError> {
    let words = |text: &str| words(text, &[("true", true), ("false", false)]);
    if !required(settings, "shard-direct", words)? {
        let without =
            |_: &str| Err::<(), _>("it means something with shard-direct only".to_owned());
        settings.parse("shard-port-base", without)?;
        settings.parse("advertise-shards", without)?;
        return Ok(None);
    }
    let port_base = settings.parse("shard-port-base", |text| number(text, 0, u16::MAX))?;
    let next = match listen {
        // Any free one: so are the shards'.
        0 => Some(0),
        port => port.checked_add(1),
    };
    let Some(port_base) = port_base.or(next) else {
        // As an answer to the value, so that it says where that came from.
        return required(settings, "listen", |_| {
            Err("there are no ports after it for the shards: set shard-port-base".to_owned())
        });
    };
    let advertise = settings.parse("advertise-shards", advertised)?;
    Ok(Some(ShardDirect {
        port_base,
        advertise,
    }))
}

fn poll(settings: &Settings) -> Result<Poll, SettingsError> {
    let spin = required(settings, "spin-us", |text| number(text, 1, 1_000_000u64))?;
    let spin = Duration::from_micros(spin);
    required(settings, "poll", |text| {
        words(
            text,
            &[
                ("park", Poll::Park),
                ("adaptive", Poll::Adaptive { spin }),
                ("spin", Poll::Spin),
            ],
        )
    })
}

/// One core a shard: those named, or as many as `shards` says of those this process may use.
fn cpus(settings: &Settings, poll: Poll) -> Result<Vec<usize>, SettingsError> {
    let shards = settings.parse("shards", |text| number(text, 1, SHARDS_MAX))?;
    let usable = machine::usable_cpus();
    let named = settings.parse("cpus", |text| {
        let cpus = cpu_list(text)?;
        match cpus.iter().find(|cpu| !usable.contains(cpu)) {
            Some(cpu) => Err(format!(
                "core {cpu} is not one this process may use ({usable:?})"
            )),
            None => Ok(cpus),
        }
    })?;
    let cores = named.as_ref().unwrap_or(&usable);
    let Some(shards) = shards else {
        return Ok(match named {
            Some(cpus) => cpus,
            None => around(&usable, machine::shards_default(poll == Poll::Spin)),
        });
    };
    if poll == Poll::Spin && usize::from(shards) > cores.len() {
        // As an answer to the value, so that it says where that came from.
        settings.parse("shards", |_| Err::<u16, _>(too_few_to_spin(cores)))?;
    }
    Ok(around(cores, shards))
}

fn too_few_to_spin(cores: &[usize]) -> String {
    format!(
        "with `--poll spin` each shard needs a core of its own, and there are {} ({cores:?}): one \
         that spins never leaves it to another",
        cores.len()
    )
}

/// `shards` cores out of `cpus`, going round when there are more shards than cores.
fn around(cpus: &[usize], shards: u16) -> Vec<usize> {
    cpus.iter()
        .copied()
        .cycle()
        .take(usize::from(shards))
        .collect()
}

/// As many connections as were asked for. More than the limit of open files leaves room for are
/// refused if somebody asked for them; else that room is what there is.
fn connections_max(
    settings: &Settings,
    limits: &ConnectionLimits,
    shards: usize,
    wal_bytes: u64,
) -> Result<usize, SettingsError> {
    let asked = limits.connections_max;
    let (room, files) = machine::connections_max(shards, wal_bytes);
    let set = settings
        .broker_pairs()
        .find(|(name, ..)| *name == CONNECTIONS_MAX);
    match set {
        Some((name, value, source)) if asked > room => Err(Settings::bad(
            name,
            value,
            source,
            format!(
                "the limit of open files, {files}, leaves room for {room} connections beside the \
                 logs' files: raise it (ulimit -n)"
            ),
        )),
        _ if room == 0 => Err(Settings::bad(
            CONNECTIONS_MAX,
            &asked.to_string(),
            &Source::Default,
            format!(
                "the limit of open files, {files}, leaves no room for connections beside the \
                 logs' files: raise it (ulimit -n)"
            ),
        )),
        _ => Ok(asked.min(room)),
    }
}

/// Connection limits are Kafka's broker keys; the `broker` crate has checked their values.
fn limits(
    settings: &Settings,
    broker: &BTreeMap<String, String>,
) -> Result<ConnectionLimits, SettingsError> {
    let checked = BrokerSettings::from_pairs(broker).map_err(|error| {
        let (name, value, source) = settings
            .broker_pairs()
            .find(|(name, _, _)| error.to_string().contains(*name))
            .unwrap_or(("", "", &Source::Default));
        Settings::bad(name, value, source, error.to_string())
    })?;
    Ok(ConnectionLimits {
        connections_max: checked.connections_max,
        connections_per_ip_max: checked.connections_per_ip_max,
        idle_max: u64::try_from(checked.connections_max_idle_ms)
            .ok()
            .map(Duration::from_millis),
        request_bytes_max: checked.request_bytes_max,
    })
}

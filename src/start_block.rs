//! The one short block that a start prints.

use std::net::SocketAddr;

use tailwater_server::{Engine, Poll, ShardInfo, StartInfo};

/// Address, shards and their cores, engine, poll mode, data directory, where operators are answered
/// if anywhere, what was recovered.
pub(crate) fn start_block(info: &StartInfo, admin: Option<SocketAddr>) -> String {
    let cpus: Vec<String> = info.cpus.iter().map(usize::to_string).collect();
    let engine = match info.engine {
        Engine::Glommio => "glommio",
        Engine::Uring => "uring",
    };
    let poll = match info.poll {
        Poll::Park => "park".to_owned(),
        Poll::Adaptive { spin } => format!("adaptive, {} us", spin.as_micros()),
        Poll::Spin => "spin".to_owned(),
    };
    let admin = admin.map_or_else(String::new, |addr| format!("  admin     http://{addr}\n"));
    let version = env!("CARGO_PKG_VERSION");
    let advertised = match &info.advertised {
        Some(advertised) => format!("advertised as {advertised}"),
        None => "to bootstrap from; each shard is advertised for itself".to_owned(),
    };
    let direct = info.shards.iter().enumerate().map(|(shard, own)| {
        let ShardInfo {
            id,
            addr,
            advertised,
        } = own;
        format!("shard {shard:<3} broker {id} on {addr} (advertised as {advertised})\n  ")
    });
    let direct: String = direct.collect();
    format!(
        "tailwater {version} on {} ({advertised})\n  \
         shards    {} on cores {}\n  \
         {direct}\
         engine    {engine}, poll {poll}\n  \
         data      {} (cluster {})\n\
         {admin}  recovered {}\n",
        info.addr,
        info.cpus.len(),
        cpus.join(","),
        info.data_dir.display(),
        info.cluster_id,
        info.recovery,
    )
}

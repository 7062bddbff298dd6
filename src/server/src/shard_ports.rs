//! Where a server is and what it calls itself there: the bootstrap address, and with shard-direct
//! routing a port and a broker for each shard.
//!
//! Owns which combinations are refused. Ports that cannot be had are found out by listening.

use std::net::SocketAddr;

use tailwater_broker::{Nodes, SHARD_IDS, ShardConfigs};
use tailwater_shards::ShardId;
use tailwater_wire::StrBytes;
use uuid::Uuid;

use crate::config::{Advertised, ServerConfig};
use crate::error::StartError;
use crate::identity::{Identity, Node};

impl ServerConfig {
    /// Refuses addresses that cannot be lived by.
    ///
    /// # Errors
    /// One sentence that names the key.
    pub(crate) fn check_addresses(&self) -> Result<(), StartError> {
        let refuse = |sentence: String| Err(StartError::Config(sentence));
        let Some(direct) = &self.shard_direct else {
            if self.listen.ip().is_unspecified() && self.advertise.is_none() {
                return refuse(format!(
                    "listening on {} needs an address for clients to connect to: advertise one",
                    self.listen
                ));
            }
            return Ok(());
        };
        if self.advertise.is_some() {
            return refuse(
                "with shard-direct clients are told the addresses of the shards: set \
                 advertise-shards in place of advertise"
                    .to_owned(),
            );
        }
        if self.listen.ip().is_unspecified() && direct.advertise.is_none() {
            return refuse(format!(
                "listening on {} needs an address for clients to connect to: set advertise-shards",
                self.listen
            ));
        }
        let shards = self.cpus.len();
        let (listen, base) = (self.listen.port(), direct.port_base);
        let last = last_port("shard-port-base", base, shards)?;
        if base != 0 && (base..=last).contains(&listen) {
            return refuse(format!(
                "shard-port-base={base} with {shards} shards takes the ports {base} to {last}, and \
                 listen has {listen}"
            ));
        }
        if let Some(Advertised { port, .. }) = &direct.advertise {
            last_port("advertise-shards", *port, shards)?;
            if base == 0 && *port != 0 {
                return refuse(format!(
                    "advertise-shards has the ports from {port} on, and shard-port-base=0 takes any \
                     free ones: set both, or advertise port 0"
                ));
            }
        }
        let spare = i32::try_from(shards)
            .ok()
            .and_then(|n| i32::MAX.checked_sub(n - 1));
        let most = spare.map_or(0, |spare| spare / SHARD_IDS);
        if self.node_id > most || shards > usize::try_from(SHARD_IDS).unwrap_or(0) {
            return refuse(format!(
                "node-id={} is too large for shard-direct: its {shards} shards are brokers with ids \
                 from {SHARD_IDS} times that on, so it may be {most} at most",
                self.node_id
            ));
        }
        Ok(())
    }

    /// Where each shard is to listen, in order; nowhere without shard-direct routing.
    pub(crate) fn shard_addrs(&self) -> Vec<SocketAddr> {
        let Some(direct) = &self.shard_direct else {
            return Vec::new();
        };
        let port = |shard| nth_port(direct.port_base, shard);
        let addr = |shard| SocketAddr::new(self.listen.ip(), port(shard));
        (0..self.cpus.len()).map(addr).collect()
    }

    /// The brokers that clients are told of, once the addresses listened on are known: `addr` for
    /// bootstrapping, and each shard's.
    pub(crate) fn nodes(&self, addr: SocketAddr, shards: &[SocketAddr]) -> Vec<Node> {
        let Some(direct) = &self.shard_direct else {
            return vec![node(self.node_id, addr, self.advertise.as_ref(), 0)];
        };
        let shards = shards.iter().enumerate();
        shards
            .map(|(shard, addr)| {
                let id = i32::try_from(shard).expect("checked when it was configured");
                let id = self.node_id * SHARD_IDS + id;
                node(id, *addr, direct.advertise.as_ref(), shard)
            })
            .collect()
    }

    /// The same for the broker crate, which knows ids and configurations.
    pub(crate) fn broker_nodes(&self, shards: &[SocketAddr]) -> Nodes {
        if self.shard_direct.is_none() {
            return Nodes::one(self.node_id);
        }
        let nodes = self.nodes(self.listen, shards);
        let configs = nodes
            .iter()
            .zip(shards)
            .map(|(node, addr)| shard_configs(node, *addr));
        let all = Nodes::each_shard(self.node_id, configs.collect());
        for (index, node) in (0_u16..).zip(&nodes) {
            assert_eq!(all.id(ShardId(index)), node.id, "both count alike");
        }
        all
    }

    /// What clients are told.
    pub(crate) fn identity(
        &self,
        addr: SocketAddr,
        shards: &[SocketAddr],
        cluster_id: Uuid,
    ) -> Identity {
        Identity::new(self.nodes(addr, shards), cluster_id)
    }
}

/// The last of the shards' ports; that of any free ones is 0.
fn last_port(key: &str, base: u16, shards: usize) -> Result<u16, StartError> {
    let last = u16::try_from(shards.saturating_sub(1)).ok();
    match last.and_then(|last| base.checked_add(last)) {
        _ if base == 0 => Ok(0),
        Some(last) => Ok(last),
        None => Err(StartError::Config(format!(
            "{key} has port {base}, and {shards} shards from there on end above port 65535"
        ))),
    }
}

fn nth_port(base: u16, shard: usize) -> u16 {
    if base == 0 {
        return 0;
    }
    let shard = u16::try_from(shard).expect("checked when it was configured");
    base.checked_add(shard)
        .expect("checked when it was configured")
}

fn node(id: i32, addr: SocketAddr, advertise: Option<&Advertised>, shard: usize) -> Node {
    let (host, port) = match advertise {
        Some(Advertised { host, port: 0 }) => (host.clone(), addr.port()),
        Some(Advertised { host, port }) => (host.clone(), nth_port(*port, shard)),
        None => (addr.ip().to_string(), addr.port()),
    };
    Node {
        id,
        host: StrBytes::from(host),
        port,
    }
}

/// What a shard's broker says of itself that no other says.
fn shard_configs(node: &Node, addr: SocketAddr) -> ShardConfigs {
    let id = node.id.to_string();
    let advertised = format!("PLAINTEXT://{}:{}", &*node.host, node.port);
    [
        ("broker.id", id.clone()),
        ("node.id", id),
        ("listeners", format!("PLAINTEXT://{addr}")),
        ("advertised.listeners", advertised),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ShardDirect;

    fn config(port_base: u16, shards: usize) -> ServerConfig {
        let mut config = crate::config::tests::config(1 << 30, None);
        config.listen = SocketAddr::from(([127, 0, 0, 1], 9092));
        config.cpus = vec![0; shards];
        config.shard_direct = Some(ShardDirect {
            port_base,
            advertise: None,
        });
        config
    }

    fn advertised(host: &str, port: u16) -> Option<Advertised> {
        let host = host.to_owned();
        Some(Advertised { host, port })
    }

    fn refusal(config: &ServerConfig) -> String {
        config.check_addresses().unwrap_err().to_string()
    }

    #[test]
    fn each_shard_has_the_next_port_and_the_next_id() {
        let mut config = config(9100, 3);
        config.node_id = 7;
        config.check_addresses().unwrap();
        let shards = config.shard_addrs();
        let ports: Vec<u16> = shards.iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [9100, 9101, 9102]);
        let told = |config: &ServerConfig| -> Vec<(i32, String, u16)> {
            let nodes = config.nodes(config.listen, &shards);
            let node = |node: Node| (node.id, node.host.to_string(), node.port);
            nodes.into_iter().map(node).collect()
        };
        let here = |id, port| (id, "127.0.0.1".to_owned(), port);
        assert_eq!(
            told(&config),
            [here(7000, 9100), here(7001, 9101), here(7002, 9102)]
        );
        if let Some(direct) = &mut config.shard_direct {
            direct.advertise = advertised("outside", 19_000);
        }
        config.check_addresses().unwrap();
        assert_eq!(told(&config)[2], (7002, "outside".to_owned(), 19_002));
        let nodes = config.broker_nodes(&shards);
        assert!(nodes.has(7002) && !nodes.has(7));
    }

    #[test]
    fn ports_that_overlap_or_end_too_high_are_refused() {
        let said = refusal(&config(9090, 3));
        assert!(
            said.contains("9090 to 9092") && said.contains("9092"),
            "{said}"
        );
        config(9090, 2).check_addresses().unwrap();
        config(9093, 3).check_addresses().unwrap();
        config(65_534, 2).check_addresses().unwrap();
        let said = refusal(&config(65_534, 3));
        assert!(said.contains("65534") && said.contains("65535"), "{said}");
        let mut advertising = config(9100, 3);
        if let Some(direct) = &mut advertising.shard_direct {
            direct.advertise = advertised("h", 65_534);
        }
        assert!(refusal(&advertising).contains("advertise-shards"));
        let mut free = config(0, 3);
        free.check_addresses().unwrap();
        if let Some(direct) = &mut free.shard_direct {
            direct.advertise = advertised("h", 9100);
        }
        assert!(refusal(&free).contains("shard-port-base=0"));
    }

    #[test]
    fn a_node_id_is_refused_when_its_shards_would_have_none() {
        let mut config = config(9100, 3);
        config.node_id = i32::MAX / SHARD_IDS;
        config.check_addresses().unwrap();
        assert_eq!(
            config.nodes(config.listen, &config.shard_addrs())[2].id,
            2_147_483_002
        );
        config.node_id += 1;
        let said = refusal(&config);
        assert!(
            said.contains("node-id=2147484") && said.contains("2147483"),
            "{said}"
        );
        config.cpus = vec![0; 700];
        config.node_id -= 1;
        assert!(refusal(&config).contains("2147482"));
    }

    #[test]
    fn clients_must_be_told_addresses_that_they_can_connect_to() {
        let mut config = config(9100, 2);
        config.listen.set_ip([0, 0, 0, 0].into());
        assert!(refusal(&config).contains("advertise-shards"));
        if let Some(direct) = &mut config.shard_direct {
            direct.advertise = advertised("h", 0);
        }
        config.check_addresses().unwrap();
        assert_eq!(
            config.nodes(config.listen, &config.shard_addrs())[1].port,
            9101
        );
        config.advertise = advertised("h", 9092);
        assert!(refusal(&config).contains("in place of advertise"));
    }
}

//! Who this server says it is: one broker, or one for each shard.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tailwater_shards::ShardId;
use tailwater_wire::StrBytes;
use uuid::Uuid;

/// A broker as clients are told of it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Its id.
    pub(crate) id: i32,
    /// The host that clients are told.
    pub(crate) host: StrBytes,
    /// The port that clients are told.
    pub(crate) port: u16,
}

/// What clients are told of this server. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// One for the process, or one for each shard, in order.
    nodes: Arc<[Node]>,
    /// The cluster's id as Kafka writes it.
    pub(crate) cluster_id: StrBytes,
}

impl Identity {
    pub(crate) fn new(nodes: Vec<Node>, cluster_id: Uuid) -> Self {
        assert!(!nodes.is_empty(), "there is a broker");
        Self {
            nodes: Arc::from(nodes),
            cluster_id: StrBytes::from(kafka_uuid(cluster_id)),
        }
    }

    /// All brokers, in the order of their ids.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The broker that is the controller: shard 0's.
    pub(crate) fn controller(&self) -> &Node {
        self.of_shard(ShardId(0))
    }

    /// The broker that a shard is, or is part of.
    pub(crate) fn of_shard(&self, shard: ShardId) -> &Node {
        let index = if self.nodes.len() == 1 {
            0
        } else {
            usize::from(shard.0)
        };
        self.nodes.get(index).expect("each shard is of a broker")
    }
}

/// A uuid as Kafka prints it: URL-safe base64 of its 16 bytes without padding, 22 characters.
pub(crate) fn kafka_uuid(uuid: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = BytesMut::with_capacity(22);
    // 128 bits make 21 characters of 6 and one of 2, which stands at the left of its six.
    let bits = uuid.as_u128();
    for index in 0..22_u32 {
        let six = if index < 21 {
            bits >> (122 - 6 * index)
        } else {
            bits << 4
        };
        let character = ALPHABET
            .get((six & 63) as usize)
            .expect("six bits are below 64");
        text.put_u8(*character);
    }
    String::from_utf8(text.to_vec()).expect("the alphabet is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_id_is_written_as_kafka_writes_it() {
        // The bytes of Kafka's `5L6g3nShT-eMCtK--X86sw`.
        let uuid = Uuid::from_u128(0xe4be_a0de_74a1_4fe7_8c0a_d2be_f97f_3ab3);
        assert_eq!(kafka_uuid(uuid), "5L6g3nShT-eMCtK--X86sw");
        assert_eq!(kafka_uuid(Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(kafka_uuid(Uuid::max()), "_____________________w");
    }
}

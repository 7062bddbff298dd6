//! Who this broker says it is.

use bytes::{BufMut, BytesMut};
use tailwater_wire::StrBytes;
use uuid::Uuid;

/// What clients are told of this broker. Cheap to clone from.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// Also the controller's id: there is one broker.
    pub(crate) node_id: i32,
    /// The host that clients are told.
    pub(crate) host: StrBytes,
    /// The port that clients are told.
    pub(crate) port: u16,
    /// The cluster's id as Kafka writes it.
    pub(crate) cluster_id: StrBytes,
}

impl Identity {
    pub(crate) fn new(node_id: i32, host: &str, port: u16, cluster_id: Uuid) -> Self {
        Self {
            node_id,
            host: StrBytes::from(host.to_owned()),
            port,
            cluster_id: StrBytes::from(kafka_uuid(cluster_id)),
        }
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

//! Kafka's error codes, as numbers on the wire. Only those that this broker answers with.

/// No error.
pub const NONE: i16 = 0;
/// Something that no other code describes.
pub const UNKNOWN_SERVER_ERROR: i16 = -1;
/// The offset is below the log start or above what may be read.
pub const OFFSET_OUT_OF_RANGE: i16 = 1;
/// A batch failed its CRC or its size is impossible.
pub const CORRUPT_MESSAGE: i16 = 2;
/// No such topic, or the topic has no such partition.
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// This broker or shard does not lead the partition.
pub const NOT_LEADER_OR_FOLLOWER: i16 = 6;
/// The request was not done within its own timeout.
pub const REQUEST_TIMED_OUT: i16 = 7;
/// A batch is larger than `max.message.bytes`.
pub const MESSAGE_TOO_LARGE: i16 = 10;
/// There is no coordinator now.
pub const COORDINATOR_NOT_AVAILABLE: i16 = 15;
/// A topic name that Kafka's rules refuse.
pub const INVALID_TOPIC_EXCEPTION: i16 = 17;
/// `acks` is none of -1, 0 and 1.
pub const INVALID_REQUIRED_ACKS: i16 = 21;
/// A record's timestamp is outside what the topic allows.
pub const INVALID_TIMESTAMP: i16 = 32;
/// The API is known, this version or this use of it is not.
pub const UNSUPPORTED_VERSION: i16 = 35;
/// The topic is there already.
pub const TOPIC_ALREADY_EXISTS: i16 = 36;
/// An impossible number of partitions.
pub const INVALID_PARTITIONS: i16 = 37;
/// A replication factor that this broker cannot give.
pub const INVALID_REPLICATION_FACTOR: i16 = 38;
/// A manual assignment that cannot be followed.
pub const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
/// A configuration name or value that is refused.
pub const INVALID_CONFIG: i16 = 40;
/// The request contradicts itself.
pub const INVALID_REQUEST: i16 = 42;
/// The message format does not support what was asked.
pub const UNSUPPORTED_FOR_MESSAGE_FORMAT: i16 = 43;
/// A limit of the broker forbids it.
pub const POLICY_VIOLATION: i16 = 44;
/// The batch does not follow the producer's last one.
pub const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
/// The batch was written before, too long ago to say where.
pub const DUPLICATE_SEQUENCE_NUMBER: i16 = 46;
/// The producer's epoch is older than one already seen.
pub const INVALID_PRODUCER_EPOCH: i16 = 47;
/// The transaction is not in a state that allows it.
pub const INVALID_TXN_STATE: i16 = 48;
/// Not allowed to use the transactional id: fatal to every client.
pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;
/// The disk failed, is full, or the partition is out of service.
pub const KAFKA_STORAGE_ERROR: i16 = 56;
/// The fetch session is not (any more) in the cache.
pub const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
/// The fetch session is at another epoch.
pub const INVALID_FETCH_SESSION_EPOCH: i16 = 71;
/// `delete.topic.enable` is false.
pub const TOPIC_DELETION_DISABLED: i16 = 73;
/// The client's leader epoch is older than the broker's.
pub const FENCED_LEADER_EPOCH: i16 = 74;
/// The client's leader epoch is newer than the broker's.
pub const UNKNOWN_LEADER_EPOCH: i16 = 75;
/// The codec is not known, or not allowed in this version.
pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
/// A record breaks the format's rules.
pub const INVALID_RECORD: i16 = 87;
/// No topic has this id.
pub const UNKNOWN_TOPIC_ID: i16 = 100;
/// The session was made with topic names and is used with ids, or the other way round.
pub const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;

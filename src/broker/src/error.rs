//! What can go wrong here, with its facts, and what Kafka calls it.

use crate::error_code as code;
use uuid::Uuid;

/// Why a request, or a part of one, was refused or failed.
///
/// `Display` gives the sentence that goes into an answer's `error_message`, in Kafka's words where
/// Kafka has a sentence for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No topic of this name, or no such partition.
    #[error("This server does not host this topic-partition.")]
    UnknownTopicOrPartition,
    /// No topic of this id.
    #[error("This server does not host this topic ID.")]
    UnknownTopicId,
    /// As the one before, where Kafka names the topic.
    #[error("The topic '{0}' does not exist.")]
    NoSuchTopic(String),
    /// A name that Kafka's rules refuse; the sentence says which rule.
    #[error("{0}")]
    InvalidTopic(String),
    /// The name is taken.
    #[error("Topic '{0}' already exists.")]
    TopicAlreadyExists(String),
    /// A number of partitions that cannot be; the sentence says why.
    #[error("{0}")]
    InvalidPartitions(String),
    /// A replication factor that one broker cannot give; the sentence says which.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// A manual assignment that cannot be followed; the sentence says why.
    #[error("{0}")]
    InvalidReplicaAssignment(String),
    /// A configuration that is refused; the sentence names it.
    #[error("{0}")]
    InvalidConfig(String),
    /// The request contradicts itself; the sentence says how.
    #[error("{0}")]
    InvalidRequest(String),
    /// A bound of this broker; the sentence names it.
    #[error("{0}")]
    PolicyViolation(String),
    /// The API is known, this use of it is not.
    #[error("{0}")]
    UnsupportedVersion(String),
    /// `delete.topic.enable` is false.
    #[error("Topic deletion is disabled.")]
    TopicDeletionDisabled,
    /// Another shard or broker leads the partition.
    #[error(
        "For requests intended only for the leader, this error indicates that the broker is not the current leader. For requests intended for any replica, this error indicates that the broker is not a replica of the topic partition."
    )]
    NotLeaderOrFollower,
    /// The caller's leader epoch is below the partition's.
    #[error("The leader epoch in the request is older than the epoch on the broker.")]
    FencedLeaderEpoch {
        /// The caller's epoch.
        got: i32,
        /// The partition's epoch.
        current: i32,
    },
    /// The caller's leader epoch is above the partition's.
    #[error("The leader epoch in the request is newer than the epoch on the broker.")]
    UnknownLeaderEpoch {
        /// The caller's epoch.
        got: i32,
        /// The partition's epoch.
        current: i32,
    },
    /// The offset is outside of what the partition holds.
    #[error("The requested offset is not within the range of offsets maintained by the server.")]
    OffsetOutOfRange {
        /// The offset asked for.
        offset: i64,
        /// The log's first offset.
        log_start: i64,
        /// The end of what may be asked for.
        end: i64,
    },
    /// A batch's CRC or framing is wrong; the sentence says where.
    #[error("{0}")]
    CorruptMessage(String),
    /// A batch is larger than `max.message.bytes`.
    #[error(
        "The record batch size in the append to {topic}-{partition} is {bytes} bytes which exceeds the maximum configured value of {limit}."
    )]
    MessageTooLarge {
        /// The topic's name.
        topic: String,
        /// The partition's index.
        partition: i32,
        /// The batch's size.
        bytes: usize,
        /// The topic's `max.message.bytes`.
        limit: usize,
    },
    /// A batch is larger than what the log can take; the sentence says how much that is.
    #[error("{0}")]
    BatchTooLarge(String),
    /// Timestamps outside of what the topic allows; the sentence of the whole batch.
    #[error("{0}")]
    InvalidTimestamp(String),
    /// A batch or record breaks the format's rules; the sentence says which.
    #[error("{0}")]
    InvalidRecord(String),
    /// The message format does not support what was asked.
    #[error("{0}")]
    UnsupportedForMessageFormat(String),
    /// A codec that is unknown, or not allowed here.
    #[error("{0}")]
    UnsupportedCompressionType(String),
    /// `acks` is none of -1, 0 and 1.
    #[error("Produce request specified an invalid value for required acks.")]
    InvalidRequiredAcks {
        /// The value given.
        acks: i16,
    },
    /// The batch's sequence does not follow the producer's last one.
    #[error(
        "Out of order sequence number for producer {producer_id} at offset {offset} in partition {partition}: {got} (incoming seq. number), {last} (current end sequence number)"
    )]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// The offset that the batch would have had.
        offset: i64,
        /// `topic-partition`.
        partition: String,
        /// The batch's base sequence.
        got: i32,
        /// The producer's last sequence, -1 when it has none.
        last: i32,
    },
    /// The producer's epoch is older than one already seen.
    #[error(
        "Epoch of producer {producer_id} at offset {offset} in {partition} is {got}, which is smaller than the last seen epoch {current}"
    )]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// The offset that the batch would have had.
        offset: i64,
        /// `topic-partition`.
        partition: String,
        /// The batch's epoch.
        got: i16,
        /// The epoch known.
        current: i16,
    },
    /// A transactional batch while there are no transactions.
    #[error("{0}")]
    InvalidTxnState(String),
    /// A transactional id while there are no transactions. Fatal in every client: see
    /// `producer_ids`.
    #[error("Transactions are not available on this broker: transactional id '{0}' is refused.")]
    TransactionsUnavailable(String),
    /// The request's own timeout ended first.
    #[error("The request timed out.")]
    RequestTimedOut,
    /// The partition's log is out of service; the sentence says why.
    #[error("Disk error when trying to access log file on the disk.")]
    Storage {
        /// What storage said.
        detail: String,
    },
    /// The broker or the shard asked is going down.
    #[error("The server is shutting down.")]
    ShuttingDown,
    /// The session id is not in the cache.
    #[error("The fetch session ID was not found.")]
    FetchSessionIdNotFound {
        /// The id given.
        id: i32,
    },
    /// The session is at another epoch.
    #[error("The fetch session epoch is invalid.")]
    InvalidFetchSessionEpoch {
        /// The epoch given.
        got: i32,
        /// The epoch expected.
        expected: i32,
    },
    /// The session was made with names and is used with ids, or the other way round.
    #[error("The fetch session encountered inconsistent topic ID usage.")]
    FetchSessionTopicId,
    /// A bug, or data that should have been impossible.
    #[error("The server experienced an unexpected error when processing the request.")]
    Unexpected {
        /// For the log, never for the client.
        detail: String,
    },
    /// A part of the data directory cannot be understood; ends a start.
    #[error("the stored metadata cannot be read: {0}")]
    StoredMetadata(String),
    /// A topic with this id was to be there.
    #[error("topic {0} is not in the metadata")]
    TopicGone(Uuid),
}

impl BrokerError {
    /// What the log says of it: the sentence for clients names no file.
    pub(crate) fn in_full(&self) -> String {
        match self {
            Self::Storage { detail } => detail.clone(),
            other => other.to_string(),
        }
    }

    /// Kafka's code for it. Exhaustive on purpose: a new variant has to choose.
    pub fn code(&self) -> i16 {
        match self {
            Self::UnknownTopicOrPartition | Self::NoSuchTopic(_) | Self::TopicGone(_) => {
                code::UNKNOWN_TOPIC_OR_PARTITION
            }
            Self::UnknownTopicId => code::UNKNOWN_TOPIC_ID,
            Self::InvalidTopic(_) => code::INVALID_TOPIC_EXCEPTION,
            Self::TopicAlreadyExists(_) => code::TOPIC_ALREADY_EXISTS,
            Self::InvalidPartitions(_) => code::INVALID_PARTITIONS,
            Self::InvalidReplicationFactor(_) => code::INVALID_REPLICATION_FACTOR,
            Self::InvalidReplicaAssignment(_) => code::INVALID_REPLICA_ASSIGNMENT,
            Self::InvalidConfig(_) => code::INVALID_CONFIG,
            Self::InvalidRequest(_) => code::INVALID_REQUEST,
            Self::PolicyViolation(_) => code::POLICY_VIOLATION,
            Self::UnsupportedVersion(_) => code::UNSUPPORTED_VERSION,
            Self::TopicDeletionDisabled => code::TOPIC_DELETION_DISABLED,
            Self::NotLeaderOrFollower | Self::ShuttingDown => code::NOT_LEADER_OR_FOLLOWER,
            Self::FencedLeaderEpoch { .. } => code::FENCED_LEADER_EPOCH,
            Self::UnknownLeaderEpoch { .. } => code::UNKNOWN_LEADER_EPOCH,
            Self::OffsetOutOfRange { .. } => code::OFFSET_OUT_OF_RANGE,
            Self::CorruptMessage(_) => code::CORRUPT_MESSAGE,
            Self::MessageTooLarge { .. } | Self::BatchTooLarge(_) => code::MESSAGE_TOO_LARGE,
            Self::InvalidTimestamp(_) => code::INVALID_TIMESTAMP,
            Self::InvalidRecord(_) => code::INVALID_RECORD,
            Self::UnsupportedForMessageFormat(_) => code::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            Self::UnsupportedCompressionType(_) => code::UNSUPPORTED_COMPRESSION_TYPE,
            Self::InvalidRequiredAcks { .. } => code::INVALID_REQUIRED_ACKS,
            Self::OutOfOrderSequence { .. } => code::OUT_OF_ORDER_SEQUENCE_NUMBER,
            Self::InvalidProducerEpoch { .. } => code::INVALID_PRODUCER_EPOCH,
            Self::InvalidTxnState(_) => code::INVALID_TXN_STATE,
            Self::TransactionsUnavailable(_) => code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            Self::RequestTimedOut => code::REQUEST_TIMED_OUT,
            Self::Storage { .. } => code::KAFKA_STORAGE_ERROR,
            Self::FetchSessionIdNotFound { .. } => code::FETCH_SESSION_ID_NOT_FOUND,
            Self::InvalidFetchSessionEpoch { .. } => code::INVALID_FETCH_SESSION_EPOCH,
            Self::FetchSessionTopicId => code::FETCH_SESSION_TOPIC_ID_ERROR,
            Self::Unexpected { .. } | Self::StoredMetadata(_) => code::UNKNOWN_SERVER_ERROR,
        }
    }
}

/// Kafka's code of a result: [`code::NONE`] for `Ok`.
pub fn code_of<T>(result: &Result<T, BrokerError>) -> i16 {
    match result {
        Ok(_) => code::NONE,
        Err(error) => error.code(),
    }
}

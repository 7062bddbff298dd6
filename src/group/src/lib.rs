//! The group coordinator: consumer groups of both protocols and their committed offsets, as a
//! plain state machine.
//!
//! It is told the time and an event ([`Request`], a deadline, a change of topics) and answers with
//! an [`Outcome`]: records for its partition of `__consumer_offsets`, and replies that may leave
//! once those records are durable. It awaits nothing and owns no clock, socket, file or source of
//! chance, and it knows nothing of the wire protocol. A machine is rebuilt from its records alone.
//!
//! Keys and values of the records are Kafka's own formats, so that Kafka's tools read them.
//!
//! Sources: Kafka's group protocol (KIP-62, KIP-345, KIP-394, KIP-429, KIP-814) and the consumer
//! rebalance protocol (KIP-848).

mod assignor;
mod classic;
mod config;
mod consumer;
mod coordinator;
mod crossing;
mod error;
mod group;
mod groups;
mod memory;
#[cfg(test)]
mod model;
mod offsets;
mod outcome;
mod parts;
mod records;
mod reply;
mod request;
mod size;
mod step;
#[cfg(test)]
mod testing;
mod timers;
mod topics;

pub use assignor::{Assignor, Partitions, Subscriber};
pub use config::{GroupConfig, MigrationPolicy};
pub use consumer::TopicPattern;
pub use coordinator::Coordinator;
pub use error::GroupError;
pub use memory::Room;
pub use outcome::{Moment, Outcome, Record, ReplyTo};
pub use parts::SnapshotCursor;
pub use records::RecordError;
pub use reply::{
    ClassicMember, ConsumerDescription, ConsumerHeartbeatReply, ConsumerMember, Description,
    FetchedOffset, FetchedOffsets, Joined, JoinedMember, Listed, MemberResult, Reply, Synced,
    TopicAssignment,
};
pub use request::{
    CommitOffsets, ConsumerHeartbeat, DeleteOffsets, FetchOffsets, Heartbeat, Identity, JoinGroup,
    LeaveGroup, LeavingMember, ListGroups, OffsetToCommit, Request, SyncGroup, TopicRef,
    WantedOffsets,
};
pub use topics::{TopicInfo, Topics};

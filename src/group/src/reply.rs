//! What a coordinator answers.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::error::GroupError;
use crate::request::TopicRef;

/// The reply to a [`Request`](crate::Request), of the variant of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To `Join`. An error may come with the member's id.
    Joined(Result<Joined, (GroupError, Arc<str>)>),
    /// To `Sync`.
    Synced(Result<Synced, GroupError>),
    /// To `Heartbeat`.
    Heartbeat(Result<(), GroupError>),
    /// To `Leave`: of the group, or of each member in the order of the request.
    Left(Result<Vec<MemberResult>, GroupError>),
    /// To `Commit`: of each offset, in the order of the request.
    Committed(Vec<Result<(), GroupError>>),
    /// To `Fetch`.
    Fetched(Result<FetchedOffsets, GroupError>),
    /// To `DeleteOffsets`: of each partition, in the order of the request.
    OffsetsDeleted(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To `Describe`.
    Described(Result<Description, GroupError>),
    /// To `List`.
    Listed(Vec<Listed>),
    /// To `Delete`.
    Deleted(Result<(), GroupError>),
    /// To `ConsumerHeartbeat`.
    ConsumerHeartbeat(Result<ConsumerHeartbeatReply, GroupError>),
    /// To `ConsumerDescribe`.
    ConsumerDescribed(Result<ConsumerDescription, GroupError>),
}

impl Reply {
    /// Whether a bound of the machine is why all of it, or a part, was refused.
    pub fn is_at_limit(&self) -> bool {
        match self {
            Reply::Joined(Err((error, _)))
            | Reply::Synced(Err(error))
            | Reply::ConsumerHeartbeat(Err(error)) => error.is_limit(),
            Reply::Committed(results) => {
                let mut errors = results.iter().filter_map(|result| result.as_ref().err());
                errors.any(GroupError::is_limit)
            }
            _ => false,
        }
    }
}

/// A join that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// The group's generation.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The assignor all members have.
    pub protocol_name: Option<Arc<str>>,
    /// The member that assigns.
    pub leader: Arc<str>,
    /// Whether the leader need not assign.
    pub skip_assignment: bool,
    /// The member that joined.
    pub member: Arc<str>,
    /// All members, for the leader; empty for others.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedMember {
    /// Its id.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// What it told for the chosen assignor.
    pub metadata: Bytes,
}

/// A sync that succeeded.
#[derive(Debug, Clone, PartialEq)]
pub struct Synced {
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen assignor.
    pub protocol_name: Option<Arc<str>>,
    /// What the leader gave the member.
    pub assignment: Bytes,
}

/// What became of one that leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct MemberResult {
    /// As asked.
    pub member: Arc<str>,
    /// As asked.
    pub instance: Option<Arc<str>>,
    /// What became of it.
    pub result: Result<(), GroupError>,
}

/// Offsets of a group, by topic.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FetchedOffsets {
    /// In the order of the request; by name where all were asked for.
    pub topics: Vec<(TopicRef, Vec<FetchedOffset>)>,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedOffset {
    /// The partition.
    pub partition: i32,
    /// The offset: -1 where none was committed.
    pub offset: i64,
    /// The leader epoch committed with it; -1 if none.
    pub leader_epoch: i32,
    /// The metadata committed with it; empty where nothing was committed.
    pub metadata: Option<Arc<str>>,
    /// Why there is none.
    pub error: Option<GroupError>,
}

/// A group as ListGroups shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub group: Arc<str>,
    /// Its protocol type; empty if it has none.
    pub protocol_type: Arc<str>,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Kafka's name of its type.
    pub kind: &'static str,
}

/// A group as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Kafka's name of the state.
    pub state: &'static str,
    /// The protocol type.
    pub protocol_type: Arc<str>,
    /// The chosen assignor; empty while there is none.
    pub protocol: Arc<str>,
    /// The members.
    pub members: Vec<ClassicMember>,
}

/// A member as DescribeGroups shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassicMember {
    /// Its id.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// What it told for the chosen assignor.
    pub metadata: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

/// Partitions of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicAssignment {
    /// The topic.
    pub topic: Uuid,
    /// Its name, where the reply has one.
    pub name: Arc<str>,
    /// The partitions, ascending.
    pub partitions: Vec<i32>,
}

/// A heartbeat of the new protocol that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHeartbeatReply {
    /// The member's id.
    pub member: Arc<str>,
    /// Its epoch.
    pub member_epoch: i32,
    /// When to come again, in milliseconds.
    pub heartbeat_interval_ms: i32,
    /// What it has now; none if unchanged.
    pub assignment: Option<Vec<(Uuid, Vec<i32>)>>,
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerDescription {
    /// Kafka's name of the state.
    pub state: &'static str,
    /// The group's epoch.
    pub group_epoch: i32,
    /// The epoch of the target assignment.
    pub assignment_epoch: i32,
    /// The assignor.
    pub assignor: Arc<str>,
    /// The members.
    pub members: Vec<ConsumerMember>,
}

/// A member as ConsumerGroupDescribe shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerMember {
    /// Its id.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// Its rack.
    pub rack: Option<Arc<str>>,
    /// Its epoch.
    pub member_epoch: i32,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Its address.
    pub client_host: Arc<str>,
    /// Topics by name.
    pub topic_names: Vec<Arc<str>>,
    /// Topics by regular expression.
    pub topic_regex: Option<Arc<str>>,
    /// What it has.
    pub assignment: Vec<TopicAssignment>,
    /// What it is to have.
    pub target: Vec<TopicAssignment>,
    /// Whether it speaks the classic protocol.
    pub classic: bool,
}

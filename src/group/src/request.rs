//! What a coordinator is asked. One variant an API; a request about several groups is split by
//! the caller, since they may have several coordinators.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

/// A request to the coordinator of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// JoinGroup.
    Join(JoinGroup),
    /// SyncGroup.
    Sync(SyncGroup),
    /// Heartbeat.
    Heartbeat(Heartbeat),
    /// LeaveGroup.
    Leave(LeaveGroup),
    /// OffsetCommit.
    Commit(CommitOffsets),
    /// OffsetFetch, of one group.
    Fetch(FetchOffsets),
    /// OffsetDelete.
    DeleteOffsets(DeleteOffsets),
    /// DescribeGroups, of one group.
    Describe(Arc<str>),
    /// ListGroups, over all groups of the machine.
    List(ListGroups),
    /// DeleteGroups, of one group.
    Delete(Arc<str>),
    /// ConsumerGroupHeartbeat.
    ConsumerHeartbeat(ConsumerHeartbeat),
    /// ConsumerGroupDescribe, of one group.
    ConsumerDescribe(Arc<str>),
}

impl Request {
    /// Whether it may write records. A heartbeat of the new protocol may, too, but does not while
    /// nothing can be written ([`crate::Moment::is_full`]).
    pub const fn may_write(&self) -> bool {
        match self {
            Request::Join(_)
            | Request::Sync(_)
            | Request::Leave(_)
            | Request::Commit(_)
            | Request::DeleteOffsets(_)
            | Request::Delete(_) => true,
            Request::Heartbeat(_)
            | Request::Fetch(_)
            | Request::Describe(_)
            | Request::List(_)
            | Request::ConsumerHeartbeat(_)
            | Request::ConsumerDescribe(_) => false,
        }
    }
}

/// Who asks, as descriptions of a group show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The request header's client id; empty if there is none.
    pub client_id: Arc<str>,
    /// The address it comes from, as Kafka prints it: `/127.0.0.1`.
    pub client_host: Arc<str>,
}

/// JoinGroup, all versions.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinGroup {
    /// The group.
    pub group: Arc<str>,
    /// Who asks.
    pub identity: Identity,
    /// Empty at a first join.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// `consumer`, `connect` or whatever the application says.
    pub protocol_type: Arc<str>,
    /// The member's assignors in its order of preference, each with what it tells the leader.
    pub protocols: Vec<(Arc<str>, Bytes)>,
    /// In milliseconds.
    pub session_timeout_ms: i32,
    /// In milliseconds; version 0 has none, and means the session timeout.
    pub rebalance_timeout_ms: i32,
    /// From version 4 on a dynamic member is told its id first (KIP-394).
    pub needs_known_member: bool,
    /// From version 9 on a leader that comes back may be told not to assign (KIP-814).
    pub can_skip_assignment: bool,
    /// Why it joins; for logs.
    pub reason: Option<Arc<str>>,
}

/// SyncGroup, all versions.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncGroup {
    /// The group.
    pub group: Arc<str>,
    /// The generation joined.
    pub generation: i32,
    /// The member.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// From version 5 on: checked against the group's.
    pub protocol_type: Option<Arc<str>>,
    /// From version 5 on: checked against the group's.
    pub protocol_name: Option<Arc<str>>,
    /// From the leader: what each member gets.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// Heartbeat, all versions.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// The group.
    pub group: Arc<str>,
    /// The generation the member is in.
    pub generation: i32,
    /// The member.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
}

/// LeaveGroup, all versions.
#[derive(Debug, Clone, PartialEq)]
pub struct LeaveGroup {
    /// The group.
    pub group: Arc<str>,
    /// Who leaves: one before version 3.
    pub members: Vec<LeavingMember>,
}

/// One that leaves.
#[derive(Debug, Clone, PartialEq)]
pub struct LeavingMember {
    /// The member; may be empty for a static one.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// Why; for logs.
    pub reason: Option<Arc<str>>,
}

/// A topic as a request names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By name.
    Name(Arc<str>),
    /// By id, in the versions that have it.
    Id(Uuid),
}

/// OffsetCommit, all versions.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitOffsets {
    /// The group.
    pub group: Arc<str>,
    /// The generation, or in the new protocol the member's epoch; negative from who is in no group.
    pub generation_or_epoch: i32,
    /// The member; empty from who is in no group.
    pub member: Arc<str>,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// Versions 2 to 4: how long to keep the offsets; none means as the broker does.
    pub retention_ms: Option<i64>,
    /// From version 9 on: a member of the new protocol may commit with this request.
    pub knows_epochs: bool,
    /// What to commit.
    pub offsets: Vec<OffsetToCommit>,
}

/// An offset to commit.
#[derive(Debug, Clone, PartialEq)]
pub struct OffsetToCommit {
    /// The topic.
    pub topic: TopicRef,
    /// The partition.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The leader epoch of the record before; -1 if not known.
    pub leader_epoch: i32,
    /// Whatever the application wants to keep with it.
    pub metadata: Option<Arc<str>>,
}

/// OffsetFetch of one group, all versions.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchOffsets {
    /// The group.
    pub group: Arc<str>,
    /// From version 9 on: the member that asks.
    pub member: Option<Arc<str>>,
    /// From version 9 on: its epoch; negative if it does not say.
    pub member_epoch: i32,
    /// Which offsets.
    pub wanted: WantedOffsets,
    /// Whether offsets that a transaction may still change are to be refused.
    pub require_stable: bool,
}

/// Which offsets to fetch.
#[derive(Debug, Clone, PartialEq)]
pub enum WantedOffsets {
    /// All of the group.
    All,
    /// Of these partitions, in this order.
    Of(Vec<(TopicRef, Vec<i32>)>),
}

/// OffsetDelete.
#[derive(Debug, Clone, PartialEq)]
pub struct DeleteOffsets {
    /// The group.
    pub group: Arc<str>,
    /// Which, in this order.
    pub topics: Vec<(Arc<str>, Vec<i32>)>,
}

/// ListGroups: filters, where empty means all; compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListGroups {
    /// Kafka's names of states, such as `Stable`.
    pub states: Vec<Arc<str>>,
    /// Kafka's names of types: `classic`, `consumer`.
    pub types: Vec<Arc<str>>,
}

/// ConsumerGroupHeartbeat, all versions.
#[derive(Debug, Clone, PartialEq)]
pub struct ConsumerHeartbeat {
    /// The group.
    pub group: Arc<str>,
    /// Who asks.
    pub identity: Identity,
    /// The member; version 0 lets the coordinator choose it by an empty one.
    pub member: Arc<str>,
    /// 0 joins, -1 leaves, -2 leaves for a while as a static member.
    pub member_epoch: i32,
    /// A static member's id.
    pub instance: Option<Arc<str>>,
    /// The member's rack.
    pub rack: Option<Arc<str>>,
    /// In milliseconds; -1 if unchanged.
    pub rebalance_timeout_ms: i32,
    /// The topics by name; none if unchanged.
    pub topic_names: Option<Vec<Arc<str>>>,
    /// The topics by regular expression (RE2); none if unchanged, empty for none.
    pub topic_regex: Option<Arc<str>>,
    /// The assignor; none if unchanged.
    pub assignor: Option<Arc<str>>,
    /// What the member owns; none if unchanged since its last heartbeat.
    pub owned: Option<Vec<(Uuid, Vec<i32>)>>,
    /// Whether the coordinator must choose the member's id (version 0).
    pub may_lack_member: bool,
}

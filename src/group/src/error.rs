//! What a coordinator refuses, with Kafka's codes.

use thiserror::Error;

/// A refusal. The sentence is what a reply's error message says where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GroupError {
    /// The machine's log is being read.
    #[error("The coordinator is loading and hence can't process requests.")]
    CoordinatorLoadInProgress,
    /// Nothing can be written now.
    #[error("The coordinator is not available.")]
    CoordinatorNotAvailable,
    /// What the request would write is larger than the log can take in one piece.
    #[error("The server experienced an unexpected error when processing the request.")]
    RecordsTooLarge,
    /// The group belongs to another coordinator.
    #[error("This is not the correct coordinator.")]
    NotCoordinator,
    /// The generation is not the group's.
    #[error("Specified group generation id is not valid.")]
    IllegalGeneration,
    /// The member's protocols or protocol type do not fit the group's.
    #[error(
        "The group member's supported protocols are incompatible with those of existing members or first group member tried to join with empty protocol type or empty protocol list."
    )]
    InconsistentGroupProtocol,
    /// The group's id is empty or of a form that is not allowed here.
    #[error("The group id is invalid.")]
    InvalidGroupId,
    /// No such member.
    #[error("The coordinator is not aware of this member.")]
    UnknownMemberId,
    /// The session timeout is outside what the broker allows.
    #[error(
        "The session timeout is not within the range allowed by the broker (as configured by group.min.session.timeout.ms and group.max.session.timeout.ms)."
    )]
    InvalidSessionTimeout,
    /// The group rebalances: join again.
    #[error("The group is rebalancing, so a rejoin is needed.")]
    RebalanceInProgress,
    /// An offset's metadata is longer than `offset.metadata.max.bytes`.
    #[error("The committing offset data size is not valid.")]
    OffsetMetadataTooLarge,
    /// The group has members or subscriptions that forbid it.
    #[error("The group is not empty.")]
    NonEmptyGroup,
    /// No such group.
    #[error("{0}")]
    GroupIdNotFound(String),
    /// The first join of a dynamic member: join again with the id that comes with this.
    #[error(
        "The group member needs to have a valid member id before actually entering a consumer group."
    )]
    MemberIdRequired,
    /// The group has as many members as it may have.
    #[error("The group has reached its maximum size.")]
    GroupMaxSizeReached,
    /// Another member has this static member's id.
    #[error(
        "The broker rejected this static consumer since another consumer with the same group.instance.id has registered with a different member.id."
    )]
    FencedInstanceId,
    /// Another member holds this static id, and has not left.
    #[error("{0}")]
    UnreleasedInstanceId(String),
    /// The member's epoch is behind the coordinator's.
    #[error("{0}")]
    FencedMemberEpoch(String),
    /// The member's epoch is not the one to commit or fetch with.
    #[error(
        "The member epoch is stale. The member must retry after receiving its updated member epoch via the ConsumerGroupHeartbeat API."
    )]
    StaleMemberEpoch,
    /// The assignor asked for is none of the broker's.
    #[error("{0}")]
    UnsupportedAssignor(String),
    /// The regular expression does not compile, or is too large.
    #[error("{0}")]
    InvalidRegularExpression(String),
    /// A member of the new protocol commits in a version that knows no member epochs.
    #[error(
        "OffsetCommit version 9 or above must be used by members using the modern group protocol."
    )]
    UnsupportedVersion,
    /// The request contradicts itself.
    #[error("{0}")]
    InvalidRequest(String),
    /// No such topic or partition.
    #[error("This server does not host this topic-partition.")]
    UnknownTopicOrPartition,
    /// No topic has this id.
    #[error("This server does not host this topic ID.")]
    UnknownTopicId,
    /// The group is subscribed to the topic.
    #[error(
        "Deleting offsets of a topic is forbidden while the consumer group is actively subscribed to it."
    )]
    GroupSubscribedToTopic,
    /// A bound of the machine is reached: no further group or member is taken.
    #[error("{0}")]
    LimitReached(String),
    /// The same: no offset of a partition that has none is taken.
    #[error("{0}")]
    CommitLimitReached(String),
    /// The group is of another kind than the request is for.
    #[error("{0}")]
    WrongProtocol(String),
}

impl GroupError {
    /// The same refusal, of a commit.
    pub(crate) fn of_commit(self) -> GroupError {
        match self {
            GroupError::LimitReached(why) => GroupError::CommitLimitReached(why),
            error => error,
        }
    }

    /// Whether it is a bound of the whole machine that is reached.
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            GroupError::LimitReached(_) | GroupError::CommitLimitReached(_)
        )
    }

    /// Kafka's error code.
    pub const fn code(&self) -> i16 {
        match self {
            GroupError::RecordsTooLarge => -1,
            GroupError::UnknownTopicOrPartition => 3,
            GroupError::OffsetMetadataTooLarge => 12,
            GroupError::CoordinatorLoadInProgress => 14,
            GroupError::CoordinatorNotAvailable => 15,
            GroupError::NotCoordinator => 16,
            GroupError::IllegalGeneration => 22,
            GroupError::InconsistentGroupProtocol | GroupError::WrongProtocol(_) => 23,
            GroupError::InvalidGroupId => 24,
            GroupError::UnknownMemberId => 25,
            GroupError::InvalidSessionTimeout => 26,
            GroupError::RebalanceInProgress => 27,
            GroupError::UnsupportedVersion => 35,
            // As of a commit that the log has no room for: a client gives up, and does not ask again.
            GroupError::CommitLimitReached(_) => 28,
            GroupError::InvalidRequest(_) => 42,
            GroupError::NonEmptyGroup => 68,
            GroupError::GroupIdNotFound(_) => 69,
            GroupError::MemberIdRequired => 79,
            // Clients know it for fatal, whatever they joined with.
            GroupError::GroupMaxSizeReached | GroupError::LimitReached(_) => 81,
            GroupError::FencedInstanceId => 82,
            GroupError::GroupSubscribedToTopic => 86,
            GroupError::UnknownTopicId => 100,
            GroupError::FencedMemberEpoch(_) => 110,
            GroupError::UnreleasedInstanceId(_) => 111,
            GroupError::UnsupportedAssignor(_) => 112,
            GroupError::StaleMemberEpoch => 113,
            GroupError::InvalidRegularExpression(_) => 128,
        }
    }
}

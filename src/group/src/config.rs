//! What a coordinator may be told to do otherwise.

/// Limits and times of groups: Kafka's names and defaults stand beside each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: 6,000. Classic protocol.
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`: 1,800,000. Classic protocol.
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`: 3,000 in Kafka. How long an empty group waits for more
    /// members after the first; each new one prolongs the wait, up to the rebalance timeout.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`: unlimited in Kafka. Members of a classic group, pending ones included.
    pub classic_members_max: usize,
    /// How long a member that was never told its id may wait in a join: 300,000, as Kafka has it.
    pub new_member_join_timeout_ms: i32,
    /// `group.consumer.max.size`: members of a group of the new protocol.
    pub consumer_members_max: usize,
    /// `group.consumer.session.timeout.ms`: 45,000.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: 5,000.
    pub consumer_heartbeat_interval_ms: i32,
    /// `offset.metadata.max.bytes`: 4,096. Counted in UTF-16 units, as Kafka counts.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in milliseconds: seven days.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`: 600,000.
    pub offsets_retention_check_ms: i64,
    /// Groups of one machine. One more is refused.
    pub groups_max: usize,
    /// Bytes that the groups and offsets of one machine may take as records. What would take more
    /// is refused.
    pub bytes_max: u64,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            classic_members_max: 10_000,
            new_member_join_timeout_ms: 300_000,
            consumer_members_max: 10_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: 5_000,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offsets_retention_check_ms: 600_000,
            groups_max: 10_000,
            bytes_max: 256 << 20,
        }
    }
}

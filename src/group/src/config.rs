//! What a coordinator may be told to do otherwise.

use crate::assignor::Assignor;

/// Which way a group may go between the protocols while its members live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// From either to the other.
    Bidirectional,
    /// From the classic protocol to the new one.
    Upgrade,
    /// From the new protocol to the classic one.
    Downgrade,
    /// Neither: a group has to be empty first.
    Disabled,
}

impl MigrationPolicy {
    /// Whether a classic group may become one of the new protocol.
    pub const fn allows_upgrade(self) -> bool {
        matches!(
            self,
            MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade
        )
    }

    /// Whether a group of the new protocol may become a classic one.
    pub const fn allows_downgrade(self) -> bool {
        matches!(
            self,
            MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade
        )
    }

    /// The policy of Kafka's name, whatever its case.
    pub fn by_name(name: &str) -> Option<MigrationPolicy> {
        match name.to_ascii_lowercase().as_str() {
            "bidirectional" => Some(MigrationPolicy::Bidirectional),
            "upgrade" => Some(MigrationPolicy::Upgrade),
            "downgrade" => Some(MigrationPolicy::Downgrade),
            "disabled" => Some(MigrationPolicy::Disabled),
            _ => None,
        }
    }
}

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
    /// `group.consumer.assignors`: uniform, then range. The first is for groups that ask for none.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`: bidirectional.
    pub consumer_migration: MigrationPolicy,
    /// `offset.metadata.max.bytes`: 4,096. Counted in UTF-16 units, as Kafka counts.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in milliseconds: seven days.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`: 600,000.
    pub offsets_retention_check_ms: i64,
    /// Bytes that one request may have written: a group's members, or the offsets of a commit. What
    /// would take more is refused, so that a batch of the log has room for it.
    pub batch_bytes_max: u64,
    /// When so many bytes of records were written since the last snapshot of a machine, and as many
    /// as that one had, the next one is due. A load reads that much besides the snapshot.
    pub snapshot_bytes_min: u64,
    /// Groups of one machine. One more is refused.
    pub groups_max: usize,
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
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            consumer_migration: MigrationPolicy::Bidirectional,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offsets_retention_check_ms: 600_000,
            batch_bytes_max: 8 << 20,
            snapshot_bytes_min: 1 << 20,
            groups_max: 10_000,
        }
    }
}

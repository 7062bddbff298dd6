//! Planted bugs: mistakes on purpose, each behind its switch, which show that the simulation can
//! fail.
//!
//! Without the cargo feature `planted` every switch is a constant `false`, and no trace of a bug
//! is compiled. With it a switch belongs to the thread, so that a simulation has its bug and the
//! one beside it has none. No flag, no environment variable and no file reaches a switch: a test
//! calls [`set`].

/// A mistake that somebody might make, by the place where it would sit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Planted {
    /// WAL: a commit counts as durable when its write has ended.
    AckBeforeSync,
    /// WAL: a sync counts for what was written while it was under way.
    SyncCoversLaterWrites,
    /// WAL: a file counts as clear while one run in it has no other home.
    WalFreedTooEarly,
    /// WAL: the last run that was to be carried is not.
    CarryLost,
    /// Recovery: a commit whose body is torn is taken as it is.
    TornTailAccepted,
    /// Recovery: what had been durable and does not hold any more is cut off in silence.
    RotTakenForTornTail,
    /// Recovery: a WAL is replayed to its end and not to its seal.
    StaleCommitPastSeal,
    /// Recovery: the WALs of the past are read and served without a sync before.
    TailServedBeforeSync,
    /// Recovery: of each log the last run is left out when there are several.
    LastRunDropped,
    /// Recovery: the generation is raised in memory alone.
    GenerationNotDurable,
    /// Segments: the directories of a new segment file are not synced.
    SegmentDirectoryNotSynced,
    /// Segments: a piece counts as durable before its sync.
    SegmentNotSynced,
    /// Segments: an index file is taken without its checksum, and an entry is off.
    DamagedIndexTrusted,
    /// Segments: the last batch before a roll is left out of the closed segment.
    RecordLostAtRoll,
    /// Checkpoints: a group counts before it is synced.
    CheckpointNotSynced,
    /// Checkpoints: a log's record says that all of its tail is in segments.
    CheckpointPassesTail,
    /// A log start is answered before it is durable.
    LogStartAnsweredEarly,
    /// Segments below a log start are removed before the log start is durable.
    TrimmedBeforeLogStartDurable,
    /// Retention takes a segment's age by its creation in place of its records' timestamps.
    RetentionByWallClock,
    /// `write.caching`: unsynced bytes never come due.
    CachedNeverFlushed,
    /// The high watermark is one past what is durable.
    HighWatermarkTooFar,
    /// The high watermark follows what is written.
    HighWatermarkFollowsWritten,
    /// A producer's state keeps four batches in place of five.
    DedupWindowOffByOne,
    /// A duplicate is answered while its original is not durable.
    DuplicateAnsweredEarly,
    /// A producer's sequence may leave a gap.
    SequenceGapAccepted,
    /// What recovery found of the producers is thrown away.
    ProducersForgotten,
    /// A block of producer ids is granted before it is durable.
    ProducerIdsReused,
    /// The leader epoch does not rise with the generation.
    EpochNotRaised,
    /// A new topic takes the id of the deleted one of its name.
    DeletedTopicReplayed,
    /// CreateTopics is answered before the topic is durable.
    CreateAnsweredEarly,
    /// DeleteTopics is answered before the deletion is durable.
    DeleteAnsweredEarly,
    /// Changed configurations are answered before they are durable.
    ConfigAnsweredEarly,
    /// A start gives the logs to the shards of the start before.
    WrongOwnerAfterReshard,
    /// A parked fetch is not woken by the high watermark.
    FetchNotWoken,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 34] = [
        Planted::AckBeforeSync,
        Planted::SyncCoversLaterWrites,
        Planted::WalFreedTooEarly,
        Planted::CarryLost,
        Planted::TornTailAccepted,
        Planted::RotTakenForTornTail,
        Planted::StaleCommitPastSeal,
        Planted::TailServedBeforeSync,
        Planted::LastRunDropped,
        Planted::GenerationNotDurable,
        Planted::SegmentDirectoryNotSynced,
        Planted::SegmentNotSynced,
        Planted::DamagedIndexTrusted,
        Planted::RecordLostAtRoll,
        Planted::CheckpointNotSynced,
        Planted::CheckpointPassesTail,
        Planted::LogStartAnsweredEarly,
        Planted::TrimmedBeforeLogStartDurable,
        Planted::RetentionByWallClock,
        Planted::CachedNeverFlushed,
        Planted::HighWatermarkTooFar,
        Planted::HighWatermarkFollowsWritten,
        Planted::DedupWindowOffByOne,
        Planted::DuplicateAnsweredEarly,
        Planted::SequenceGapAccepted,
        Planted::ProducersForgotten,
        Planted::ProducerIdsReused,
        Planted::EpochNotRaised,
        Planted::DeletedTopicReplayed,
        Planted::CreateAnsweredEarly,
        Planted::DeleteAnsweredEarly,
        Planted::ConfigAnsweredEarly,
        Planted::WrongOwnerAfterReshard,
        Planted::FetchNotWoken,
    ];

    /// Its name, as a command takes it.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Planted> {
        Planted::ALL
            .into_iter()
            .find(|planted| planted.name() == name)
    }
}

/// Whether switches are compiled in.
pub const IS_COMPILED: bool = cfg!(feature = "planted");

#[cfg(feature = "planted")]
mod switch {
    use super::Planted;
    use std::cell::Cell;

    thread_local! {
        static CURRENT: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants that bug on this thread, in place of any before.
    pub fn set(planted: Option<Planted>) {
        CURRENT.set(planted);
    }

    /// Whether that bug is planted on this thread.
    pub fn is(planted: Planted) -> bool {
        CURRENT.get() == Some(planted)
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Planted;

    /// Plants nothing: no switch is compiled in.
    ///
    /// # Panics
    /// If a bug is asked for: a search for it would find nothing, for the wrong reason.
    pub fn set(planted: Option<Planted>) {
        assert!(
            planted.is_none(),
            "planted bugs need the cargo feature `planted`"
        );
    }

    /// No bug is planted.
    #[inline(always)]
    pub const fn is(_planted: Planted) -> bool {
        false
    }
}

pub use switch::{is, set};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_found_by_its_name_and_none_is_planted_unasked() {
        for planted in Planted::ALL {
            assert_eq!(Planted::from_name(&planted.name()), Some(planted));
            assert!(!is(planted));
        }
        assert_eq!(Planted::from_name("Nothing"), None);
    }

    #[cfg(feature = "planted")]
    #[test]
    fn a_switch_belongs_to_its_thread() {
        set(Some(Planted::AckBeforeSync));
        assert!(is(Planted::AckBeforeSync) && !is(Planted::CarryLost));
        let elsewhere = std::thread::spawn(|| is(Planted::AckBeforeSync)).join();
        assert!(!elsewhere.unwrap());
        set(None);
        assert!(!is(Planted::AckBeforeSync));
    }
}

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
    /// WAL: a commit that was to be written durably is only written, and counts as durable.
    AckBeforeSync,
    /// WAL: a sync counts for what was written while it was under way.
    SyncCoversLaterWrites,
    /// WAL: a checkpoint that frees the oldest file lets replay begin one file too late.
    WalFreedTooEarly,
    /// WAL: the header that gives a file its place in the stream is not synced.
    WalHeaderNotSynced,
    /// WAL: a new file's name is not synced.
    WalDirectoryNotSynced,
    /// WAL: a log counts as clear of a file when its last run is, and the others are not carried.
    CarryLost,
    /// WAL: the witness says nothing: the last commits have no proof but what lies behind them.
    EndNotWitnessed,
    /// WAL: the witness says of what is only written that it is durable.
    WitnessAhead,
    /// Recovery: an entry's body is taken without its checksum.
    TornTailAccepted,
    /// Recovery: what had been durable and does not hold any more is cut off in silence.
    RotTakenForTornTail,
    /// Recovery: a WAL is replayed to its end and not to its seal.
    StaleCommitPastSeal,
    /// Recovery: the WALs of the past are read and served without a sync before.
    TailServedBeforeSync,
    /// Recovery: the new root file's name is not synced.
    GenerationNotDurable,
    /// Recovery: logs go to the shards that owned them in the start before.
    WrongOwnerAfterReshard,
    /// Segments: the directories of a new file are not synced.
    SegmentDirectoryNotSynced,
    /// Segments: a piece counts as durable without a sync.
    SegmentNotSynced,
    /// Segments: a run counts as written when only its beginning is.
    HalfRunInSegment,
    /// Segments: a closed segment's file is cut at its last whole block.
    RecordLostAtRoll,
    /// Segments: the first record of a segment is looked for in the one before.
    ReadStuckAtRoll,
    /// Segments: one whose last record is still wanted is removed.
    TrimmedOneTooFar,
    /// Segments: those below a log start are removed before it is durable.
    TrimmedBeforeLogStartDurable,
    /// Segments: an index file is taken without its checksum.
    DamagedIndexTrusted,
    /// Segments: a lookup by time skips the records of just that time.
    TimeIndexOffByOne,
    /// Compaction: the segments that a new one was made of are removed before it is durable.
    OldSegmentUnlinkedFirst,
    /// Compaction: a tombstone goes with the first cleaning that sees it.
    TombstoneRemovedTooEarly,
    /// Compaction: a key's newest record counts as superseded by itself.
    NewestRecordDropped,
    /// Compaction: the segment that is appended to is cleaned as far as it is in its file.
    ActiveSegmentCleaned,
    /// Compaction: a producer's last batch goes with its last record.
    LastSequenceCleaned,
    /// Checkpoints: one counts before it is synced.
    CheckpointNotSynced,
    /// Checkpoints: one says that all of a log's tail is in segments.
    CheckpointPassesTail,
    /// Checkpoints: one names the first segment's base offset as the log start.
    LogStartLostAtCheckpoint,
    /// Checkpoints: the metadata snapshot claims the entry after it.
    SnapshotSkipsMetadata,
    /// Snapshots of logs: one says that it has the records that came while it was made.
    SnapshotSkipsRecords,
    /// Snapshots of logs: a piece is taken without its checksum.
    DamagedSnapshotTrusted,
    /// Snapshots of logs: one counts before the records in it are durable.
    SnapshotAheadOfLog,
    /// Retention: what is younger than the clock says counts as old.
    RetentionByClockJump,
    /// `write.caching`: unsynced bytes never come due.
    CachedNeverFlushed,
    /// acks=1 is answered when the batch is appended.
    AckOneBeforeWrite,
    /// The high watermark is one past what is durable.
    HighWatermarkTooFar,
    /// The high watermark follows what is written.
    HighWatermarkFollowsWritten,
    /// A fetch reads up to the log's end.
    FetchPassesHighWatermark,
    /// A parked fetch is not woken when the high watermark moves.
    FetchNotWoken,
    /// A producer's state keeps four batches in place of five.
    DedupWindowOffByOne,
    /// A duplicate is answered while its original is not durable.
    DuplicateAnsweredEarly,
    /// A producer's sequences may leave a gap.
    SequenceGapAccepted,
    /// What recovery found of the producers is thrown away.
    ProducersForgotten,
    /// A block of producer ids is granted before it is durable.
    ProducerIdsReused,
    /// The leader epoch does not rise with the generation.
    EpochNotRaised,
    /// A new topic takes the id of the deleted one of its name.
    DeletedTopicReplayed,
    /// CreateTopics is answered before it is durable.
    CreateAnsweredEarly,
    /// DeleteTopics is answered before it is durable.
    DeleteAnsweredEarly,
    /// CreatePartitions is answered before it is durable.
    PartitionsAnsweredEarly,
    /// Changed configurations are answered before they are durable.
    ConfigAnsweredEarly,
    /// DeleteRecords is answered before it is durable.
    LogStartAnsweredEarly,
    /// Groups: replies leave before the records that they follow from are durable.
    GroupAnsweredEarly,
    /// Groups: what says in which generation or epoch a group is is not written.
    GroupEpochNotWritten,
    /// Groups: a commit of a generation that is over is answered as if it had been taken.
    LateCommitAnswered,
}

impl Planted {
    /// All of them.
    pub const ALL: [Planted; 57] = [
        Planted::AckBeforeSync,
        Planted::SyncCoversLaterWrites,
        Planted::WalFreedTooEarly,
        Planted::WalHeaderNotSynced,
        Planted::WalDirectoryNotSynced,
        Planted::CarryLost,
        Planted::EndNotWitnessed,
        Planted::WitnessAhead,
        Planted::TornTailAccepted,
        Planted::RotTakenForTornTail,
        Planted::StaleCommitPastSeal,
        Planted::TailServedBeforeSync,
        Planted::GenerationNotDurable,
        Planted::WrongOwnerAfterReshard,
        Planted::SegmentDirectoryNotSynced,
        Planted::SegmentNotSynced,
        Planted::HalfRunInSegment,
        Planted::RecordLostAtRoll,
        Planted::ReadStuckAtRoll,
        Planted::TrimmedOneTooFar,
        Planted::TrimmedBeforeLogStartDurable,
        Planted::DamagedIndexTrusted,
        Planted::TimeIndexOffByOne,
        Planted::OldSegmentUnlinkedFirst,
        Planted::TombstoneRemovedTooEarly,
        Planted::NewestRecordDropped,
        Planted::ActiveSegmentCleaned,
        Planted::LastSequenceCleaned,
        Planted::CheckpointNotSynced,
        Planted::CheckpointPassesTail,
        Planted::LogStartLostAtCheckpoint,
        Planted::SnapshotSkipsMetadata,
        Planted::SnapshotSkipsRecords,
        Planted::DamagedSnapshotTrusted,
        Planted::SnapshotAheadOfLog,
        Planted::RetentionByClockJump,
        Planted::CachedNeverFlushed,
        Planted::AckOneBeforeWrite,
        Planted::HighWatermarkTooFar,
        Planted::HighWatermarkFollowsWritten,
        Planted::FetchPassesHighWatermark,
        Planted::FetchNotWoken,
        Planted::DedupWindowOffByOne,
        Planted::DuplicateAnsweredEarly,
        Planted::SequenceGapAccepted,
        Planted::ProducersForgotten,
        Planted::ProducerIdsReused,
        Planted::EpochNotRaised,
        Planted::DeletedTopicReplayed,
        Planted::CreateAnsweredEarly,
        Planted::DeleteAnsweredEarly,
        Planted::PartitionsAnsweredEarly,
        Planted::ConfigAnsweredEarly,
        Planted::LogStartAnsweredEarly,
        Planted::GroupAnsweredEarly,
        Planted::GroupEpochNotWritten,
        Planted::LateCommitAnswered,
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

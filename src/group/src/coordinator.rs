//! One machine: the groups and offsets of one partition of `__consumer_offsets`.
//!
//! Owns the groups, their timers and the askers that wait for other members. Invariants: what it
//! answers follows from records that it has given out; [`Coordinator::replay`] of all of them
//! makes a machine with the same [`Coordinator::snapshot`].

use std::sync::Arc;
use std::time::Duration;

use crate::config::GroupConfig;
use crate::error::GroupError;
use crate::outcome::{Moment, Outcome, Record, ReplyTo};
use crate::records::{Key, RecordError};
use crate::reply::{FetchedOffset, FetchedOffsets, Reply};
use crate::request::{FetchOffsets, Request, WantedOffsets};
use crate::topics::Topics;

/// A group coordinator's state.
#[derive(Debug)]
pub struct Coordinator {
    config: Arc<GroupConfig>,
}

impl Coordinator {
    /// A machine without groups.
    pub fn new(config: Arc<GroupConfig>) -> Coordinator {
        Coordinator { config }
    }

    /// What the machine may do and hold.
    pub fn config(&self) -> &Arc<GroupConfig> {
        &self.config
    }

    /// Takes a record of the machine's log, in the order of the log. Records of kinds that are not
    /// known are skipped, as Kafka does.
    ///
    /// # Errors
    /// If the record is of a known kind and cannot be read.
    pub fn replay(&mut self, record: &Record) -> Result<(), RecordError> {
        Key::decode(&record.key).map(|_| ())
    }

    /// Starts to serve, after all records have been replayed.
    pub fn loaded(&mut self, _moment: &Moment, _topics: &dyn Topics) -> Outcome {
        Outcome::default()
    }

    /// Handles a request. The reply is in this outcome or in a later one; there is always one,
    /// unless the asker is [cancelled](Coordinator::cancel).
    pub fn handle(
        &mut self,
        _moment: &Moment,
        _topics: &dyn Topics,
        to: ReplyTo,
        request: Request,
    ) -> Outcome {
        let reply = match request {
            Request::Join(_) => {
                Reply::Joined(Err((GroupError::CoordinatorNotAvailable, Arc::from(""))))
            }
            Request::Sync(_) => Reply::Synced(Err(GroupError::UnknownMemberId)),
            Request::Heartbeat(_) => Reply::Heartbeat(Err(GroupError::UnknownMemberId)),
            Request::Leave(_) => Reply::Left(Err(GroupError::UnknownMemberId)),
            Request::Commit(commit) => Reply::Committed(
                commit
                    .offsets
                    .iter()
                    .map(|_| Err(GroupError::CoordinatorNotAvailable))
                    .collect(),
            ),
            Request::Fetch(fetch) => Reply::Fetched(Ok(nothing_committed(fetch))),
            Request::DeleteOffsets(delete) => Reply::OffsetsDeleted(Err(not_found(&delete.group))),
            Request::Describe(group) => Reply::Described(Err(not_found(&group))),
            Request::List(_) => Reply::Listed(Vec::new()),
            Request::Delete(group) => Reply::Deleted(Err(not_found(&group))),
            Request::ConsumerHeartbeat(_) => {
                Reply::ConsumerHeartbeat(Err(GroupError::CoordinatorNotAvailable))
            }
            Request::ConsumerDescribe(group) => Reply::ConsumerDescribed(Err(not_found(&group))),
        };
        Outcome {
            records: Vec::new(),
            replies: vec![(to, reply)],
        }
    }

    /// Forgets an asker that has gone. Its member stays until its session ends.
    pub fn cancel(&mut self, _to: ReplyTo) {}

    /// Does what is due.
    pub fn tick(&mut self, _moment: &Moment, _topics: &dyn Topics) -> Outcome {
        Outcome::default()
    }

    /// When [`Coordinator::tick`] is to be called next.
    pub fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// Takes notice that topics came, went or grew.
    pub fn topics_changed(&mut self, _moment: &Moment, _topics: &dyn Topics) -> Outcome {
        Outcome::default()
    }

    /// Records that rebuild the machine: the newest of each key.
    pub fn snapshot(&self) -> Vec<Record> {
        Vec::new()
    }

    /// Panics if the machine contradicts itself.
    pub fn check_invariants(&self) {}
}

fn not_found(group: &str) -> GroupError {
    GroupError::GroupIdNotFound(format!("Group {group} not found."))
}

fn nothing_committed(fetch: FetchOffsets) -> FetchedOffsets {
    let WantedOffsets::Of(wanted) = fetch.wanted else {
        return FetchedOffsets::default();
    };
    let nothing = |partition| FetchedOffset {
        partition,
        offset: -1,
        leader_epoch: -1,
        metadata: Some(Arc::from("")),
        error: None,
    };
    let topics = wanted
        .into_iter()
        .map(|(topic, partitions)| (topic, partitions.into_iter().map(nothing).collect()))
        .collect();
    FetchedOffsets { topics }
}

//! What one request may have written: its records go into one batch, and a batch has a bound.
//!
//! Kafka tries, and refuses what the log refuses. Here the machine would be ahead of its log and
//! have to be read anew, with all its groups: so what is too large is refused before anything of
//! it is taken, with the code that Kafka answers then.

use std::sync::Arc;

use crate::error::GroupError;
use crate::groups::Groups;
use crate::outcome::ReplyTo;
use crate::reply::Reply;
use crate::request::{CommitOffsets, ConsumerHeartbeat, JoinGroup, Request, SyncGroup, TopicRef};
use crate::step::Step;

/// What a committed offset takes as a record, besides its names.
const OFFSET_BYTES: u64 = 64;

/// A topic's name is no longer.
const TOPIC_NAME_BYTES_MAX: usize = 249;

fn sum(lengths: impl Iterator<Item = usize>) -> u64 {
    lengths.map(|length| length as u64).sum()
}

fn joining(join: &JoinGroup) -> u64 {
    let protocols = join.protocols.iter();
    sum(protocols.map(|(name, metadata)| name.len() + metadata.len()))
}

fn assigned(sync: &SyncGroup) -> u64 {
    sum(sync.assignments.iter().map(|(_, share)| share.len()))
}

fn subscribed(heartbeat: &ConsumerHeartbeat) -> u64 {
    let names = heartbeat.topic_names.iter().flatten();
    let regex = heartbeat.topic_regex.iter();
    sum(names.chain(regex).map(|name| name.len()))
}

fn committed(commit: &CommitOffsets, offset_metadata_max: usize) -> u64 {
    let offsets = commit.offsets.iter().map(|offset| {
        let metadata = offset.metadata.as_ref().map_or(0, |text| text.len());
        // What is longer is refused by itself, and not written.
        let metadata = metadata.min(4 * offset_metadata_max);
        let topic = match &offset.topic {
            TopicRef::Name(name) => name.len(),
            TopicRef::Id(_) => TOPIC_NAME_BYTES_MAX,
        };
        commit.group.len() + topic + metadata
    });
    sum(offsets) + OFFSET_BYTES * commit.offsets.len() as u64
}

impl Groups {
    /// Refuses what could not be written in one batch. Says whether it did.
    pub(crate) fn refuse_too_large(
        &self,
        step: &mut Step<'_>,
        to: ReplyTo,
        request: &Request,
    ) -> bool {
        let max = step.config.batch_bytes_max;
        let beside = |group: &str, member: &str, instance: &Option<Arc<str>>| {
            let group = self.find(group);
            group.map_or(0, |group| group.bytes_beside(member, instance.as_ref()))
        };
        let reply = match request {
            Request::Join(join)
                if too_large(
                    joining(join),
                    max,
                    beside(&join.group, &join.member, &join.instance),
                ) =>
            {
                Reply::Joined(Err((GroupError::RecordsTooLarge, join.member.clone())))
            }
            Request::Sync(sync) if too_large(assigned(sync), max, 0) => {
                Reply::Synced(Err(GroupError::RecordsTooLarge))
            }
            Request::ConsumerHeartbeat(heartbeat)
                if too_large(
                    subscribed(heartbeat),
                    max,
                    beside(&heartbeat.group, &heartbeat.member, &heartbeat.instance),
                ) =>
            {
                Reply::ConsumerHeartbeat(Err(GroupError::RecordsTooLarge))
            }
            Request::Commit(commit) if committed(commit, step.config.offset_metadata_max) > max => {
                let refused = commit.offsets.iter();
                Reply::Committed(refused.map(|_| Err(GroupError::RecordsTooLarge)).collect())
            }
            _ => return false,
        };
        step.reply(to, reply);
        true
    }
}

/// Whether something new does not fit beside what is there. Nothing new always does.
fn too_large(new: u64, max: u64, beside: u64) -> bool {
    new > 0 && new + beside > max
}

#[cfg(test)]
mod tests;

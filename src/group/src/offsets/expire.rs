//! Offsets that nobody needs any more: too old, or of topics that are gone.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use crate::group::Group;
use crate::groups::Groups;
use crate::outcome::Record;
use crate::records::OffsetValue;
use crate::step::Step;
use crate::timers::Timer;
use crate::topics::Topics;

use super::{Offsets, key};

/// How many offsets one step removes, about: the rest is due at once.
/// One batch then has room for their tombstones.
const REMOVED_A_STEP_MAX: usize = 1_000;

/// How many offsets and groups one step looks at, about: a fraction of a millisecond.
const LOOKED_A_STEP_MAX: usize = 4_000;

/// While nothing can be written, offsets that are to go are looked for so much later.
const PUT_OFF_MS: i32 = 1_000;

/// Where a walk over all offsets goes on: behind a topic of a group, or before its first.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    group: Arc<str>,
    topic: Option<Arc<str>>,
}

/// What a step of a walk may still do.
struct Left {
    looks: usize,
    removals: usize,
}

impl Left {
    fn all() -> Left {
        Left {
            looks: LOOKED_A_STEP_MAX,
            removals: REMOVED_A_STEP_MAX,
        }
    }

    fn is_nothing(&self) -> bool {
        self.looks == 0 || self.removals == 0
    }
}

fn is_expired(group: &Group, value: &OffsetValue, now_ms: i64, retention_ms: i64) -> bool {
    let Some(start_ms) = group.retention_start_ms(value.commit_ms) else {
        return false;
    };
    match value.expire_ms {
        Some(at_ms) => now_ms >= at_ms,
        None => now_ms.saturating_sub(start_ms) >= retention_ms,
    }
}

impl Offsets {
    /// Removes a group's offsets that `is_gone` tells of, with a tombstone for each, from a spot
    /// on. Says whether the group is done; if not, the spot is where to go on.
    fn remove_where(
        &mut self,
        spot: &mut Spot,
        left: &mut Left,
        records: &mut Vec<Record>,
        is_gone: impl Fn(&str, &OffsetValue) -> bool,
    ) -> bool {
        let Some(topics) = self.of(&spot.group) else {
            return true;
        };
        let behind = spot.topic.as_deref();
        let from = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let mut gone = Vec::new();
        let mut begun = spot.topic.clone();
        let mut is_done = true;
        for (topic, partitions) in topics.range::<str, _>((from, Bound::Unbounded)) {
            if left.is_nothing() {
                is_done = false;
                break;
            }
            left.looks = left.looks.saturating_sub(partitions.len());
            let all = partitions.iter();
            let of_topic = all.filter(|(_, value)| is_gone(topic, value));
            let mut of_topic = of_topic.map(|(partition, _)| (topic.clone(), *partition));
            let before = gone.len();
            gone.extend(of_topic.by_ref().take(left.removals));
            left.removals -= gone.len() - before;
            if of_topic.next().is_some() {
                is_done = false;
                break;
            }
            begun = Some(topic.clone());
        }
        spot.topic = begun;
        for (topic, partition) in gone {
            records.push(key(&spot.group, &topic, partition).tombstone());
            self.remove(&spot.group, &topic, partition);
        }
        is_done
    }
}

impl Groups {
    /// Sets when to look for expired offsets next.
    pub(crate) fn set_retention_timer(&mut self, step: &mut Step<'_>, after_ms: i64) {
        let after = Duration::from_millis(u64::try_from(after_ms).unwrap_or(0));
        let at = step.moment.now + after;
        self.retention_timer = Some(step.timers.set(at, Timer::Retention));
    }

    /// The group after a spot's, or the first.
    fn next_spot(&self, after: Option<&Arc<str>>) -> Option<Spot> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(&**after));
        let mut groups = self.by_id.range::<str, _>((from, Bound::Unbounded));
        let (group, _) = groups.next()?;
        Some(Spot {
            group: group.clone(),
            topic: None,
        })
    }

    /// Removes expired offsets, and groups without members that have none left.
    pub(crate) fn expire(&mut self, step: &mut Step<'_>) {
        self.retention_timer = None;
        if step.moment.is_full {
            return self.set_retention_timer(step, PUT_OFF_MS.into());
        }
        let retention_ms = step.config.offsets_retention_ms;
        let now_ms = step.moment.wall_ms;
        let mut left = Left::all();
        let mut next = self.expiring.take().or_else(|| self.next_spot(None));
        while let Some(mut spot) = next.take() {
            if left.is_nothing() {
                self.expiring = Some(spot);
                return self.set_retention_timer(step, 0);
            }
            left.looks -= 1;
            let id = spot.group.clone();
            let Some(group) = self.by_id.get(&id) else {
                next = self.next_spot(Some(&id));
                continue;
            };
            let records = &mut step.outcome.records;
            let is_done =
                self.offsets
                    .remove_where(&mut spot, &mut left, records, |topic, value| {
                        is_expired(group, value, now_ms, retention_ms)
                            && !group.is_subscribed(topic)
                    });
            if !is_done {
                next = Some(spot);
                continue;
            }
            if !self.offsets.has(&id) && group.is_idle() {
                group.tombstones(&mut step.outcome.records);
                self.forget(step, &id);
            }
            next = self.next_spot(Some(&id));
        }
        self.set_retention_timer(step, step.config.offsets_retention_check_ms.max(1));
    }

    /// Topics were deleted: looks through all offsets again.
    pub(crate) fn topics_deleted(&mut self, step: &mut Step<'_>) {
        self.removing = None;
        self.remove_deleted_topics(step);
    }

    /// Removes the offsets of topics that are gone: deleted, or another by the same name.
    pub(crate) fn remove_deleted_topics(&mut self, step: &mut Step<'_>) {
        if let Some(timer) = self.deleted_timer.take() {
            step.timers.cancel(timer);
        }
        if step.moment.is_full {
            let at = step.after_ms(PUT_OFF_MS);
            self.deleted_timer = Some(step.timers.set(at, Timer::DeletedTopics));
            return;
        }
        let topics = step.topics;
        let mut left = Left::all();
        let mut next = self.removing.take().or_else(|| self.next_spot(None));
        while let Some(mut spot) = next.take() {
            if left.is_nothing() {
                self.removing = Some(spot);
                let timer = step.timers.set(step.moment.now, Timer::DeletedTopics);
                self.deleted_timer = Some(timer);
                return;
            }
            left.looks -= 1;
            let records = &mut step.outcome.records;
            let is_done =
                self.offsets
                    .remove_where(&mut spot, &mut left, records, |topic, value| {
                        is_of_another(topics, topic, value)
                    });
            if !is_done {
                next = Some(spot);
                continue;
            }
            self.forget_if_nothing(step, &spot.group);
            next = self.next_spot(Some(&spot.group));
        }
    }
}

/// Whether the topic of an offset is gone, or another has its name.
pub(super) fn is_of_another(topics: &dyn Topics, topic: &str, value: &OffsetValue) -> bool {
    match topics.by_name(topic) {
        None => true,
        Some(info) => !value.topic.is_nil() && value.topic != info.id,
    }
}

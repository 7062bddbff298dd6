//! What a group is subscribed to, and what each member is to have of it.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::group::ConsumerGroup;
use super::heartbeat::Context;
use super::member::Member;
use super::pattern::TopicPattern;
use super::reconcile::Way;
use crate::assignor::{Partitions, Subscriber};
use crate::outcome::Record;
use crate::records::RegexValue;
use crate::topics::Topics;

/// A subscription: the names and the regular expression.
type Subscribed<'a> = (&'a [Arc<str>], Option<&'a Arc<str>>);

impl ConsumerGroup {
    /// Asks all topics' names which of them a regular expression means.
    pub(super) fn resolve(
        &mut self,
        context: &Context<'_>,
        regex: &Arc<str>,
        out: &mut Vec<Record>,
    ) {
        // Whoever brought the expression compiled it; one of a log of others that does not compile
        // means no topic.
        let mut topics = Vec::new();
        if let Ok(pattern) = TopicPattern::compile(regex) {
            context.topics.each(&mut |name, _| {
                if pattern.matches(name) {
                    topics.push(Arc::from(name));
                }
            });
        }
        if self
            .regexes
            .get(regex)
            .is_some_and(|known| known.topics == topics)
        {
            return;
        }
        let value = RegexValue {
            topics,
            version: i64::try_from(context.topics.version()).unwrap_or(i64::MAX),
            timestamp_ms: context.moment.wall_ms,
        };
        self.set_regex(regex, value, out);
    }

    /// Compares the subscriptions with the topics of now, unless neither has changed, and raises
    /// the group's epoch if anything is different.
    pub(super) fn refresh(&mut self, context: &Context<'_>, changed: bool, out: &mut Vec<Record>) {
        let version = Some(context.topics.version());
        // Without room for what has grown, the next heartbeat looks again.
        if version != self.topics_seen && !changed && self.lacks_room_to_grow(context) {
            return;
        }
        if version != self.topics_seen {
            for regex in self.regexes.keys().cloned().collect::<Vec<_>>() {
                self.resolve(context, &regex, out);
            }
        } else if !changed && self.epoch != 0 {
            return;
        }
        self.topics_seen = version;
        let hash = self.hash_of_topics(context.topics);
        if changed || self.epoch == 0 || hash != self.metadata_hash {
            self.metadata_hash = hash;
            self.set_epoch(self.epoch + 1, out);
        }
    }

    /// A number that changes with the subscribed topics: their names, ids and sizes. 0 if there
    /// are none. (FNV-1a; nobody outside compares it.)
    pub(super) fn hash_of_topics(&self, topics: &dyn Topics) -> i64 {
        let mut hash = 0;
        for name in self.subscribed_names() {
            let Some(topic) = topics.by_name(name) else {
                continue;
            };
            if hash == 0 {
                hash = 0xcbf2_9ce4_8422_2325_u64;
            }
            let bytes = name.as_bytes().iter().chain(topic.id.as_bytes());
            for &byte in bytes.chain(&topic.partitions.to_be_bytes()) {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash.cast_signed()
    }

    /// The ids of the topics that a member is subscribed to and that exist.
    fn subscribed_ids(&self, member: &Member, topics: &dyn Topics) -> BTreeSet<Uuid> {
        let resolved = member.regex().and_then(|regex| self.regexes.get(regex));
        let matched = resolved.into_iter().flat_map(|regex| &regex.topics);
        let names = member.told.topic_names.iter().chain(matched);
        names
            .filter_map(|name| topics.by_name(name))
            .map(|topic| topic.id)
            .collect()
    }

    /// Computes the targets anew, if the group has moved on since they were.
    pub(super) fn retarget(&mut self, context: &Context<'_>, out: &mut Vec<Record>) {
        if self.epoch <= self.target_epoch {
            return;
        }
        let sizes = self.sizes(context);
        // Members with equal subscriptions share them, as most groups' members do.
        let mut shared: BTreeMap<Subscribed<'_>, Rc<BTreeSet<Uuid>>> = BTreeMap::new();
        let none = Partitions::new();
        let subscribed: Vec<Rc<BTreeSet<Uuid>>> = self
            .members
            .values()
            .map(|member| {
                let key = (&*member.told.topic_names, member.regex());
                let ids = shared
                    .entry(key)
                    .or_insert_with(|| Rc::new(self.subscribed_ids(member, context.topics)));
                ids.clone()
            })
            .collect();
        let subscribers: Vec<Subscriber<'_>> = self
            .members
            .values()
            .zip(&subscribed)
            .map(|(member, topics)| Subscriber {
                id: &member.id,
                instance: member.told.instance.as_deref(),
                topics,
                target: self.targets.get(&member.id).unwrap_or(&none),
            })
            .collect();
        let targets = self.assignor(context.config).assign(&subscribers, &sizes);
        let changed: Vec<(Arc<str>, Partitions)> = self
            .members
            .keys()
            .zip(targets)
            .filter(|(id, target)| self.targets.get(*id) != Some(target))
            .map(|(id, target)| (id.clone(), target))
            .collect();
        for (id, target) in changed {
            self.set_target(&id, target, out);
        }
        self.reads = sizes;
        self.set_target_epoch(self.epoch, out);
    }

    /// How many partitions of each subscribed topic there are to give out: those of now, or where
    /// there is no room for more, of those only what the group has read before.
    fn sizes(&self, context: &Context<'_>) -> BTreeMap<Uuid, i32> {
        let mut sizes: BTreeMap<Uuid, i32> = BTreeMap::new();
        for name in self.subscribed_names() {
            if let Some(topic) = context.topics.by_name(name) {
                sizes.insert(topic.id, topic.partitions);
            }
        }
        if self.lacks_room_to_grow(context) {
            let read = self.reads_now();
            for (topic, count) in &mut sizes {
                *count = (*count).min(read.get(topic).copied().unwrap_or(0));
            }
        }
        sizes
    }

    /// Where a member's next step leads.
    pub(super) fn step(
        &self,
        context: &Context<'_>,
        member: &Member,
        subscription_changed: bool,
        says: Option<&[(Uuid, Vec<i32>)]>,
    ) -> Member {
        if !subscription_changed && member.is_reconciled_to(self.target_epoch) {
            return member.clone();
        }
        let none = Partitions::new();
        let way = Way {
            target_epoch: self.target_epoch,
            target: self.targets.get(&member.id).unwrap_or(&none),
            subscribed: &self.subscribed_ids(member, context.topics),
            subscription_changed,
            says,
            taken: &|topic, partition| {
                let owner = self.owners.get(&(topic, partition));
                owner.is_some_and(|owner| *owner != member.id)
            },
        };
        way.step(member)
    }
}

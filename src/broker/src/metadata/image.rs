//! The metadata as of one version: immutable, shared by all shards.

use super::{OFFSETS_TOPIC, TopicKey, TopicTarget};
use crate::config::{BrokerSettings, TopicConfig};
use rpds::RedBlackTreeMapSync;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A topic. Never changed: a change makes a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Its name, free again once it is deleted.
    pub name: Arc<str>,
    /// Its id, never used again.
    pub id: Uuid,
    /// How many partitions it has; they are 0 to this, less one.
    pub partitions: i32,
    /// The generation it was created in: its leader epoch is the generations since.
    pub created_generation: u64,
    /// What was set on the topic itself, by name.
    pub overrides: BTreeMap<String, String>,
    /// What holds: overrides over the broker's settings.
    pub config: TopicConfig,
}

impl Topic {
    /// Whether it is the broker's own: clients may read it, and not write it.
    pub fn is_internal(&self) -> bool {
        *self.name == *OFFSETS_TOPIC
    }
}

/// All topics and the broker's settings. A change makes a new image that shares nearly all of the
/// old one; a request holds one image from beginning to end.
#[derive(Clone, Debug)]
pub struct MetadataImage {
    version: u64,
    by_name: RedBlackTreeMapSync<Arc<str>, Arc<Topic>>,
    by_id: RedBlackTreeMapSync<Uuid, Arc<Topic>>,
    partitions: usize,
    settings: Arc<BrokerSettings>,
}

impl MetadataImage {
    /// An image without topics.
    pub fn new(settings: Arc<BrokerSettings>) -> Self {
        Self {
            version: 0,
            by_name: RedBlackTreeMapSync::new_sync(),
            by_id: RedBlackTreeMapSync::new_sync(),
            partitions: 0,
            settings,
        }
    }

    /// Rises with each change of this start of the broker.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The broker's settings, with what was set while it ran.
    pub fn settings(&self) -> &Arc<BrokerSettings> {
        &self.settings
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// The topic that the key names.
    pub fn topic_by_key(&self, key: &TopicKey) -> Option<&Arc<Topic>> {
        match key {
            TopicKey::Name(name) => self.topic(name),
            TopicKey::Id(id) => self.topic_by_id(*id),
        }
    }

    /// All topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// The first topics whose names are not below `from`, in order.
    pub fn topics_from<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a Arc<Topic>> {
        self.by_name
            .range::<str, _>((std::ops::Bound::Included(from), std::ops::Bound::Unbounded))
            .map(|(_, topic)| topic)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.by_name.size()
    }

    /// How many partitions there are in all.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// Looks a name up for a request.
    pub fn resolve_name(&self, name: &str) -> TopicTarget {
        self.topic(name).map_or(TopicTarget::UnknownName, |topic| {
            TopicTarget::Known(topic.id)
        })
    }

    /// Looks an id up for a request.
    pub fn resolve_id(&self, id: Uuid) -> TopicTarget {
        self.topic_by_id(id)
            .map_or(TopicTarget::UnknownId, |topic| TopicTarget::Known(topic.id))
    }

    /// Puts a topic in, or in the place of the one with its id.
    pub(crate) fn insert(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        if let Some(old) = self.by_id.get(&topic.id) {
            assert_eq!(old.name, topic.name, "a topic keeps its name");
            self.partitions -= usize::try_from(old.partitions).expect("never negative");
        }
        self.partitions += usize::try_from(topic.partitions).expect("never negative");
        self.by_name.insert_mut(topic.name.clone(), topic.clone());
        self.by_id.insert_mut(topic.id, topic);
    }

    /// Takes a topic out.
    pub(crate) fn remove(&mut self, id: Uuid) -> Option<Arc<Topic>> {
        let topic = self.by_id.get(&id)?.clone();
        self.by_id.remove_mut(&id);
        self.by_name.remove_mut(&topic.name);
        self.partitions -= usize::try_from(topic.partitions).expect("never negative");
        Some(topic)
    }

    /// Takes over new settings of the broker: what each topic lives by is computed anew.
    pub(crate) fn set_settings(&mut self, settings: Arc<BrokerSettings>) {
        self.settings = settings;
        let topics: Vec<Topic> = self.topics().map(|topic| Topic::clone(topic)).collect();
        for mut topic in topics {
            topic.config = TopicConfig::resolve(&self.settings, &topic.overrides);
            self.insert(topic);
        }
    }

    pub(crate) fn raise_version(&mut self) {
        self.version += 1;
    }

    /// Panics if the two indexes disagree.
    pub fn check_invariants(&self) {
        assert_eq!(
            self.by_name.size(),
            self.by_id.size(),
            "each topic is in both indexes"
        );
        let mut partitions = 0;
        for topic in self.topics() {
            assert!(topic.partitions > 0, "a topic has partitions");
            partitions += usize::try_from(topic.partitions).expect("positive");
            let same = self
                .by_id
                .get(&topic.id)
                .expect("each topic is in both indexes");
            assert!(Arc::ptr_eq(same, topic), "both indexes hold the same topic");
        }
        assert_eq!(partitions, self.partitions, "the sum of partitions is kept");
    }
}

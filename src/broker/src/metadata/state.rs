//! The metadata as shard 0 holds it: replayed at the start, changed by the controller.

use super::change::Change;
use super::image::{MetadataImage, Topic};
use crate::BrokerError;
use crate::codec::{Decoder, Encoder};
use crate::config::{BrokerScope, BrokerSettings, Overrides, TopicConfig};
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// The format of snapshots.
const SNAPSHOT_VERSION: u8 = 1;

/// How many topics a sentence about all of them names.
const TOLD_TOPICS_MAX: usize = 3;

/// A topic with an empty name, no overrides.
const TOPIC_BYTES_MIN: usize = 16 + 4 + 4 + 8 + 4;

/// What is stored about the cluster.
#[derive(Clone, Debug)]
pub struct MetadataState {
    image: MetadataImage,
    /// The first producer id that was never granted.
    next_producer_id: i64,
}

impl MetadataState {
    /// The state of a new data directory.
    pub fn new(settings: Arc<BrokerSettings>) -> Self {
        Self {
            image: MetadataImage::new(settings),
            next_producer_id: 0,
        }
    }

    /// The state that a snapshot and the entries after it give.
    ///
    /// # Errors
    /// `StoredMetadata` when they cannot be understood.
    pub fn replay(
        settings: Arc<BrokerSettings>,
        snapshot: Option<&[u8]>,
        entries: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Self, BrokerError> {
        let mut state = match snapshot {
            Some(bytes) => Self::decode(settings, bytes)?,
            None => Self::new(settings),
        };
        for entry in entries {
            state.apply(&Change::decode(entry.as_ref())?)?;
        }
        Ok(state)
    }

    /// One sentence about what was set when storage could hold larger batches, if anything was.
    /// It counts as what storage can hold now.
    pub fn too_large_batches(&self) -> Option<String> {
        let settings = self.image.settings();
        let is_over = |value: Option<&str>| {
            value
                .and_then(|value| value.parse::<i32>().ok())
                .is_some_and(|bytes| bytes > settings.batch_bytes_max)
        };
        let own = |topic: &&Arc<Topic>| {
            is_over(topic.overrides.get("max.message.bytes").map(String::as_str))
        };
        let mut topics = self.image.topics().filter(own).map(|topic| &*topic.name);
        let mut set: Vec<String> = topics
            .by_ref()
            .take(TOLD_TOPICS_MAX)
            .map(|name| format!("max.message.bytes of topic {name}"))
            .collect();
        let more = topics.count();
        if more > 0 {
            set.push(format!("of {more} more topics"));
        }
        if is_over(settings.value("message.max.bytes")) {
            set.push("message.max.bytes".to_owned());
        }
        (!set.is_empty()).then(|| {
            format!(
                "{} allowed larger batches than the {} bytes that now fit one file of the \
                 write-ahead log (--wal-size): larger ones are refused",
                set.join(", "),
                settings.batch_bytes_max
            )
        })
    }

    /// The image of now.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    pub(crate) fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Applies a change. It fails only for what the controller never logs. Replay may meet changes
    /// that the snapshot has already (a checkpoint is taken while changes go on), so setting what
    /// is set and deleting what is gone are no faults.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), BrokerError> {
        match change {
            Change::CreateTopic {
                id,
                name,
                partitions,
                created_generation,
                overrides,
            } => {
                self.create(*id, name, *partitions, *created_generation, overrides)?;
            }
            Change::DeleteTopic { id } => {
                self.image.remove(*id);
            }
            Change::SetPartitions { id, partitions } => {
                if let Some(topic) = self.image.topic_by_id(*id) {
                    let partitions = (*partitions).max(topic.partitions);
                    self.image.insert(Topic {
                        partitions,
                        ..Topic::clone(topic)
                    });
                }
            }
            Change::SetTopicOverrides { id, overrides } => {
                if let Some(topic) = self.image.topic_by_id(*id) {
                    let config = TopicConfig::resolve(self.image.settings(), overrides);
                    let overrides = overrides.clone();
                    self.image.insert(Topic {
                        overrides,
                        config,
                        ..Topic::clone(topic)
                    });
                }
            }
            Change::SetBrokerValues { scope, values } => {
                let settings = self.image.settings().with_dynamic(*scope, values.clone());
                self.image.set_settings(Arc::new(settings));
            }
            Change::GrantProducerIds { end } => {
                self.next_producer_id = self.next_producer_id.max(*end);
            }
        }
        self.image.raise_version();
        Ok(())
    }

    fn create(
        &mut self,
        id: Uuid,
        name: &Arc<str>,
        partitions: i32,
        created_generation: u64,
        overrides: &Overrides,
    ) -> Result<(), BrokerError> {
        if partitions < 1 {
            return Err(BrokerError::StoredMetadata(format!(
                "topic {name} has {partitions} partitions"
            )));
        }
        if let Some(other) = self.image.topic(name)
            && other.id != id
        {
            return Err(BrokerError::StoredMetadata(format!(
                "topic {name} is there twice"
            )));
        }
        if self
            .image
            .topic_by_id(id)
            .is_some_and(|other| other.name != *name)
        {
            return Err(BrokerError::StoredMetadata(format!(
                "topic id {id} is there twice"
            )));
        }
        self.image.insert(Topic {
            name: name.clone(),
            id,
            partitions,
            created_generation,
            config: TopicConfig::resolve(self.image.settings(), overrides),
            overrides: overrides.clone(),
        });
        Ok(())
    }

    /// The whole state in bytes, for checkpoints.
    pub fn snapshot(&self) -> Bytes {
        let mut out = Encoder::default();
        out.u8(SNAPSHOT_VERSION);
        out.i64(self.next_producer_id);
        out.map(self.image.settings().dynamic(BrokerScope::AllBrokers));
        out.map(self.image.settings().dynamic(BrokerScope::ThisBroker));
        out.count(self.image.topic_count());
        for topic in self.image.topics() {
            out.uuid(topic.id);
            out.text(&topic.name);
            out.i32(topic.partitions);
            out.u64(topic.created_generation);
            out.map(&topic.overrides);
        }
        out.finish()
    }

    fn decode(settings: Arc<BrokerSettings>, bytes: &[u8]) -> Result<Self, BrokerError> {
        let mut from = Decoder::new(bytes);
        let version = from.u8()?;
        if version != SNAPSHOT_VERSION {
            return Err(BrokerError::StoredMetadata(format!(
                "format {version} of a snapshot is not known"
            )));
        }
        let next_producer_id = from.i64()?;
        let all = from.map()?;
        let this = from.map()?;
        let settings = settings
            .with_dynamic(BrokerScope::AllBrokers, all)
            .with_dynamic(BrokerScope::ThisBroker, this);
        let mut state = Self {
            image: MetadataImage::new(Arc::new(settings)),
            next_producer_id,
        };
        for _ in 0..from.count(TOPIC_BYTES_MIN)? {
            let (id, name) = (from.uuid()?, Arc::from(from.text()?));
            let (partitions, created_generation) = (from.i32()?, from.u64()?);
            state.create(id, &name, partitions, created_generation, &from.map()?)?;
        }
        from.finish()?;
        Ok(state)
    }
}

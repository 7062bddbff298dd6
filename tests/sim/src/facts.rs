//! The model: what was sent, what was promised and what was shown. It knows nothing of the broker
//! but what the clients were told.
//!
//! A promise is an offset: everything below it in the partition is there after a kill
//! (`kill_end`), or even after a power cut (`power_end`). Logs have no gaps, so a promise for one
//! record is one for all before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tailwater_broker::metadata::Topic;
use tailwater_shards::sim::SureDisk;
use uuid::Uuid;

use crate::event::{BatchId, Disturbance, Ended, Event, Fetched, Found, FullRead, Started, Tp};
use crate::rot::{Kind, Rotten};

/// A batch that a client has sent.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) client: u8,
    pub(crate) tp: Tp,
    pub(crate) acks: i16,
    /// The client's counter of batches: a connection's batches keep their order.
    pub(crate) order: u64,
    /// Sent with a sequence left out: it must never be taken.
    pub(crate) forbidden: bool,
    pub(crate) timestamps: Vec<i64>,
    pub(crate) value_bytes: usize,
    /// The topic may have been write-cached when it was sent last.
    pub(crate) sent_cached: bool,
    /// The bytes of the last attempt.
    pub(crate) body: Bytes,
    pub(crate) acked: Option<i64>,
}

/// A batch at its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) batch: BatchId,
    pub(crate) end: i64,
}

/// What has ended since a partition was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Since {
    #[default]
    Nothing,
    Kill,
    PowerCut,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Partition {
    pub(crate) places: BTreeMap<i64, Place>,
    pub(crate) kill_end: i64,
    pub(crate) power_end: i64,
    /// Everything below it can be read in this life of the process.
    pub(crate) visible: i64,
    pub(crate) since: Since,
    /// The largest log start asked for by DeleteRecords.
    pub(crate) log_start_asked: i64,
    /// The largest that was told.
    pub(crate) log_start: i64,
    /// The largest that DeleteRecords was answered with: durable.
    pub(crate) answered_start: i64,
    /// A start has named it as damaged, or a file of it has rotted: it may be unreadable for good.
    pub(crate) hurt: bool,
}

impl Partition {
    /// What must be there when it is read next.
    pub(crate) fn promised(&self) -> i64 {
        match self.since {
            Since::PowerCut => self.power_end,
            Since::Nothing | Since::Kill => self.kill_end,
        }
    }
}

/// A topic's life, by its id.
#[derive(Clone, Debug)]
pub(crate) struct TopicFacts {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    /// Its creation was answered, or a start has found it.
    pub(crate) is_sure: bool,
    pub(crate) maybe_deleted: bool,
    pub(crate) deleted: bool,
    /// It may be write-cached now.
    pub(crate) cached: bool,
    /// It may have been write-cached at some time.
    pub(crate) ever_cached: bool,
    /// It was there when a start could not tell all that was lost.
    pub(crate) doubted: bool,
    pub(crate) retention_ms_min: i64,
    pub(crate) retention_bytes_min: i64,
    /// How long a tombstone stays, in ms.
    pub(crate) delete_retention_ms: i64,
    /// Configurations whose value is known for sure; one that is being changed is not in it.
    pub(crate) configs: BTreeMap<String, String>,
}

/// A week: Kafka's default.
const RETENTION_MS: i64 = 7 * 24 * 3600 * 1000;

/// A day: Kafka's default.
const DELETE_RETENTION_MS: i64 = 24 * 3600 * 1000;

/// Everything known.
pub(crate) struct Facts {
    pub(crate) disk: SureDisk,
    pub(crate) now_ns: u64,
    pub(crate) wall_ms: i64,
    pub(crate) wall_ms_min: i64,
    pub(crate) wall_ms_max: i64,
    pub(crate) batches: Vec<Batch>,
    /// By the checksum of their bytes as sent.
    by_crc: BTreeMap<u32, (BatchId, Bytes)>,
    pub(crate) topics: BTreeMap<Uuid, TopicFacts>,
    pub(crate) partitions: BTreeMap<Tp, Partition>,
    pub(crate) generation: u64,
    /// Until then operations may be slow; `None`: none ever was.
    pub(crate) slow_until_ns: Option<u64>,
    /// An operation is to fail, or has failed in this life of the process.
    pub(crate) failing: bool,
    pub(crate) full: bool,
    pub(crate) running: bool,
    /// What has rotted and is not as it was, the last thing last.
    pub(crate) rot: Vec<Rotten>,
    /// A start was refused for it.
    pub(crate) refused_for_rot: bool,
    /// The last start has said that it does not know all that is lost.
    pub(crate) unknown_losses: bool,
}

impl Facts {
    pub(crate) fn new(disk: SureDisk, wall_ms: i64) -> Self {
        Self {
            disk,
            now_ns: 0,
            wall_ms,
            wall_ms_min: wall_ms,
            wall_ms_max: wall_ms,
            batches: Vec::new(),
            by_crc: BTreeMap::new(),
            topics: BTreeMap::new(),
            partitions: BTreeMap::new(),
            generation: 0,
            slow_until_ns: None,
            failing: false,
            full: false,
            running: false,
            rot: Vec::new(),
            refused_for_rot: false,
            unknown_losses: false,
        }
    }

    /// Takes note of the bytes that a client is about to send.
    pub(crate) fn register(&mut self, crc: u32, batch: BatchId, body: Bytes) {
        self.by_crc.insert(crc, (batch, body));
    }

    /// Whose bytes these are, as they were sent.
    pub(crate) fn by_crc(&self, crc: u32) -> Option<(BatchId, &Bytes)> {
        self.by_crc.get(&crc).map(|(batch, body)| (*batch, body))
    }

    pub(crate) fn topic(&self, tp: Tp) -> Option<&TopicFacts> {
        self.topics.get(&tp.0)
    }

    /// Whether the topic is there for sure and stays.
    pub(crate) fn lives(&self, tp: Tp) -> bool {
        self.topic(tp)
            .is_some_and(|topic| !topic.deleted && !topic.maybe_deleted)
    }

    /// Whether what the topic's consumers see may be taken back by a power cut.
    pub(crate) fn ever_cached(&self, tp: Tp) -> bool {
        self.topic(tp).is_none_or(|topic| topic.ever_cached)
    }

    /// Whether batches that were acknowledged may have gone since.
    pub(crate) fn may_lack(&self, tp: Tp) -> bool {
        self.ever_cached(tp) || self.topic(tp).is_none_or(|topic| topic.doubted)
    }

    /// Whether an answer for the batch means that it survives a power cut.
    pub(crate) fn is_power_safe(&self, batch: &Batch) -> bool {
        let cached = self.topic(batch.tp).is_none_or(|topic| topic.cached);
        batch.acks == -1 && !batch.sent_cached && !cached
    }

    /// The largest log start that anyone was told.
    pub(crate) fn log_start(&self, tp: Tp) -> i64 {
        self.partitions
            .get(&tp)
            .map_or(0, |partition| partition.log_start)
    }

    /// The largest log start that was asked for.
    pub(crate) fn log_start_asked(&self, tp: Tp) -> i64 {
        self.partitions
            .get(&tp)
            .map_or(0, |partition| partition.log_start_asked)
    }

    /// Whether no retention can have removed anything of the partition yet.
    pub(crate) fn keeps_all(&self, tp: Tp) -> bool {
        self.topic(tp).is_some_and(|topic| {
            topic.retention_bytes_min < 0 && topic.retention_ms_min == RETENTION_MS
        })
    }

    /// Whether the disk was slowed down, or is full: then nothing is said of times.
    pub(crate) fn was_slow_lately(&self) -> bool {
        let slow = |until: u64| self.now_ns < until + 10_000_000_000;
        self.slow_until_ns.is_some_and(slow) || self.failing || self.full
    }

    /// Whether the files may be damaged now.
    pub(crate) fn may_be_damaged(&self) -> bool {
        self.failing || !self.rot.is_empty()
    }

    /// Whether a sentence names a file that has rotted.
    pub(crate) fn names_rot(&self, sentence: &str) -> bool {
        self.rot.iter().any(|rotten| rotten.is_named(sentence))
    }

    /// Whether a partition may be unreadable for good.
    pub(crate) fn is_hurt(&self, tp: Tp) -> bool {
        let partition = self.partitions.get(&tp);
        partition.is_some_and(|partition| partition.hurt)
    }

    /// From where to where the partition is known to reach.
    pub(crate) fn known_span(&self, tp: Tp) -> (i64, i64) {
        let Some(partition) = self.partitions.get(&tp) else {
            return (0, 0);
        };
        let end = partition.kill_end.max(partition.log_start);
        (partition.log_start, end)
    }

    /// The time of a record of a batch that was read.
    pub(crate) fn time_of(&self, found: &Found, record: usize) -> i64 {
        let sent = &self.batches[found.batch].timestamps;
        found
            .append_time
            .unwrap_or_else(|| sent.get(record).copied().unwrap_or(-1))
    }

    /// A sentence's name for a batch.
    pub(crate) fn name_of(&self, id: BatchId) -> String {
        let batch = &self.batches[id];
        format!(
            "batch {id} of client {} ({} records, acks {}, {}-{})",
            batch.client,
            batch.timestamps.len(),
            batch.acks,
            self.topic(batch.tp).map_or("?", |topic| &topic.name),
            batch.tp.1
        )
    }

    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Met(topic) => self.meet(topic),
            Event::Sent { batch } => {
                let cached = self
                    .topic(self.batches[*batch].tp)
                    .is_none_or(|topic| topic.cached);
                self.batches[*batch].sent_cached = cached;
            }
            Event::Answered { batch, result } => {
                if let Ok(base) = result {
                    self.answered(*batch, *base);
                }
            }
            Event::Fetched(fetched) => self.fetched(fetched),
            Event::FullRead(read) => self.read(read),
            Event::KeyedRead(read) if read.is_full && read.error.is_some() => {
                self.partitions.entry(read.tp).or_default().hurt |= self.unknown_losses;
            }
            Event::Started(started) => self.started(started),
            Event::Ended { how } => self.ended(how),
            Event::LogStartAsked { tp, offset } => {
                let partition = self.partitions.entry(*tp).or_default();
                partition.log_start_asked = partition.log_start_asked.max(*offset);
            }
            Event::LogStartMoved { tp, low_watermark } => {
                let partition = self.partitions.entry(*tp).or_default();
                partition.log_start = partition.log_start.max(*low_watermark);
                partition.answered_start = partition.answered_start.max(*low_watermark);
            }
            Event::Clock { wall_ms } => {
                self.wall_ms = *wall_ms;
                self.wall_ms_min = self.wall_ms_min.min(*wall_ms);
                self.wall_ms_max = self.wall_ms_max.max(*wall_ms);
            }
            Event::Disturbed(disturbance) => self.disturbed(*disturbance),
            Event::StartRefused { reason } => {
                self.running = false;
                self.refused_for_rot = self.names_rot(reason);
            }
            Event::Rotted(rotten) => {
                if let (Some(tp), Kind::Segment) = (rotten.tp, rotten.kind) {
                    self.partitions.entry(tp).or_default().hurt = true;
                }
                self.rot.push(rotten.clone());
            }
            Event::Healed => {
                self.rot.pop();
                self.refused_for_rot = false;
            }
            other => self.metadata(other),
        }
    }

    fn metadata(&mut self, event: &Event) {
        match event {
            Event::Created {
                id,
                name,
                partitions,
                configs,
            } => {
                let topic = self.topic_entry(*id, name, *partitions);
                topic.is_sure = true;
                for (name, value) in configs {
                    topic.configured(name, value);
                    topic.configs.insert(name.clone(), value.clone());
                }
            }
            Event::DeleteBegan { id } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    topic.maybe_deleted = true;
                }
            }
            Event::Deleted { id } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    topic.deleted = true;
                }
            }
            Event::Grown { id, partitions } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    topic.partitions = topic.partitions.max(*partitions);
                }
            }
            Event::ConfigureBegan { id, name, value } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    topic.configs.remove(*name);
                    if !(*name == "write.caching" && *value == "false") {
                        topic.configured(name, value);
                    }
                }
            }
            Event::Configured { id, name, value } => {
                if let Some(topic) = self.topics.get_mut(id) {
                    topic
                        .configs
                        .insert((*name).to_owned(), (*value).to_owned());
                    if *name == "write.caching" {
                        topic.cached = *value == "true";
                    }
                }
            }
            _ => {}
        }
    }

    fn topic_entry(&mut self, id: Uuid, name: &str, partitions: i32) -> &mut TopicFacts {
        self.topics.entry(id).or_insert_with(|| TopicFacts {
            name: name.to_owned(),
            partitions,
            is_sure: false,
            maybe_deleted: false,
            deleted: false,
            cached: false,
            ever_cached: false,
            doubted: false,
            retention_ms_min: RETENTION_MS,
            retention_bytes_min: -1,
            delete_retention_ms: DELETE_RETENTION_MS,
            configs: BTreeMap::new(),
        })
    }

    fn meet(&mut self, topic: &Arc<Topic>) {
        let known = self.topic_entry(topic.id, &topic.name, topic.partitions);
        for (name, value) in &topic.overrides {
            known.configured(name, value);
        }
        for partition in 0..topic.partitions {
            self.partitions.entry((topic.id, partition)).or_default();
        }
    }

    fn answered(&mut self, id: BatchId, base: i64) {
        let safe = self.is_power_safe(&self.batches[id]);
        let batch = &mut self.batches[id];
        let all = batch.acks == -1;
        batch.acked = Some(base);
        if batch.acks == 0 {
            return;
        }
        let end = base + i64::try_from(batch.timestamps.len()).expect("small");
        let partition = self.partitions.entry(batch.tp).or_default();
        if base >= partition.log_start {
            partition.places.insert(base, Place { batch: id, end });
        }
        partition.kill_end = partition.kill_end.max(end);
        if safe {
            partition.power_end = partition.power_end.max(end);
        }
        if all {
            partition.visible = partition.visible.max(end);
        }
    }

    fn fetched(&mut self, fetched: &Fetched) {
        if fetched.error.is_some() {
            return;
        }
        let cached = self.ever_cached(fetched.tp);
        let partition = self.partitions.entry(fetched.tp).or_default();
        partition.log_start = partition.log_start.max(fetched.log_start);
        partition.place(&fetched.batches);
        partition.visible = partition.visible.max(fetched.high_watermark);
        partition.kill_end = partition.kill_end.max(fetched.high_watermark);
        if !cached {
            partition.power_end = partition.power_end.max(fetched.high_watermark);
        }
    }

    fn read(&mut self, read: &FullRead) {
        let partition = self.partitions.entry(read.tp).or_default();
        if read.error.is_some() {
            partition.hurt |= self.unknown_losses;
            // Nobody can see what the end has taken of what was not promised to outlive it: its offsets
            // may be given to others.
            let promised = partition.promised();
            partition.places.retain(|_, place| place.end <= promised);
            return;
        }
        if partition.since != Since::Nothing {
            partition.places.clear();
            partition.power_end = read.high_watermark;
            partition.kill_end = read.high_watermark;
            partition.since = Since::Nothing;
        }
        partition.visible = read.high_watermark;
        partition.log_start = partition.log_start.max(read.log_start);
        partition.place(&read.batches);
        let start = partition.log_start;
        partition.places.retain(|_, place| place.end > start);
    }

    fn started(&mut self, started: &Started) {
        self.running = true;
        self.generation = started.generation;
        for topic in self.topics.values_mut() {
            // What is not found below is gone.
            topic.deleted |= topic.maybe_deleted || !topic.is_sure;
        }
        for topic in &started.topics {
            self.meet(topic);
            let known = self.topic_entry(topic.id, &topic.name, topic.partitions);
            known.is_sure = true;
            known.deleted = false;
            known.maybe_deleted = false;
            known.cached = topic.config.write_caching;
            known.partitions = topic.partitions;
            known.configs = topic.overrides.clone();
        }
        self.unknown_losses = started.unknown_losses;
        if started.unknown_losses {
            self.lose_unknown(started);
        }
        for (tp, partition) in &mut self.partitions {
            partition.hurt |= started.out_of_service.contains(tp);
            // What a start finds is durable before it serves.
            if partition.since == Since::Kill {
                partition.power_end = partition.power_end.max(partition.kill_end);
            }
        }
    }

    /// Any partition may have lost its last records, and any topic: what is read now is what there is.
    fn lose_unknown(&mut self, started: &Started) {
        for (id, topic) in &mut self.topics {
            topic.doubted = true;
            topic.deleted |= !started.topics.iter().any(|found| found.id == *id);
        }
        for partition in self.partitions.values_mut() {
            partition.places.clear();
            partition.power_end = 0;
            partition.kill_end = 0;
            partition.log_start = 0;
            partition.answered_start = 0;
        }
    }

    fn ended(&mut self, how: &Ended) {
        self.running = false;
        let since = match how {
            Ended::PowerCut => Since::PowerCut,
            Ended::Stopped | Ended::Killed | Ended::Fatal(_) => Since::Kill,
        };
        for partition in self.partitions.values_mut() {
            partition.since = partition.since.max(since);
            partition.visible = 0;
        }
    }

    fn disturbed(&mut self, disturbance: Disturbance) {
        match disturbance {
            Disturbance::Slow { until_ns } => {
                self.slow_until_ns = self.slow_until_ns.max(Some(until_ns));
            }
            Disturbance::Failing => self.failing = true,
            Disturbance::FailsNoMore => self.failing = false,
            Disturbance::Full(full) => self.full = full,
        }
    }
}

impl Partition {
    fn place(&mut self, batches: &[Found]) {
        for found in batches {
            let (batch, end) = (found.batch, found.end);
            self.places.insert(found.base, Place { batch, end });
        }
    }
}

impl TopicFacts {
    /// Whether the broker stores other bytes than were sent.
    pub(crate) fn is_rewritten(&self) -> bool {
        self.configs.contains_key("compression.type")
            || self.configs.contains_key("message.timestamp.type")
            || !self.is_sure
    }

    /// A configuration that holds, or may hold from now on.
    fn configured(&mut self, name: &str, value: &str) {
        match (name, value) {
            ("write.caching", "true") => {
                self.cached = true;
                self.ever_cached = true;
            }
            ("retention.ms", value) => {
                let ms = value.parse().unwrap_or(0);
                self.retention_ms_min = self.retention_ms_min.min(ms);
            }
            ("delete.retention.ms", value) => {
                self.delete_retention_ms = value.parse().unwrap_or(0);
            }
            ("retention.bytes", value) => self.retention_bytes_min = value.parse().unwrap_or(0),
            _ => {}
        }
    }
}

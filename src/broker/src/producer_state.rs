//! What a partition knows of the producers that wrote to it, for idempotence.
//!
//! For each producer id its epoch and its last five batches, as in Kafka's `ProducerStateEntry`: a
//! client has at most five batches in flight, so a repeated one is among them. Rules (Kafka 4.3's
//! `ProducerAppendInfo`): a producer that is not known may begin with any sequence; a higher epoch
//! begins at 0; within an epoch a batch follows the one before, and after `i32::MAX` comes 0.
//!
//! One rule is ours: a producer that is not known, and of whom a batch was refused for a reason
//! that passes (no room within the request's timeout, a full disk), begins with that batch. What it
//! had sent behind it would else be taken first, and the batch could never follow.
//!
//! Bounds: a producer is forgotten `producer.id.expiration.ms` after its last append, and the
//! longest idle ones are when there are [`PRODUCERS_MAX`]. A forgotten producer is then one that
//! is not known: its next batch is accepted, but a repeat of an old one is not noticed. Of refused
//! beginnings the last [`REFUSED_MAX`] are remembered, in memory only: a start ends the connections.

use crate::BrokerError;
use crate::codec::{Decoder, Encoder};
use bytes::Bytes;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use std::collections::{BTreeMap, VecDeque};
use tailwater_record::BatchHeader;
use tailwater_shards::planted::{self, Planted};
use tailwater_storage::BatchSummary;

/// The most producers that one partition remembers.
pub(crate) const PRODUCERS_MAX: usize = 8192;
/// At the bound this part of all producers, the longest idle ones, is forgotten at once.
const EVICTED_PART: usize = 8;
/// Below this many producers nobody looks for expired ones.
const SWEEP_MIN: usize = 64;
/// How many batches of a producer are remembered.
const BATCHES_MAX: usize = 5;
/// The most unknown producers whose refused beginning one partition remembers; beyond, the oldest
/// is forgotten, and that producer may begin with any sequence again.
const REFUSED_MAX: usize = 64;
/// The format of snapshots.
const VERSION: u8 = 1;
/// A producer without batches in a snapshot.
const ENTRY_BYTES_MIN: usize = 8 + 2 + 8 + 1;

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Appended {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
    last_offset: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// When it appended last, by the broker's clock.
    last_used_ms: i64,
    /// The oldest first; at least one, at most [`BATCHES_MAX`].
    batches: Vec<Appended>,
}

/// Where a producer that is not known has to begin.
#[derive(Clone, Copy, Debug)]
struct Refused {
    id: i64,
    epoch: i16,
    base_sequence: i32,
}

/// What to do with an idempotent batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Append it.
    New,
    /// It is there already.
    Duplicate {
        /// Where its first record went.
        base_offset: i64,
        /// Where its last record went.
        last_offset: i64,
    },
}

/// The producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct ProducerStates {
    producers: HashMap<i64, Producer, FxBuildHasher>,
    /// The oldest first.
    refused: VecDeque<Refused>,
    /// The number of producers at which expired ones are looked for again.
    sweep_at: usize,
}

impl ProducerStates {
    /// The state that a snapshot and the batches after it give. What the log, which ends at `end`,
    /// has lost to damage counts no more: sent again, it is no duplicate.
    pub(crate) fn recover(
        snapshot: Option<&[u8]>,
        batches: &[BatchSummary],
        end: i64,
        now_ms: i64,
    ) -> Result<Self, BrokerError> {
        let mut states = match snapshot {
            // A partition that never had a producer may have an empty one.
            Some(bytes) if !bytes.is_empty() => Self::decode(bytes)?,
            _ => Self::default(),
        };
        for batch in batches {
            let appended = Appended {
                base_sequence: batch.base_sequence,
                last_sequence: batch.last_sequence,
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
            };
            // When it was appended is not known any more; now keeps it long enough.
            states.remember(batch.producer_id, batch.producer_epoch, appended, now_ms);
        }
        states.producers.retain(|_, producer| {
            producer.batches.retain(|batch| batch.last_offset < end);
            !producer.batches.is_empty()
        });
        Ok(states)
    }

    /// Judges a batch of an idempotent producer. `partition` and `offset`, where it would go, are
    /// for the sentence.
    pub(crate) fn check(
        &mut self,
        header: &BatchHeader,
        offset: i64,
        partition: &dyn Fn() -> String,
        now_ms: i64,
        expiration_ms: i64,
    ) -> Result<Verdict, BrokerError> {
        let id = header.producer_id;
        let expired =
            |producer: &Producer| now_ms.saturating_sub(producer.last_used_ms) >= expiration_ms;
        if self.producers.get(&id).is_some_and(expired) {
            self.producers.remove(&id);
        }
        let Some(producer) = self.producers.get(&id) else {
            return self.check_unknown(header, offset, partition);
        };
        let (first, last) = (header.base_sequence, header.last_sequence());
        if header.producer_epoch == producer.epoch
            && let Some(batch) = producer.batch_of(first, last)
        {
            return Ok(Verdict::Duplicate {
                base_offset: batch.base_offset,
                last_offset: batch.last_offset,
            });
        }
        if header.producer_epoch < producer.epoch {
            return Err(BrokerError::InvalidProducerEpoch {
                producer_id: id,
                offset,
                partition: partition(),
                got: header.producer_epoch,
                current: producer.epoch,
            });
        }
        let last_sequence = if header.producer_epoch == producer.epoch {
            producer.last_sequence()
        } else {
            -1
        };
        let accepts_gap = planted::is(Planted::SequenceGapAccepted) && first > last_sequence;
        if follows(last_sequence, first) || accepts_gap {
            return Ok(Verdict::New);
        }
        let partition = partition();
        Err(BrokerError::OutOfOrderSequence {
            producer_id: id,
            offset,
            partition,
            got: first,
            last: last_sequence,
        })
    }

    fn check_unknown(
        &self,
        header: &BatchHeader,
        offset: i64,
        partition: &dyn Fn() -> String,
    ) -> Result<Verdict, BrokerError> {
        let refused = self.refused.iter().find(|refused| refused.is_of(header));
        match refused {
            Some(refused) if header.base_sequence > refused.base_sequence => {
                Err(BrokerError::OutOfOrderSequence {
                    producer_id: header.producer_id,
                    offset,
                    partition: partition(),
                    got: header.base_sequence,
                    last: refused.base_sequence - 1,
                })
            }
            _ => Ok(Verdict::New),
        }
    }

    /// Takes note of a batch that was not appended and will be sent again.
    pub(crate) fn refused(&mut self, header: &BatchHeader) {
        let id = header.producer_id;
        let is_known = self.producers.contains_key(&id);
        let noted = self.refused.iter().any(|refused| refused.is_of(header));
        if !header.has_producer_id() || is_known || noted {
            return;
        }
        if self.refused.len() == REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back(Refused {
            id,
            epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
        });
    }

    /// Takes note of a batch just appended.
    pub(crate) fn append(
        &mut self,
        header: &BatchHeader,
        base_offset: i64,
        now_ms: i64,
        expiration_ms: i64,
    ) {
        self.make_room(header.producer_id, now_ms, expiration_ms);
        self.refused
            .retain(|refused| refused.id != header.producer_id);
        let appended = Appended {
            base_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset,
            last_offset: base_offset + i64::from(header.last_offset_delta),
        };
        self.remember(header.producer_id, header.producer_epoch, appended, now_ms);
    }

    /// The last offset of each producer's last batch: compaction keeps these batches.
    pub(crate) fn last_batches(&self) -> BTreeMap<i64, i64> {
        let producers = self.producers.iter();
        producers
            .filter_map(|(id, producer)| Some((*id, producer.batches.last()?.last_offset)))
            .collect()
    }

    /// How many producers are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.producers.len()
    }

    fn remember(&mut self, id: i64, epoch: i16, appended: Appended, now_ms: i64) {
        let producer = self.producers.entry(id).or_insert_with(|| Producer {
            epoch,
            last_used_ms: now_ms,
            batches: Vec::new(),
        });
        // A gap in an epoch is only possible after the producer was forgotten: replay sees both
        // sides of it.
        let continues = producer.batches.is_empty()
            || follows(producer.last_sequence(), appended.base_sequence);
        if producer.epoch != epoch || !continues {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        let batches_max = BATCHES_MAX - usize::from(planted::is(Planted::DedupWindowOffByOne));
        if producer.batches.len() == batches_max {
            producer.batches.remove(0);
        }
        producer.batches.push(appended);
        producer.last_used_ms = now_ms;
    }

    /// Keeps the bound before a producer is added.
    fn make_room(&mut self, id: i64, now_ms: i64, expiration_ms: i64) {
        if self.producers.len() < self.sweep_at.max(SWEEP_MIN) || self.producers.contains_key(&id) {
            return;
        }
        self.producers
            .retain(|_, producer| now_ms.saturating_sub(producer.last_used_ms) < expiration_ms);
        if self.producers.len() >= PRODUCERS_MAX {
            let mut oldest: Vec<(i64, i64)> = self
                .producers
                .iter()
                .map(|(id, producer)| (producer.last_used_ms, *id))
                .collect();
            oldest.sort_unstable();
            for (_, id) in oldest.into_iter().take(PRODUCERS_MAX / EVICTED_PART) {
                self.producers.remove(&id);
            }
        }
        self.sweep_at = (self.producers.len() * 2).clamp(SWEEP_MIN, PRODUCERS_MAX);
    }

    /// All of it in bytes, for a checkpoint. The same state gives the same bytes.
    pub(crate) fn snapshot(&self) -> Bytes {
        if self.producers.is_empty() {
            return Bytes::new();
        }
        let mut ids: Vec<i64> = self.producers.keys().copied().collect();
        ids.sort_unstable();
        let mut out = Encoder::default();
        out.u8(VERSION);
        out.count(ids.len());
        for id in ids {
            let producer = &self.producers[&id];
            out.i64(id);
            out.i16(producer.epoch);
            out.i64(producer.last_used_ms);
            out.u8(u8::try_from(producer.batches.len()).expect("at most five"));
            for batch in &producer.batches {
                out.i32(batch.base_sequence);
                out.i32(batch.last_sequence);
                out.i64(batch.base_offset);
                out.i64(batch.last_offset);
            }
        }
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, BrokerError> {
        let mut from = Decoder::new(bytes);
        let version = from.u8()?;
        if version != VERSION {
            return Err(BrokerError::StoredMetadata(format!(
                "format {version} of producers is not known"
            )));
        }
        let mut states = Self::default();
        for _ in 0..from.count(ENTRY_BYTES_MIN)? {
            let (id, epoch, last_used_ms) = (from.i64()?, from.i16()?, from.i64()?);
            for _ in 0..from.u8()? {
                let appended = Appended {
                    base_sequence: from.i32()?,
                    last_sequence: from.i32()?,
                    base_offset: from.i64()?,
                    last_offset: from.i64()?,
                };
                states.remember(id, epoch, appended, last_used_ms);
            }
        }
        from.finish()?;
        Ok(states)
    }

    /// Panics if what must hold does not.
    pub(crate) fn check_invariants(&self, appended_end: i64) {
        assert!(self.refused.len() <= REFUSED_MAX, "they are bounded");
        assert!(
            self.producers.len() <= PRODUCERS_MAX,
            "the number of producers is bounded"
        );
        for (id, producer) in &self.producers {
            assert!(!producer.batches.is_empty(), "producer {id} has a batch");
            assert!(
                producer.batches.len() <= BATCHES_MAX,
                "producer {id} has at most five batches"
            );
            for pair in producer.batches.windows(2) {
                assert!(
                    pair[0].last_offset < pair[1].base_offset,
                    "producer {id}: offsets rise"
                );
                assert!(
                    follows(pair[0].last_sequence, pair[1].base_sequence),
                    "producer {id}: no sequence is missing"
                );
            }
            assert!(
                producer
                    .batches
                    .iter()
                    .all(|batch| batch.last_offset < appended_end),
                "producer {id}: all are in the log"
            );
        }
    }
}

impl Refused {
    fn is_of(&self, header: &BatchHeader) -> bool {
        self.id == header.producer_id && self.epoch == header.producer_epoch
    }
}

impl Producer {
    fn batch_of(&self, first: i32, last: i32) -> Option<&Appended> {
        self.batches
            .iter()
            .find(|batch| batch.base_sequence == first && batch.last_sequence == last)
    }

    fn last_sequence(&self) -> i32 {
        self.batches.last().map_or(-1, |batch| batch.last_sequence)
    }
}

/// Whether `next` comes after `last`; the sequences wrap to 0.
fn follows(last: i32, next: i32) -> bool {
    i64::from(next) == i64::from(last) + 1 || (next == 0 && last == i32::MAX)
}

#[cfg(test)]
mod tests;

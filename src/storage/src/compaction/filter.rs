//! What of a batch stays. The rules are those of Kafka's `Cleaner` and `RecordFilter`:
//!
//! - a record goes when the map has a later one of its key;
//! - a tombstone that is its key's newest goes once its batch's delete horizon has passed (KIP-534):
//!   the first cleaning that sees it sets the horizon, `delete.retention.ms` from then;
//! - of a batch without records left the header stays if it is its producer's last;
//! - what is past the end of the map is left alone.
//!
//! Other than Kafka, a record without a key stays: nothing can supersede it. So does a batch whose
//! records cannot be read, whole, and one of a transaction, until there are transactions. Nobody here
//! knows the keys in such a batch, and who consumes the log may: so no tombstone after it goes.

use std::collections::BTreeMap;

use bytes::Bytes;
use tailwater_record::{
    BatchHeader, Codec, Limits, Record, RecordStream, Retain, Workspace, emptied,
};
use tailwater_shards::planted::{self, Planted};

use super::offset_map::OffsetMap;
use super::{Halt, Pace, STEP_BYTES};

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays byte for byte.
    Stays,
    Goes,
    /// This one, without records, takes its place.
    Emptied(BatchHeader, Bytes),
    /// What [`Filter::out`] holds takes its place.
    Rewritten(BatchHeader),
}

/// What one pass knows, and the memory it works in.
pub(super) struct Filter {
    pub(super) map: OffsetMap,
    /// The map has seen every record below.
    pub(super) covered_upto: i64,
    pub(super) now_ms: i64,
    pub(super) delete_retention_ms: i64,
    /// The last offset of each known producer's last batch; without it no batch is the last.
    pub(super) last_batches: Option<BTreeMap<i64, i64>>,
    pub(super) workspace: Workspace,
    /// What decompressing a batch may take.
    limits: Limits,
    /// The batch that was written anew.
    pub(super) out: Vec<u8>,
    stays: Vec<bool>,
    /// A batch stayed of which no key is known: a tombstone after it may be what deletes one of them.
    is_unsure: bool,
}

/// What walking over a batch found.
#[derive(Default)]
struct Found {
    kept: usize,
    /// A tombstone stays whose time is to be counted.
    starts_horizon: bool,
}

impl Filter {
    pub(super) fn new(
        map: OffsetMap,
        limits: Limits,
        now_ms: i64,
        delete_retention_ms: i64,
    ) -> Self {
        Self {
            map,
            covered_upto: 0,
            now_ms,
            delete_retention_ms,
            last_batches: None,
            workspace: Workspace::new(),
            limits,
            out: Vec::new(),
            stays: Vec::new(),
            is_unsure: false,
        }
    }

    /// Puts the batch's keys from `from` on into the map. The offset that did not fit, if one did not.
    pub(super) async fn note(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        from: i64,
        pace: &mut Pace<'_>,
    ) -> Result<Option<i64>, Halt> {
        if is_left_alone(header) || !self.is_readable(header, batch, pace).await? {
            return Ok(None);
        }
        let limits = self.limits_of(header);
        let stream = RecordStream::new(batch, header, &limits, &mut self.workspace);
        let Ok(mut stream) = stream else {
            return Ok(None);
        };
        while let Ok(Some(record)) = stream.next() {
            let offset = header.base_offset + i64::from(record.offset_delta);
            if let Some(key) = record.key
                && offset >= from
                && !self.map.put(key, offset)
            {
                return Ok(Some(offset));
            }
            let cost = cost(&record);
            pace.spend(cost).await?;
        }
        Ok(None)
    }

    /// Whether every record can be read and lies where its batch says: only then may its keys count.
    async fn is_readable(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        pace: &mut Pace<'_>,
    ) -> Result<bool, Halt> {
        let limits = self.limits_of(header);
        let Ok(mut stream) = RecordStream::new(batch, header, &limits, &mut self.workspace) else {
            return Ok(false);
        };
        let mut next = 0;
        loop {
            match stream.next() {
                Ok(Some(record))
                    if (next..=header.last_offset_delta).contains(&record.offset_delta) =>
                {
                    next = record.offset_delta + 1;
                    let cost = cost(&record);
                    pace.spend(cost).await?;
                }
                Ok(None) => return Ok(true),
                Ok(Some(_)) | Err(_) => return Ok(false),
            }
        }
    }

    /// Decides on a batch, and makes what takes its place. Batches come in the log's order, from its
    /// first on.
    pub(super) async fn apply(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        pace: &mut Pace<'_>,
    ) -> Result<Fate, Halt> {
        let found = match is_left_alone(header) {
            true => None,
            false => self.decide(header, batch, pace).await?,
        };
        let Some(found) = found else {
            self.is_unsure = true;
            return Ok(Fate::Stays);
        };
        if found.kept == 0 {
            return Ok(
                match (self.is_last_of_producer(header), header.record_count) {
                    (false, _) => Fate::Goes,
                    (true, 0) => Fate::Stays,
                    (true, _) => {
                        let (bytes, header) = emptied(header);
                        Fate::Emptied(header, bytes)
                    }
                },
            );
        }
        if found.kept == self.stays.len() && !found.starts_horizon {
            return Ok(Fate::Stays);
        }
        let horizon = match found.starts_horizon {
            true => Some(self.now_ms.saturating_add(self.delete_retention_ms)),
            false => None,
        };
        let rewritten = self.rewrite(header, batch, horizon, pace).await?;
        // It was read a moment ago; what cannot be written anew stays as it is.
        Ok(rewritten.map_or(Fate::Stays, Fate::Rewritten))
    }

    /// Records that are not compressed are read where they lie: their batch bounds them.
    fn limits_of(&self, header: &BatchHeader) -> Limits {
        match header.attributes.codec() {
            Codec::None => Limits::default(),
            _ => self.limits,
        }
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        if !header.has_producer_id() || planted::is(Planted::LastSequenceCleaned) {
            return false;
        }
        match &self.last_batches {
            Some(last) => last.get(&header.producer_id) == Some(&header.last_offset()),
            None => true,
        }
    }

    /// Decides on each record. `None`: the records cannot be read.
    async fn decide(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        pace: &mut Pace<'_>,
    ) -> Result<Option<Found>, Halt> {
        let mut found = Found::default();
        self.stays.clear();
        let horizon = header.attributes.has_delete_horizon();
        let expired = horizon && self.now_ms >= header.base_timestamp && !self.is_unsure;
        let limits = self.limits_of(header);
        let mut stream = match RecordStream::new(batch, header, &limits, &mut self.workspace) {
            Ok(stream) => stream,
            Err(_) => return Ok(None),
        };
        let mut next = 0;
        loop {
            let record = match stream.next() {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(Some(found)),
                Err(_) => return Ok(None),
            };
            if !(next..=header.last_offset_delta).contains(&record.offset_delta) {
                return Ok(None);
            }
            next = record.offset_delta + 1;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let covered = offset < self.covered_upto;
            let is_tombstone = record.value.is_none();
            let stays = match record.key {
                Some(key) if covered => {
                    let newest = self.map.newest(key).map(|newest| {
                        newest + i64::from(planted::is(Planted::NewestRecordDropped))
                    });
                    let too_early = planted::is(Planted::TombstoneRemovedTooEarly);
                    newest.is_none_or(|newest| offset >= newest)
                        && !(is_tombstone && (expired || too_early))
                }
                _ => true,
            };
            self.stays.push(stays);
            found.kept += usize::from(stays);
            let is_new = is_tombstone && record.key.is_some() && covered && !horizon;
            found.starts_horizon |= stays && is_new;
            let cost = cost(&record);
            pace.spend(cost).await?;
        }
    }

    async fn rewrite(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        horizon: Option<i64>,
        pace: &mut Pace<'_>,
    ) -> Result<Option<BatchHeader>, Halt> {
        let retained = {
            let limits = self.limits_of(header);
            let (workspace, out) = (&mut self.workspace, &mut self.out);
            let mut retain = match Retain::new(batch, header, horizon, &limits, workspace, out) {
                Ok(retain) => retain,
                Err(_) => return Ok(None),
            };
            for stays in &self.stays {
                let Ok(bytes) = retain.next(*stays) else {
                    return Ok(None);
                };
                pace.spend(bytes).await?;
                while retain.pack(STEP_BYTES) {
                    pace.spend(STEP_BYTES).await?;
                }
            }
            retain.finish()
        };
        Ok(Some(retained.seal(&mut self.out)))
    }
}

/// What belongs to a transaction is not judged before there are transactions.
fn is_left_alone(header: &BatchHeader) -> bool {
    header.attributes.is_control() || header.attributes.is_transactional()
}

/// About how many bytes were looked at.
fn cost(record: &Record<'_>) -> usize {
    64 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
}

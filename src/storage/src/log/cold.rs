//! Cold reads: from a segment's file, in chunks through the shard's cache, with the next chunk
//! read ahead. Nothing is served before its header fits its place and its checksum is right.

use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_record::{BatchHeader, HEADER_BYTES};
use tailwater_shards::{IoClass, spawn};

use super::read::{SegmentSource, Want};
use super::{Log, Read};
use crate::error::{Corrupt, ReadError};
use crate::segment::cache::{CHUNK_BYTES, Key};
use crate::segment::index::{IndexEntry, MemIndex};
use crate::segment::{Lease, SegmentName, index_path, log_path};
use crate::storage::Shared;

/// A batch's checksum covers it from here on.
const CRC_FROM: usize = 21;

/// A segment being read.
struct Window {
    log: Log,
    shared: Rc<Shared>,
    path: PathBuf,
    name: SegmentName,
    /// Held for as long as the file is read.
    _lease: Lease,
    limit: u64,
}

impl Window {
    fn failed(&self, error: &std::io::Error) -> ReadError {
        ReadError::Io {
            path: self.path.clone(),
            what: error.to_string(),
        }
    }

    fn damaged(&self, position: u64, what: &str) -> ReadError {
        if !self.log.has_segment(self.name) {
            // It is being removed, and cut shorter for it.
            return ReadError::Io {
                path: self.path.clone(),
                what: "the segment is removed".to_owned(),
            };
        }
        let damage = Corrupt {
            file: self.path.clone(),
            position,
            what: what.to_owned(),
        };
        self.log.take_out_of_service(damage.clone());
        ReadError::Corrupt(damage)
    }

    /// The `n`-th chunk, as far as the limit.
    async fn chunk(&self, n: u64) -> Result<Bytes, ReadError> {
        let begin = n * CHUNK_BYTES;
        let len = self.limit.saturating_sub(begin).min(CHUNK_BYTES);
        let len = usize::try_from(len).expect("a chunk's length");
        let tp = self.log.topic_partition();
        let key = Key::Chunk(tp, self.name, n);
        if let Some(bytes) = self.shared.cache.bytes(key, len) {
            return Ok(bytes.slice(..len));
        }
        let file = self.shared.cache.file(tp, self.name, &self.path).await;
        let file = file.map_err(|error| self.failed(&error))?;
        let whole = len.next_multiple_of(tailwater_shards::BLOCK_BYTES);
        let bytes = file.read(IoClass::ColdRead, begin, whole).await;
        let bytes = bytes.map_err(|error| self.failed(&error))?;
        if bytes.len() < len {
            return Err(self.damaged(begin + bytes.len() as u64, "the segment ends too early"));
        }
        // What lies beyond the limit may be written later: it is not to be remembered.
        let bytes = bytes.slice(..len);
        Ok(self.shared.cache.keep_bytes(key, bytes))
    }

    /// The slices of `begin..end`, one a chunk.
    async fn slices(&self, begin: u64, end: u64) -> Result<Vec<Bytes>, ReadError> {
        let mut slices = Vec::new();
        let mut at = begin;
        while at < end {
            let n = at / CHUNK_BYTES;
            let chunk = self.chunk(n).await?;
            let from = usize::try_from(at % CHUNK_BYTES).expect("below a chunk's length");
            let upto = (end - n * CHUNK_BYTES).min(chunk.len() as u64);
            let upto = usize::try_from(upto).expect("below a chunk's length");
            if from >= upto {
                return Err(self.damaged(at, "the segment ends too early"));
            }
            slices.push(chunk.slice(from..upto));
            at = n * CHUNK_BYTES + upto as u64;
        }
        Ok(slices)
    }

    /// The header of the batch at `position`, which has to have the offset, or after a cleaning one
    /// above it, and to end below the limit.
    async fn header(&self, position: u64, offset: Option<i64>) -> Result<BatchHeader, ReadError> {
        let end = position + HEADER_BYTES as u64;
        if end > self.limit {
            return Err(self.damaged(position, "the segment ends in a batch's header"));
        }
        let slices = self.slices(position, end).await?;
        let header = match slices.as_slice() {
            [one] => BatchHeader::parse(one),
            many => BatchHeader::parse(&many.concat()),
        };
        let Ok(header) = header else {
            return Err(self.damaged(position, "no batch begins here"));
        };
        if offset.is_some_and(|offset| !self.name.follows(offset, header.base_offset)) {
            return Err(self.damaged(position, "a batch has another offset than its place says"));
        }
        // The epoch lies outside the checksum. The log's start may lie inside the batch.
        let epoch = self.log.epoch_at(header.last_offset());
        if epoch.is_some_and(|epoch| epoch != header.partition_leader_epoch) {
            return Err(self.damaged(position, "a batch has another leader epoch than its log"));
        }
        if header.last_offset_delta < 0 || position + header.total_bytes() as u64 > self.limit {
            return Err(self.damaged(position, "a batch is longer than its segment"));
        }
        Ok(header)
    }

    /// Finds the batch's checksum right, or the batch damaged.
    async fn check(&self, position: u64, header: &BatchHeader) -> Result<(), ReadError> {
        let slices = self
            .slices(position, position + header.total_bytes() as u64)
            .await?;
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        let mut skip = CRC_FROM;
        for slice in &slices {
            digest.update(slice.get(skip.min(slice.len())..).unwrap_or_default());
            skip = skip.saturating_sub(slice.len());
        }
        if digest.finalize() != u64::from(header.crc) {
            return Err(self.damaged(position, "a batch's checksum is wrong"));
        }
        Ok(())
    }

    fn read_ahead(self, position: u64) {
        let n = position / CHUNK_BYTES + 1;
        let key = Key::Chunk(self.log.topic_partition(), self.name, n);
        if n * CHUNK_BYTES < self.limit && !self.shared.cache.has(key) {
            // What goes wrong here goes wrong again for the reader that needs it.
            spawn("read-ahead", async move { drop(self.chunk(n).await) }).detach();
        }
    }
}

impl Log {
    fn window(&self, source: &SegmentSource) -> Result<Window, ReadError> {
        let shared = self.shared().map_err(|_| ReadError::Dropped)?;
        let path = log_path(&shared.config.data_dir, self.inner.tp, source.name);
        Ok(Window {
            log: self.clone(),
            shared,
            path,
            name: source.name,
            _lease: source.lease.clone(),
            limit: source.limit,
        })
    }

    /// Takes what is wanted of a segment. `false`: enough was taken.
    pub(super) async fn read_segment(
        &self,
        read: &mut Read,
        at: &mut i64,
        source: SegmentSource,
        want: &Want,
    ) -> Result<bool, ReadError> {
        let window = self.window(&source)?;
        let base = source.name.base;
        let entry = self
            .find(&window, &source, |index| index.at_offset(*at - base))
            .await?;
        let mut position = u64::from(entry.position);
        let mut offset = base + i64::from(entry.relative);
        let mut taken = Read {
            bytes: read.bytes,
            ..Read::default()
        };
        let mut range: Option<(u64, u64)> = None;
        let mut more = true;
        while position < source.limit {
            let header = window.header(position, Some(offset)).await?;
            let len = header.total_bytes();
            if header.next_offset() > *at {
                if !want.takes(&taken, header.next_offset(), len) {
                    // Cleaning may have left nothing up to where the reader wants to go.
                    if header.base_offset >= want.upto {
                        *at = want.upto;
                    }
                    more = false;
                    break;
                }
                window.check(position, &header).await?;
                range = Some((range.map_or(position, |r| r.0), position + len as u64));
                taken.bytes += len;
                *at = header.next_offset();
            }
            offset = header.next_offset();
            position += len as u64;
        }
        if let Some((begin, end)) = range {
            for slice in window.slices(begin, end).await? {
                read.push(slice);
            }
        }
        if !more {
            window.read_ahead(position);
        } else if source.complete_len == Some(source.limit) {
            // Cleaning may have left nothing at the segment's end.
            *at = source.next.map_or(*at, |next| next.max(*at));
        }
        Ok(more)
    }

    /// An entry of the segment's index: the memory's, the file's, or a rebuilt one's.
    async fn find(
        &self,
        window: &Window,
        source: &SegmentSource,
        pick: impl Fn(&MemIndex) -> Option<IndexEntry>,
    ) -> Result<IndexEntry, ReadError> {
        let start = IndexEntry {
            relative: 0,
            position: 0,
            max_before: -1,
        };
        let own = {
            let state = self.inner.state.borrow();
            let segment = state
                .segments
                .iter()
                .find(|segment| segment.name() == source.name);
            segment.and_then(|segment| segment.index.clone())
        };
        if let Some(index) = own {
            let index = index.borrow();
            let found = pick(&index);
            if let Some(entry) = found.filter(|e| u64::from(e.position) < source.limit) {
                return Ok(entry);
            }
            if index.is_whole() {
                return Ok(start);
            }
        }
        let tp = self.inner.tp;
        let shared = &window.shared;
        let index = match shared.cache.index(tp, source.name) {
            Some(index) => index,
            None => {
                let loaded = match source.complete_len {
                    Some(len) => self.load_index(window, len).await,
                    None => None,
                };
                let index = match loaded {
                    Some(index) => index,
                    None => rebuild(window).await?,
                };
                let index = Rc::new(index);
                shared.cache.keep_index(tp, source.name, Rc::clone(&index));
                index
            }
        };
        Ok(pick(&index)
            .filter(|e| u64::from(e.position) < source.limit)
            .unwrap_or(start))
    }

    async fn load_index(&self, window: &Window, segment_len: u64) -> Option<MemIndex> {
        use tailwater_shards::{File, OpenOptions};
        let path = index_path(&window.shared.config.data_dir, self.inner.tp, window.name);
        let file = File::open(
            &path,
            OpenOptions {
                create_new: false,
                write: false,
            },
        )
        .await
        .ok()?;
        let size = usize::try_from(file.size().await.ok()?).ok()?;
        let len = crate::fields::blocks(size);
        let bytes = if len == 0 {
            None
        } else {
            file.read(IoClass::ColdRead, 0, len).await.ok()
        };
        file.close().await;
        MemIndex::decode(&bytes?, window.name.base, segment_len)
    }

    /// The offset of a batch in the segment before which every batch is older.
    pub(super) async fn offset_before_timestamp(
        &self,
        base: i64,
        timestamp: i64,
    ) -> Result<i64, ReadError> {
        let source = {
            let state = self.inner.state.borrow();
            let segment = state.segments.iter().find(|segment| segment.base == base);
            let Some(segment) = segment else {
                return Ok(base);
            };
            SegmentSource {
                name: segment.name(),
                lease: segment.lease.clone(),
                next: None,
                limit: segment.durable_len,
                complete_len: segment.is_complete().then_some(segment.len),
            }
        };
        if source.complete_len.is_none() {
            // The tail is near: its index in memory serves if it has the beginning.
            let state = self.inner.state.borrow();
            let index = state
                .segments
                .iter()
                .find(|s| s.base == base)
                .and_then(|s| s.index.clone());
            let entry = index.and_then(|index| {
                let index = index.borrow();
                index
                    .is_whole()
                    .then(|| index.before_timestamp(timestamp))
                    .flatten()
            });
            return Ok(base + entry.map_or(0, |entry| i64::from(entry.relative)));
        }
        let window = self.window(&source)?;
        let entry = self
            .find(&window, &source, |index| index.before_timestamp(timestamp))
            .await?;
        Ok(base + i64::from(entry.relative))
    }
}

/// Walks the whole segment once.
async fn rebuild(window: &Window) -> Result<MemIndex, ReadError> {
    let mut index = MemIndex::default();
    let mut position = 0;
    let mut offset = window.name.base;
    while position < window.limit {
        let header = window.header(position, Some(offset)).await?;
        let relative = header.base_offset - window.name.base;
        index.note(relative, position, header.max_timestamp);
        offset = header.next_offset();
        position += header.total_bytes() as u64;
    }
    Ok(index)
}

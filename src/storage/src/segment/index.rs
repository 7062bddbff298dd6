//! A segment's sparse index: where a batch begins, by offset and by time.
//!
//! Every few KiB one entry, for the batch that begins there, with the largest timestamp of all
//! batches before it. In memory while the segment is written; in a file once it is complete.
//! Whatever is missing or damaged is rebuilt from the segment.

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{BLOCK_BYTES, DmaBuf, SharedBuf};
use uuid::Uuid;

use crate::fields::{Reader, Writer, blocks, crc};
use crate::file_header::{FileHeader, Kind};
use crate::ids::Generation;

const INTERVAL_BYTES: u64 = 8 << 10;
/// 64 KiB of memory for one segment; beyond, every second entry goes and the interval doubles.
const ENTRIES_MAX: usize = 4096;
const ENTRY_BYTES: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// The batch's base offset less the segment's.
    pub(crate) relative: u32,
    pub(crate) position: u32,
    /// The largest timestamp of all batches before.
    pub(crate) max_before: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemIndex {
    entries: Vec<IndexEntry>,
    interval: u64,
    max_timestamp: i64,
}

impl Default for MemIndex {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            interval: INTERVAL_BYTES,
            max_timestamp: -1,
        }
    }
}

impl MemIndex {
    /// A batch begins at `position`. Batches are noted in their order.
    pub(crate) fn note(&mut self, relative: i64, position: u64, max_timestamp: i64) {
        let due = self
            .entries
            .last()
            .is_none_or(|last| position >= u64::from(last.position) + self.interval);
        if let (true, Ok(relative), Ok(position)) =
            (due, u32::try_from(relative), u32::try_from(position))
        {
            let max_before = self.max_timestamp;
            self.entries.push(IndexEntry {
                relative,
                position,
                max_before,
            });
            if self.entries.len() > ENTRIES_MAX {
                let mut index = 0;
                self.entries.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.interval *= 2;
            }
        }
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
    }

    /// The last entry at or before the offset. `None`: what lies before the first entry is not
    /// indexed.
    pub(crate) fn at_offset(&self, relative: i64) -> Option<IndexEntry> {
        let after = self
            .entries
            .partition_point(|entry| i64::from(entry.relative) <= relative);
        after
            .checked_sub(1)
            .and_then(|index| self.entries.get(index))
            .copied()
    }

    /// The last entry before which every batch is older than the timestamp.
    pub(crate) fn before_timestamp(&self, timestamp: i64) -> Option<IndexEntry> {
        let after =
            self.entries
                .partition_point(|entry| match planted::is(Planted::TimeIndexOffByOne) {
                    true => entry.max_before <= timestamp,
                    false => entry.max_before < timestamp,
                });
        after
            .checked_sub(1)
            .and_then(|index| self.entries.get(index))
            .copied()
    }

    /// Whether it reaches back to the segment's beginning.
    pub(crate) fn is_whole(&self) -> bool {
        self.entries
            .first()
            .is_some_and(|entry| entry.position == 0)
    }

    pub(crate) fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<IndexEntry>() + 64
    }

    /// The file of a complete segment's index.
    pub(crate) fn encode(
        &self,
        cluster_id: Uuid,
        generation: Generation,
        base: i64,
        segment_len: u64,
    ) -> SharedBuf {
        let mut entries = Writer(Vec::with_capacity(self.entries.len() * ENTRY_BYTES));
        for entry in &self.entries {
            entries.u32(entry.relative);
            entries.u32(entry.position);
            entries.i64(entry.max_before);
        }
        let mut body = Writer::default();
        body.i64(base);
        body.u64(segment_len);
        body.i64(self.max_timestamp);
        body.u64(self.interval);
        body.u32(u32::try_from(self.entries.len()).expect("bounded"));
        body.u32(crc(&entries.0));
        let mut buf = DmaBuf::zeroed(blocks(BLOCK_BYTES + entries.len()));
        FileHeader {
            kind: Kind::Index,
            cluster_id,
            generation,
            body: body.0,
        }
        .encode_into(&mut buf);
        buf[BLOCK_BYTES..BLOCK_BYTES + entries.len()].copy_from_slice(&entries.0);
        buf.freeze()
    }

    /// Reads an index file of the segment with this base and length; `None` for anything else.
    pub(crate) fn decode(bytes: &Bytes, base: i64, segment_len: u64) -> Option<Self> {
        let header =
            FileHeader::decode(Kind::Index, std::path::Path::new(""), bytes.as_ref()).ok()?;
        let mut r = Reader(&header.body);
        if r.i64()? != base || r.u62()? != segment_len {
            return None;
        }
        let max_timestamp = r.i64()?;
        let interval = r.u62()?.max(1);
        let count = usize::try_from(r.u32()?).ok()?;
        let sum = r.u32()?;
        let len = count.checked_mul(ENTRY_BYTES)?;
        let entries = bytes.get(BLOCK_BYTES..BLOCK_BYTES.checked_add(len)?)?;
        if crc(entries) != sum && !planted::is(Planted::DamagedIndexTrusted) {
            return None;
        }
        let mut r = Reader(entries);
        let mut decoded: Vec<IndexEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            decoded.push(IndexEntry {
                relative: r.u32()?,
                position: r.u32()?,
                max_before: r.i64()?,
            });
        }
        let rises = decoded
            .windows(2)
            .all(|w| matches!(w, [a, b] if a.relative < b.relative && a.position < b.position));
        rises.then_some(Self {
            entries: decoded,
            interval,
            max_timestamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(batches: u32) -> MemIndex {
        let mut index = MemIndex::default();
        for i in 0..batches {
            index.note(i64::from(i) * 3, u64::from(i) * 1000, i64::from(i) + 100);
        }
        index
    }

    #[test]
    fn an_entry_is_found_at_or_before_every_offset_and_time() {
        let index = filled(1000);
        assert!(index.is_whole());
        for offset in 0..3000 {
            let entry = index.at_offset(offset).unwrap();
            assert!(i64::from(entry.relative) <= offset);
            assert!(
                offset - i64::from(entry.relative) <= 3 * 10,
                "no more than an interval"
            );
        }
        for time in 100..1100 {
            let entry = index.before_timestamp(time).unwrap();
            assert!(entry.max_before < time);
            assert!(i64::from(entry.relative) / 3 <= time - 100);
        }
    }

    #[test]
    fn memory_stays_bounded_however_large_the_segment() {
        let index = filled(2_000_000);
        assert!(index.entries().len() <= ENTRIES_MAX);
        assert!(index.at_offset(5_999_000).is_some());
    }

    #[test]
    fn a_file_reads_as_written_and_a_damaged_one_not_at_all() {
        let index = filled(500);
        let file = index
            .encode(Uuid::from_u128(1), Generation(1), 77, 5000)
            .bytes();
        assert_eq!(MemIndex::decode(&file, 77, 5000), Some(index));
        assert_eq!(MemIndex::decode(&file, 78, 5000), None);
        for at in [0, 30, BLOCK_BYTES + 7] {
            let mut damaged = file.to_vec();
            damaged[at] ^= 4;
            assert_eq!(
                MemIndex::decode(&Bytes::from(damaged), 77, 5000),
                None,
                "byte {at}"
            );
        }
    }
}

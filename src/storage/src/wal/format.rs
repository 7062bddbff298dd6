//! The bytes of a commit: one header, the entries' headers, the entries' bodies, zeros up to the
//! next block. Every header has a checksum of its own and every body one in its header.
//!
//! An LSN is a byte position in the shard's virtual WAL stream. A file covers the LSNs from its
//! start LSN on, as many as it has bytes after its header block, so a commit's LSN tells its
//! place, and what an earlier use of the file left behind has LSNs that do not fit their place.

use tailwater_shards::planted::{self, Planted};
use uuid::Uuid;

use crate::fields::{Reader, Writer, crc};
use crate::ids::{Generation, TopicPartition};

pub(crate) const COMMIT_HEADER_BYTES: usize = 96;
pub(crate) const ENTRY_HEADER_BYTES: usize = 96;
const COMMIT_MAGIC: u32 = 0x5457_434d;
const FORMAT: u16 = 1;

/// A commit's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitHeader {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    pub(crate) lsn: u64,
    /// The LSN of the commit before; its own for the first of a WAL. It tells jumps to the next
    /// file from holes.
    pub(crate) prev_lsn: u64,
    /// The checksum of the header of the commit before; 0 for the first.
    pub(crate) prev_crc: u32,
    /// Bytes of the commit, padding included.
    pub(crate) length: u32,
    /// Everything that begins below was durable when this commit was built.
    pub(crate) durable_lsn: u64,
    pub(crate) entries: u32,
    /// The number of the shard's checkpoint that was durable when this commit was built; 0: none.
    pub(crate) checkpoint: u64,
}

impl CommitHeader {
    /// Writes the header and returns its checksum, which the next commit names.
    pub(crate) fn encode_into(&self, into: &mut [u8]) -> u32 {
        let mut w = Writer(Vec::with_capacity(COMMIT_HEADER_BYTES));
        w.u32(COMMIT_MAGIC);
        w.u16(FORMAT);
        w.u16(self.shard);
        w.u64(self.generation.0);
        w.u64(self.lsn);
        w.u64(self.prev_lsn);
        w.u64(self.durable_lsn);
        w.u32(self.prev_crc);
        w.u32(self.length);
        w.u32(self.entries);
        w.u64(self.checkpoint);
        w.0.resize(COMMIT_HEADER_BYTES - 4, 0);
        let sum = crc(&w.0);
        w.u32(sum);
        into.split_at_mut(COMMIT_HEADER_BYTES)
            .0
            .copy_from_slice(&w.0);
        sum
    }

    /// Reads a header with its checksum; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..COMMIT_HEADER_BYTES)?;
        let mut r = Reader(bytes);
        if r.u32()? != COMMIT_MAGIC || r.u16()? != FORMAT {
            return None;
        }
        let shard = r.u16()?;
        let header = Self {
            shard,
            generation: Generation(r.u62()?),
            lsn: r.u62()?,
            prev_lsn: r.u62()?,
            durable_lsn: r.u62()?,
            prev_crc: r.u32()?,
            length: r.u32()?,
            entries: r.u32()?,
            checkpoint: r.u62()?,
        };
        let (covered, stored) = bytes.split_at_checked(COMMIT_HEADER_BYTES - 4)?;
        let sum = crc(covered);
        let sane = stored == sum.to_le_bytes()
            && header.length > 0
            && u64::from(header.length) % crate::config::BLOCK == 0
            && u64::from(header.entries) * ENTRY_HEADER_BYTES as u64 <= u64::from(header.length);
        sane.then_some((header, sum))
    }

    pub(crate) fn end_lsn(&self) -> u64 {
        self.lsn + u64::from(self.length)
    }
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// Consecutive batches of one partition and segment.
    Run,
    /// A run logged again so that an older file can be freed.
    Carry,
    /// The partition's log start offset has moved to `base`.
    LogStart,
    /// The WAL of generation `base` and shard `partition` ends at LSN `end`.
    Seal,
    /// The metadata entry number `base`.
    Metadata,
}

impl EntryKind {
    // 6, 7 and 8 are reserved for truncate, epoch start and extern.
    fn code(self) -> u8 {
        match self {
            EntryKind::Run => 1,
            EntryKind::Carry => 2,
            EntryKind::LogStart => 3,
            EntryKind::Seal => 4,
            EntryKind::Metadata => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => EntryKind::Run,
            2 => EntryKind::Carry,
            3 => EntryKind::LogStart,
            4 => EntryKind::Seal,
            5 => EntryKind::Metadata,
            _ => return None,
        })
    }

    /// Whether the body is record batches.
    pub(crate) fn is_run(self) -> bool {
        matches!(self, EntryKind::Run | EntryKind::Carry)
    }
}

/// An entry's header. For runs: offsets `base..end`, at `position` of the segment `segment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntryHeader {
    pub(crate) kind: EntryKind,
    pub(crate) tp: TopicPartition,
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) segment: i64,
    pub(crate) position: u64,
    pub(crate) max_timestamp: i64,
    /// Where the body begins in the commit.
    pub(crate) body_offset: u32,
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
}

impl EntryHeader {
    /// An entry without a body or a place in a segment.
    pub(crate) fn plain(kind: EntryKind, tp: TopicPartition, base: i64, end: i64) -> Self {
        Self {
            kind,
            tp,
            base,
            end,
            segment: 0,
            position: 0,
            max_timestamp: -1,
            body_offset: 0,
            body_len: 0,
            body_crc: 0,
        }
    }

    pub(crate) fn encode_into(&self, into: &mut [u8]) {
        let mut w = Writer(Vec::with_capacity(ENTRY_HEADER_BYTES));
        w.u8(self.kind.code());
        w.u8(0);
        w.u16(0);
        w.i32(self.tp.partition);
        w.uuid(self.tp.topic);
        w.i64(self.base);
        w.i64(self.end);
        w.i64(self.segment);
        w.u64(self.position);
        w.i64(self.max_timestamp);
        w.u32(self.body_offset);
        w.u32(self.body_len);
        w.u32(self.body_crc);
        w.0.resize(ENTRY_HEADER_BYTES - 4, 0);
        let sum = crc(&w.0);
        w.u32(sum);
        into.copy_from_slice(&w.0);
    }

    /// Reads a header; `None` when its checksum or its kind is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, stored) = bytes.split_at_checked(ENTRY_HEADER_BYTES - 4)?;
        if stored.get(..4)? != crc(covered).to_le_bytes() {
            return None;
        }
        let mut r = Reader(covered);
        let kind = EntryKind::from_code(r.u8()?)?;
        let _flags = r.u8()?;
        let _reserved = r.u16()?;
        let partition = r.i32()?;
        let topic: Uuid = r.uuid()?;
        Some(Self {
            kind,
            tp: TopicPartition { topic, partition },
            base: r.i64()?,
            end: r.i64()?,
            segment: r.i64()?,
            position: r.u62()?,
            max_timestamp: r.i64()?,
            body_offset: r.u32()?,
            body_len: r.u32()?,
            body_crc: r.u32()?,
        })
    }

    /// The body in its commit, if it lies in there and its checksum is right.
    pub(crate) fn body<'a>(&self, commit: &'a [u8]) -> Option<&'a [u8]> {
        let begin = usize::try_from(self.body_offset).ok()?;
        let len = usize::try_from(self.body_len).ok()?;
        let body = commit.get(begin..begin.checked_add(len)?)?;
        let sound = crc(body) == self.body_crc || planted::is(Planted::TornTailAccepted);
        sound.then_some(body)
    }
}

/// Reads a header of which one bit is wrong. The checksum tells which: two headers of 96 bytes under
/// right checksums differ in at least six bits (Koopman, "32-Bit Cyclic Redundancy Codes for Internet
/// Applications", 2002), so no other one is as near.
pub(crate) fn mended<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut header = *bytes.first_chunk::<ENTRY_HEADER_BYTES>()?;
    (0..8 * ENTRY_HEADER_BYTES).find_map(|bit| {
        let mask = 1 << (bit % 8);
        header[bit / 8] ^= mask;
        let found = decode(&header);
        header[bit / 8] ^= mask;
        found
    })
}

/// The header of the entry with this index, if no more than one bit of it is wrong.
pub(crate) fn mended_entry(commit: &[u8], index: usize) -> Option<EntryHeader> {
    let begin = COMMIT_HEADER_BYTES + index * ENTRY_HEADER_BYTES;
    mended(commit.get(begin..)?, EntryHeader::decode)
}

/// Longer bodies are not mended. Of so many bytes and their checksum any two that hold differ in at
/// least six bits, as headers do.
const MENDED_BODY_BYTES_MAX: usize = 512;

/// The body of a metadata entry of which one bit is wrong. Only metadata are read so: what they
/// said decides over whole topics, and they are short.
pub(crate) fn mended_body(entry: &EntryHeader, commit: &[u8]) -> Option<Vec<u8>> {
    let begin = usize::try_from(entry.body_offset).ok()?;
    let len = usize::try_from(entry.body_len).ok()?;
    let is_mended = entry.kind == EntryKind::Metadata && len <= MENDED_BODY_BYTES_MAX;
    let body = commit.get(begin..begin.checked_add(len)?)?;
    let mut body = is_mended.then(|| body.to_vec())?;
    for bit in 0..8 * len {
        let mask = 1 << (bit % 8);
        *body.get_mut(bit / 8)? ^= mask;
        if crc(&body) == entry.body_crc {
            return Some(body);
        }
        *body.get_mut(bit / 8)? ^= mask;
    }
    None
}

/// The entries of a commit, each with what is known of it: a header that did not hold is `None`.
pub(crate) fn entry_headers(
    header: &CommitHeader,
    commit: &[u8],
) -> impl Iterator<Item = Option<EntryHeader>> {
    let count = usize::try_from(header.entries).expect("a u32 fits");
    (0..count).map(move |index| {
        let begin = COMMIT_HEADER_BYTES + index * ENTRY_HEADER_BYTES;
        commit
            .get(begin..begin + ENTRY_HEADER_BYTES)
            .and_then(EntryHeader::decode)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_as_they_were_written_and_notice_each_flipped_bit() {
        let header = CommitHeader {
            generation: Generation(9),
            shard: 3,
            lsn: 8192,
            prev_lsn: 4096,
            prev_crc: 77,
            length: 4096,
            durable_lsn: 4096,
            entries: 2,
            checkpoint: 3,
        };
        let mut bytes = [0; COMMIT_HEADER_BYTES];
        let sum = header.encode_into(&mut bytes);
        assert_eq!(CommitHeader::decode(&bytes), Some((header, sum)));
        let tp = TopicPartition::new(Uuid::from_u128(5), 4);
        let mut entry = EntryHeader::plain(EntryKind::Run, tp, 10, 20);
        entry.body_len = 3;
        let mut entry_bytes = [0; ENTRY_HEADER_BYTES];
        entry.encode_into(&mut entry_bytes);
        assert_eq!(EntryHeader::decode(&entry_bytes), Some(entry));
        for at in 0..COMMIT_HEADER_BYTES {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(
                CommitHeader::decode(&damaged),
                None,
                "commit header byte {at}"
            );
            let mut damaged = entry_bytes;
            damaged[at] ^= 1;
            assert_eq!(
                EntryHeader::decode(&damaged),
                None,
                "entry header byte {at}"
            );
            assert_eq!(mended(&damaged, EntryHeader::decode), Some(entry));
            damaged[(at + 7) % ENTRY_HEADER_BYTES] ^= 1;
            assert_eq!(mended(&damaged, EntryHeader::decode), None);
        }
    }

    #[test]
    fn one_wrong_bit_of_short_metadata_is_mended_and_of_nothing_else() {
        let tp = TopicPartition::new(Uuid::nil(), 0);
        for len in [1, 64, MENDED_BODY_BYTES_MAX, MENDED_BODY_BYTES_MAX + 1] {
            let body: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
            let mut entry = EntryHeader::plain(EntryKind::Metadata, tp, 3, 4);
            entry.body_offset = 5;
            entry.body_len = u32::try_from(len).unwrap();
            entry.body_crc = crc(&body);
            let whole = [&[9; 5], body.as_slice()].concat();
            for bit in (0..8 * len).step_by(1 + len / 10) {
                let mut commit = whole.clone();
                commit[5 + bit / 8] ^= 1 << (bit % 8);
                let is_short = len <= MENDED_BODY_BYTES_MAX;
                let expected = is_short.then(|| body.clone());
                assert_eq!(mended_body(&entry, &commit), expected, "bit {bit} of {len}");
                commit[5 + (bit / 8 + 1) % len] ^= 4;
                if len > 1 {
                    assert_eq!(mended_body(&entry, &commit), None, "two bits of {len}");
                }
                entry.kind = EntryKind::Run;
                assert_eq!(mended_body(&entry, &commit), None);
                entry.kind = EntryKind::Metadata;
            }
            assert_eq!(mended_body(&entry, &whole[..len]), None, "cut short");
        }
    }
}

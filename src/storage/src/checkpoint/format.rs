//! The bytes of a checkpoint group.

use bytes::Bytes;
use tailwater_shards::DmaBuf;

use crate::config::BLOCK;
use crate::fields::{Reader, Writer, blocks, crc};
use crate::ids::Generation;
use crate::log::PartitionRecord;

const GROUP_MAGIC: u32 = 0x5457_6370;
pub(crate) const GROUP_HEADER_BYTES: usize = 48;

/// Where the WAL of a past generation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    pub(crate) end_lsn: u64,
}

/// One checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Group {
    /// Replay of this shard's WAL begins with the file that starts here.
    pub(crate) replay_lsn: u64,
    /// Every commit that begins below was durable.
    pub(crate) durable_lsn: u64,
    /// Nothing of generations below is needed any more.
    pub(crate) retired_below: Generation,
    /// Shard 0: where the WALs end that are still needed.
    pub(crate) seals: Vec<Seal>,
    /// Shard 0: the metadata up to this number of entries.
    pub(crate) metadata: Option<(u64, Bytes)>,
    pub(crate) partitions: Vec<PartitionRecord>,
}

/// A group's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    /// That of the file when the group was written: what an earlier use left behind has another.
    pub(crate) counter: u64,
    pub(crate) seq: u64,
    pub(crate) body_len: u32,
    pub(crate) body_crc: u32,
}

impl GroupHeader {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        let (covered, stored) = bytes.split_at_checked(GROUP_HEADER_BYTES - 4)?;
        if stored != crc(covered).to_le_bytes() {
            return None;
        }
        let mut r = Reader(covered);
        if r.u32()? != GROUP_MAGIC {
            return None;
        }
        let _flags = r.u32()?;
        Some(Self {
            counter: r.u62()?,
            seq: r.u62()?,
            body_len: r.u32()?,
            body_crc: r.u32()?,
        })
    }

    fn encode_into(&self, into: &mut [u8]) {
        let mut w = Writer(Vec::with_capacity(GROUP_HEADER_BYTES));
        w.u32(GROUP_MAGIC);
        w.u32(0);
        w.u64(self.counter);
        w.u64(self.seq);
        w.u32(self.body_len);
        w.u32(self.body_crc);
        w.0.resize(GROUP_HEADER_BYTES - 4, 0);
        let sum = crc(&w.0);
        w.u32(sum);
        into.copy_from_slice(&w.0);
    }

    /// Bytes of the group in its file.
    pub(crate) fn total(&self) -> usize {
        blocks(GROUP_HEADER_BYTES + self.body_len as usize)
    }
}

/// Where a commit begins or ends: at a block.
fn lsn(r: &mut Reader<'_>) -> Option<u64> {
    r.u62().filter(|lsn| lsn.is_multiple_of(BLOCK))
}

impl Group {
    fn body(&self) -> Writer {
        let mut w = Writer::default();
        w.u64(self.replay_lsn);
        w.u64(self.durable_lsn);
        w.u64(self.retired_below.0);
        w.u32(u32::try_from(self.seals.len()).expect("one a shard and generation"));
        for seal in &self.seals {
            w.u64(seal.generation.0);
            w.u16(seal.shard);
            w.u64(seal.end_lsn);
        }
        match &self.metadata {
            None => w.u8(0),
            Some((upto, bytes)) => {
                w.u8(1);
                w.u64(*upto);
                w.bytes(bytes);
            }
        }
        w.u32(u32::try_from(self.partitions.len()).expect("bounded by memory"));
        for record in &self.partitions {
            record.encode(&mut w);
        }
        w
    }

    /// The group's bytes after `skip` bytes of zeros, in whole blocks.
    pub(crate) fn encode(&self, counter: u64, seq: u64, skip: usize) -> DmaBuf {
        let body = self.body();
        let mut buf = DmaBuf::zeroed(skip + blocks(GROUP_HEADER_BYTES + body.len()));
        let header = GroupHeader {
            counter,
            seq,
            body_len: u32::try_from(body.len()).expect("a checkpoint is far below 4 GiB"),
            body_crc: crc(&body.0),
        };
        header.encode_into(&mut buf[skip..skip + GROUP_HEADER_BYTES]);
        let begin = skip + GROUP_HEADER_BYTES;
        buf[begin..begin + body.len()].copy_from_slice(&body.0);
        buf
    }

    /// Reads the group whose header is at the start of `bytes`.
    pub(crate) fn decode(header: &GroupHeader, bytes: &[u8]) -> Option<Self> {
        let body = bytes
            .get(GROUP_HEADER_BYTES..)?
            .get(..header.body_len as usize)?;
        if crc(body) != header.body_crc {
            return None;
        }
        let mut r = Reader(body);
        let mut group = Self {
            replay_lsn: lsn(&mut r)?,
            durable_lsn: lsn(&mut r)?,
            retired_below: Generation(r.u62()?),
            ..Self::default()
        };
        for _ in 0..r.count(18)? {
            group.seals.push(Seal {
                generation: Generation(r.u62()?),
                shard: r.u16()?,
                end_lsn: lsn(&mut r)?,
            });
        }
        if r.u8()? != 0 {
            group.metadata = Some((r.u62()?, r.owned_bytes()?));
        }
        for _ in 0..r.count(20)? {
            group.partitions.push(PartitionRecord::decode(&mut r)?);
        }
        Some(group)
    }
}

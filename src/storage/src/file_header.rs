//! The first block of every file of ours but segments: what it is, whose, and of which start.
//!
//! 4 KiB: magic, format version, compatible and incompatible feature bits, cluster id,
//! generation, then what the kind of file adds, and a checksum in the last four bytes.
//! A compatible bit that is not known is ignored; an incompatible one is refused by name.

use std::path::Path;

use bytes::Bytes;
use tailwater_shards::{BLOCK_BYTES, DmaBuf};
use uuid::Uuid;

use crate::error::StorageError;
use crate::fields::{Reader, Writer, crc};
use crate::ids::Generation;
use crate::patience::Patience;

const VERSION: u16 = 1;
/// In a checkpoint: its records may name segments that were cleaned.
const CLEANED_SEGMENTS: u32 = 1;
const CRC_AT: usize = BLOCK_BYTES - 4;

/// The kinds of files, by their magic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Root,
    WalDir,
    Wal,
    Witness,
    Checkpoint,
    Index,
    Snapshot,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Kind::Root => b"TWroot\r\n",
            Kind::WalDir => b"TWwald\r\n",
            Kind::Wal => b"TWwal.\r\n",
            Kind::Witness => b"TWends\r\n",
            Kind::Checkpoint => b"TWckpt\r\n",
            Kind::Index => b"TWindx\r\n",
            Kind::Snapshot => b"TWsnap\r\n",
        }
    }

    /// The incompatible features that are known of such a file; a new one has them all.
    fn incompatible(self) -> u32 {
        match self {
            Kind::Checkpoint => CLEANED_SEGMENTS,
            Kind::Root
            | Kind::WalDir
            | Kind::Wal
            | Kind::Witness
            | Kind::Index
            | Kind::Snapshot => 0,
        }
    }
}

/// A file's first block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) kind: Kind,
    pub(crate) cluster_id: Uuid,
    pub(crate) generation: Generation,
    /// What the kind of file adds.
    pub(crate) body: Vec<u8>,
}

/// What a first block that is not one of ours is.
#[derive(Debug)]
pub(crate) enum HeaderProblem {
    /// Too short, another magic, or a wrong checksum: torn, rotten or foreign.
    Invalid(&'static str),
    /// Valid, but not to be read by this version.
    Refused(StorageError),
}

impl FileHeader {
    /// Puts the block at the start of `into`, which is zero there.
    pub(crate) fn encode_into(&self, into: &mut [u8]) {
        let mut w = Writer(Vec::with_capacity(256));
        w.raw(self.kind.magic());
        w.u16(VERSION);
        w.u16(0);
        w.u32(0); // compatible features
        w.u32(self.kind.incompatible());
        w.uuid(self.cluster_id);
        w.u64(self.generation.0);
        w.bytes(&self.body);
        assert!(w.len() <= CRC_AT, "a file header fits its block");
        let (block, _) = into.split_at_mut(BLOCK_BYTES);
        let (head, _) = block.split_at_mut(w.len());
        head.copy_from_slice(&w.0);
        let (covered, tail) = block.split_at_mut(CRC_AT);
        tail.copy_from_slice(&crc(covered).to_le_bytes());
    }

    pub(crate) fn encode(&self) -> DmaBuf {
        let mut buf = DmaBuf::zeroed(BLOCK_BYTES);
        self.encode_into(&mut buf);
        buf
    }

    /// Reads the block at the start of `bytes`; `path` is for the error's text.
    pub(crate) fn decode(kind: Kind, path: &Path, bytes: &[u8]) -> Result<Self, HeaderProblem> {
        use HeaderProblem::{Invalid, Refused};
        let block = bytes
            .get(..BLOCK_BYTES)
            .ok_or(Invalid("it is shorter than its header"))?;
        let (covered, stored) = block.split_at(CRC_AT);
        let mut r = Reader(covered);
        if r.raw(8) != Some(kind.magic().as_slice()) {
            return Err(Invalid("it does not begin with its magic"));
        }
        if stored != crc(covered).to_le_bytes() {
            return Err(Invalid("its header's checksum is wrong"));
        }
        let short = || Invalid("its header is too short");
        let version = r.u16().ok_or_else(short)?;
        let _reserved = r.u16().ok_or_else(short)?;
        let _compatible = r.u32().ok_or_else(short)?;
        let incompatible = r.u32().ok_or_else(short)?;
        let unknown = incompatible & !kind.incompatible();
        if unknown != 0 || version > VERSION {
            let bit = unknown.trailing_zeros();
            return Err(Refused(StorageError::UnknownFeature {
                path: path.into(),
                bit,
                version,
            }));
        }
        let cluster_id = r.uuid().ok_or_else(short)?;
        let generation = Generation(r.u62().ok_or_else(short)?);
        let body = r.bytes().ok_or_else(short)?.to_vec();
        Ok(Self {
            kind,
            cluster_id,
            generation,
            body,
        })
    }

    /// Like [`Self::decode`], for files that must be valid.
    pub(crate) fn require(kind: Kind, path: &Path, bytes: &[u8]) -> Result<Self, StorageError> {
        Self::decode(kind, path, bytes).map_err(|problem| match problem {
            HeaderProblem::Invalid(what) => StorageError::corrupt(path, 0, what),
            HeaderProblem::Refused(error) => error,
        })
    }
}

/// Reads a file's first block. One that stays unreadable reads as nothing.
pub(crate) async fn read_first_block(path: &Path) -> Result<Bytes, StorageError> {
    use tailwater_shards::{File, OpenOptions};
    let options = OpenOptions {
        create_new: false,
        write: false,
    };
    let file = File::open(path, options)
        .await
        .map_err(StorageError::io("cannot open", path))?;
    let mut patience = Patience::default();
    let bytes = patience.read(&file, path, 0, BLOCK_BYTES).await;
    let bytes = bytes.unwrap_or_default();
    file.close().await;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> FileHeader {
        FileHeader {
            kind: Kind::Wal,
            cluster_id: Uuid::from_u128(7),
            generation: Generation(3),
            body: vec![1, 2, 3],
        }
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        let block = header().encode();
        let read = FileHeader::decode(Kind::Wal, Path::new("x"), &block).unwrap();
        assert_eq!(read, header());
    }

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        for at in [0, 9, 20, 40, 49, 2000, BLOCK_BYTES - 1] {
            let mut block = header().encode();
            block[at] ^= 0x10;
            assert!(
                FileHeader::decode(Kind::Wal, Path::new("x"), &block).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn an_unknown_incompatible_bit_is_refused_by_name() {
        let mut block = header().encode();
        block[16] = 0b100;
        let sum = crc(&block[..CRC_AT]).to_le_bytes();
        block[CRC_AT..].copy_from_slice(&sum);
        let problem = FileHeader::decode(Kind::Wal, Path::new("x"), &block).unwrap_err();
        assert!(
            matches!(
                problem,
                HeaderProblem::Refused(StorageError::UnknownFeature { bit: 2, .. })
            ),
            "{problem:?}"
        );
    }
}

//! Reads a WAL file of the past, in large pieces, and survives blocks that cannot be read.
#![deny(clippy::indexing_slicing)]

use std::path::PathBuf;

use bytes::Bytes;
use tailwater_shards::{BLOCK_BYTES, File, IoClass};

use super::file::WalName;
use super::format::{COMMIT_HEADER_BYTES, CommitHeader};
use crate::config::BLOCK;
use crate::patience::Patience;

const WINDOW_BYTES: u64 = 1 << 20;

/// An open WAL file of a past generation.
pub(crate) struct OldFile {
    pub(crate) name: WalName,
    pub(crate) path: PathBuf,
    pub(crate) start_lsn: u64,
    /// As its header says; what is really there may be less.
    pub(crate) bytes: u64,
    /// As much of `bytes` as is there: nothing is looked for beyond.
    there: u64,
    pub(crate) file: File,
    /// Why its header does not hold: then its first commit told what belongs there.
    pub(crate) header_damage: Option<&'static str>,
    window: Option<(u64, Bytes)>,
    patience: Patience,
}

impl OldFile {
    /// `bytes` is more than a block, and LSNs reach its end; `size` is what the file has.
    pub(crate) fn new(
        name: WalName,
        path: PathBuf,
        start_lsn: u64,
        bytes: u64,
        size: u64,
        file: File,
    ) -> Self {
        Self {
            name,
            path,
            start_lsn,
            bytes,
            there: bytes.min(size),
            file,
            header_damage: None,
            window: None,
            patience: Patience::default(),
        }
    }

    pub(crate) fn end_lsn(&self) -> u64 {
        self.start_lsn + (self.bytes - BLOCK)
    }

    /// Where the search for commits ends: a header may claim more than could ever be read.
    pub(crate) fn search_end(&self) -> u64 {
        self.start_lsn + self.there.saturating_sub(BLOCK)
    }

    pub(crate) fn position_of(&self, lsn: u64) -> u64 {
        lsn - self.start_lsn + BLOCK
    }

    pub(crate) fn covers(&self, lsn: u64) -> bool {
        (self.start_lsn..self.end_lsn()).contains(&lsn)
    }

    /// `len` bytes at an aligned position; `None` where they cannot be read or are not there.
    pub(crate) async fn at(&mut self, position: u64, len: usize) -> Option<Bytes> {
        if let Some((begin, bytes)) = &self.window
            && let Some(from) = position.checked_sub(*begin)
        {
            let from = usize::try_from(from).ok()?;
            if from.checked_add(len)? <= bytes.len() {
                return Some(bytes.slice(from..from + len));
            }
        }
        let rest = self.there.checked_sub(position)?;
        if rest < len as u64 {
            return None;
        }
        let want = WINDOW_BYTES.max(len as u64).min(rest);
        let want = usize::try_from(want).ok()?.next_multiple_of(BLOCK_BYTES);
        if let Ok(bytes) = self.file.read(IoClass::Maintenance, position, want).await {
            self.window = Some((position, bytes.clone()));
            return (bytes.len() >= len).then(|| bytes.slice(..len));
        }
        // Some block of the window cannot be read: only those asked for count.
        let exact = len.next_multiple_of(BLOCK_BYTES);
        let read = self.patience.read(&self.file, &self.path, position, exact);
        let bytes = read.await.ok()?;
        (bytes.len() >= len).then(|| bytes.slice(..len))
    }

    /// The commit header that belongs at this LSN, with its checksum; `None` for anything else.
    pub(crate) async fn header_at(&mut self, lsn: u64) -> Option<(CommitHeader, u32)> {
        let block = self.at(self.position_of(lsn), COMMIT_HEADER_BYTES).await?;
        let (header, sum) = CommitHeader::decode(&block)?;
        let fits = header.lsn == lsn
            && header.generation == self.name.generation
            && header.shard == self.name.shard
            && header.end_lsn() <= self.end_lsn()
            && header.prev_lsn <= lsn
            && header.durable_lsn <= lsn;
        fits.then_some((header, sum))
    }

    /// Whether nothing was written where a commit at this LSN would begin: there are zeros, or what
    /// an earlier use of the file has left, which holds and has another LSN. What cannot be read may
    /// be anything.
    pub(crate) async fn is_unused(&mut self, lsn: u64) -> bool {
        let block = self.at(self.position_of(lsn), BLOCK_BYTES).await;
        block.is_some_and(|block| {
            block.iter().all(|byte| *byte == 0) || CommitHeader::decode(&block).is_some()
        })
    }

    /// The whole commit of a header that was found.
    pub(crate) async fn commit(&mut self, header: &CommitHeader) -> Option<Bytes> {
        let len = usize::try_from(header.length).ok()?;
        self.at(self.position_of(header.lsn), len).await
    }
}

//! A segment's batches from its file, one after the other, past the shard's cache. Each is checked as
//! cold reads check it: what is rotten is not copied into a new file.

use std::path::PathBuf;

use tailwater_record::{BatchHeader, HEADER_BYTES, crc_is_valid};
use tailwater_shards::{BLOCK_BYTES, File, IoClass, OpenOptions};

use super::Halt;
use crate::error::{Corrupt, StorageError};
use crate::log::{CleanSource, Log};
use crate::segment::log_path;
use crate::storage::Shared;

/// How much is read at a time. What is held is that and the batch that lies across its end.
const READ_BYTES: usize = 256 << 10;

pub(super) struct SegmentReader<'a> {
    log: &'a Log,
    source: &'a CleanSource,
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    /// What of `bytes` is done with.
    taken: usize,
    read_upto: u64,
    /// Where the next batch begins, in the file and in the log.
    position: u64,
    offset: i64,
}

impl<'a> SegmentReader<'a> {
    pub(super) async fn open(
        shared: &Shared,
        log: &'a Log,
        source: &'a CleanSource,
    ) -> Result<Self, Halt> {
        let path = log_path(&shared.config.data_dir, log.topic_partition(), source.name);
        let options = OpenOptions {
            create_new: false,
            write: false,
        };
        let file = match File::open(&path, options).await {
            Ok(file) => file,
            Err(error) => {
                let halt = Halt::from(StorageError::io("cannot open", &path)(error));
                return Err(judged(log, source, halt));
            }
        };
        Ok(Self {
            log,
            source,
            path,
            file,
            bytes: Vec::new(),
            taken: 0,
            read_upto: 0,
            position: 0,
            offset: source.name.base,
        })
    }

    pub(super) async fn close(self) {
        self.file.close().await;
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    fn damaged(&self, what: &str) -> Halt {
        let damage = Corrupt {
            file: self.path.clone(),
            position: self.position,
            what: what.to_owned(),
        };
        judged(self.log, self.source, Halt::Damaged(damage))
    }

    /// Reads on until there are `need` bytes, or all.
    async fn fill(&mut self, need: usize) -> Result<(), Halt> {
        while self.rest().len() < need && self.read_upto < self.source.len {
            self.bytes.drain(..self.taken);
            self.taken = 0;
            let left = usize::try_from(self.source.len - self.read_upto).unwrap_or(usize::MAX);
            let len = left.min(READ_BYTES);
            let read = self
                .file
                .read(
                    IoClass::Maintenance,
                    self.read_upto,
                    len.next_multiple_of(BLOCK_BYTES),
                )
                .await
                .map_err(StorageError::io("cannot read", &self.path))
                .map_err(|error| judged(self.log, self.source, error.into()))?;
            let Some(read) = read.get(..len) else {
                return Err(self.damaged("the segment ends too early"));
            };
            self.bytes.extend_from_slice(read);
            self.read_upto += len as u64;
        }
        Ok(())
    }

    /// The next batch; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<(BatchHeader, &[u8])>, Halt> {
        if self.position == self.source.len {
            return Ok(None);
        }
        self.fill(HEADER_BYTES).await?;
        let Ok(header) = BatchHeader::parse(self.rest()) else {
            return Err(self.damaged("no batch begins here"));
        };
        let len = header.total_bytes();
        self.fill(len).await?;
        let in_place = self.source.name.follows(self.offset, header.base_offset);
        let epoch = self.log.epoch_at(header.last_offset());
        if !in_place || header.last_offset_delta < 0 || header.next_offset() > self.source.end {
            return Err(self.damaged("a batch has another offset than its place says"));
        }
        if epoch.is_some_and(|epoch| epoch != header.partition_leader_epoch) {
            return Err(self.damaged("a batch has another leader epoch than its log"));
        }
        let begin = self.taken;
        let Some(batch) = self.bytes.get(begin..begin + len) else {
            return Err(self.damaged("a batch is longer than its segment"));
        };
        if !crc_is_valid(batch) {
            return Err(self.damaged("a batch's checksum is wrong"));
        }
        self.taken += len;
        self.position += len as u64;
        self.offset = header.next_offset();
        Ok(self
            .bytes
            .get(begin..begin + len)
            .map(|batch| (header, batch)))
    }
}

/// What retention or a deletion removes meanwhile is not damaged, nor is it the disk's fault.
fn judged(log: &Log, source: &CleanSource, halt: Halt) -> Halt {
    if log.is_dropped() || !log.has_segment(source.name) {
        return Halt::Stopped;
    }
    halt
}

//! The file of a segment that cleaning makes: written and durable under a name of its own before any
//! log knows of it. Until then it is an orphan, and whatever ends the process leaves it one.

use std::path::PathBuf;
use std::rc::Rc;

use tailwater_record::BatchHeader;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{DmaBuf, File, IoClass, dir};

use super::Halt;
use crate::error::StorageError;
use crate::fields::blocks;
use crate::log::{CleanSource, Log};
use crate::segment::index::MemIndex;
use crate::segment::writer::{open, write_small};
use crate::segment::{Lease, Segment, SegmentName, index_path, log_path};
use crate::storage::Shared;

/// One write is this long, but for the last.
const PIECE_BYTES: usize = 256 << 10;

pub(super) struct NewSegment<'a> {
    shared: &'a Rc<Shared>,
    log: &'a Log,
    name: SegmentName,
    path: PathBuf,
    /// Made with the first piece: what nothing is left of has no file.
    file: Option<File>,
    pending: Vec<u8>,
    written: u64,
    len: u64,
    index: MemIndex,
    max_timestamp: i64,
    /// That of batches without records.
    empty_max_timestamp: i64,
}

impl<'a> NewSegment<'a> {
    pub(super) fn new(shared: &'a Rc<Shared>, log: &'a Log, name: SegmentName) -> Self {
        let path = log_path(&shared.config.data_dir, log.topic_partition(), name);
        Self {
            shared,
            log,
            name,
            path,
            file: None,
            pending: Vec::new(),
            written: 0,
            len: 0,
            index: MemIndex::default(),
            max_timestamp: -1,
            empty_max_timestamp: -1,
        }
    }

    /// Puts a batch at the end.
    pub(super) async fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), Halt> {
        let relative = header.base_offset - self.name.base;
        self.index.note(relative, self.len, header.max_timestamp);
        let bound = match header.record_count {
            0 => &mut self.empty_max_timestamp,
            _ => &mut self.max_timestamp,
        };
        *bound = header.max_timestamp.max(*bound);
        self.len += batch.len() as u64;
        self.pending.extend_from_slice(batch);
        while self.pending.len() >= PIECE_BYTES {
            self.write(PIECE_BYTES).await?;
        }
        Ok(())
    }

    /// Writes the first `len` bytes that are pending, padded to a block.
    async fn write(&mut self, len: usize) -> Result<(), Halt> {
        // Whoever drops the log waits until this is let go, and then nothing is made any more.
        let _step = self.shared.cleaning.acquire(1).await;
        if self.log.is_dropped() {
            return Err(Halt::Stopped);
        }
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = open(self.shared, &self.path, true).await?;
                // An earlier attempt may have left more.
                file.truncate(0)
                    .await
                    .map_err(StorageError::io("cannot cut", &self.path))?;
                self.file.insert(file).clone()
            }
        };
        let mut buf = DmaBuf::zeroed(blocks(len));
        buf[..len].copy_from_slice(&self.pending[..len]);
        file.write(IoClass::Maintenance, self.written, &buf.freeze())
            .await
            .map_err(StorageError::io("cannot write", &self.path))?;
        self.pending.drain(..len);
        self.written += len as u64;
        Ok(())
    }

    /// Makes it durable. `None`: nothing was put in it.
    pub(super) async fn finish(&mut self, of: &[CleanSource]) -> Result<Option<Segment>, Halt> {
        if self.len == 0 {
            return Ok(None);
        }
        if !self.pending.is_empty() {
            self.write(self.pending.len()).await?;
        }
        let _step = self.shared.cleaning.acquire(1).await;
        if self.log.is_dropped() {
            return Err(Halt::Stopped);
        }
        let file = self.file.take().expect("something was written");
        file.truncate(self.len)
            .await
            .map_err(StorageError::io("cannot cut", &self.path))?;
        if !planted::is(Planted::OldSegmentUnlinkedFirst) {
            file.sync(IoClass::Maintenance)
                .await
                .map_err(StorageError::unsynced(&self.path))?;
        }
        file.close().await;
        let path = index_path(
            &self.shared.config.data_dir,
            self.log.topic_partition(),
            self.name,
        );
        let (cluster_id, generation) = (self.shared.cluster_id, self.shared.generation);
        let index = self
            .index
            .encode(cluster_id, generation, self.name.base, self.len);
        write_small(&path, &index, IoClass::Maintenance)
            .await
            .map_err(StorageError::io("cannot write", &path))?;
        let of = of.iter();
        Ok(Some(Segment {
            base: self.name.base,
            version: self.name.version,
            lease: Lease::default(),
            len: self.len,
            // A bound; one of batches without records holds only where there are no others.
            max_timestamp: match self.max_timestamp {
                -1 => self.empty_max_timestamp,
                max_timestamp => max_timestamp,
            },
            created_ms: of.map(|source| source.created_ms).min().unwrap_or_default(),
            closed: true,
            durable_len: self.len,
            index: None,
        }))
    }

    /// It came to nothing: its files go, as far as they can.
    pub(super) async fn abandon(self) {
        if let Some(file) = self.file {
            file.close().await;
        }
        let data_dir = &self.shared.config.data_dir;
        let index = index_path(data_dir, self.log.topic_partition(), self.name);
        for path in [self.path, index] {
            drop(dir::remove_file(&path).await);
        }
    }
}

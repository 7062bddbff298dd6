//! Writes a shard's checkpoints.

use std::path::{Path, PathBuf};

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{BLOCK_BYTES, File, IoClass, OpenOptions, SharedBuf, dir};
use uuid::Uuid;

use super::format::Group;
use crate::error::StorageError;
use crate::fields::Writer;
use crate::file_header::{FileHeader, Kind};
use crate::ids::Generation;

/// Below this size a file is not written anew, however little of it is alive.
const REWRITE_BYTES_MIN: u64 = 256 << 10;

pub(crate) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("checkpoint")
}

pub(crate) fn file_name(generation: Generation, shard: u16, slot: char) -> String {
    format!("{:010}-{shard:05}.{slot}", generation.0)
}

/// Numbers rise from checkpoint to checkpoint of one generation and shard.
pub(crate) fn number(counter: u64, groups: u64) -> u64 {
    counter << 32 | groups
}

/// The slot of the file with this counter.
pub(crate) fn slot(counter: u64) -> char {
    if counter % 2 == 1 { 'a' } else { 'b' }
}

pub(crate) struct CheckpointWriter {
    dir: PathBuf,
    cluster_id: Uuid,
    generation: Generation,
    shard: u16,
    /// Of the file that counts; 0 before the first checkpoint.
    counter: u64,
    seq: u64,
    file: Option<File>,
    end: u64,
    full_bytes: u64,
}

impl CheckpointWriter {
    pub(crate) fn new(
        data_dir: &Path,
        cluster_id: Uuid,
        generation: Generation,
        shard: u16,
    ) -> Self {
        Self {
            dir: directory(data_dir),
            cluster_id,
            generation,
            shard,
            counter: 0,
            seq: 0,
            file: None,
            end: 0,
            full_bytes: 0,
        }
    }

    /// Whether the next group has to name every partition.
    pub(crate) fn needs_full(&self) -> bool {
        self.counter == 0 || self.end > (2 * self.full_bytes).max(REWRITE_BYTES_MIN)
    }

    /// The number of the checkpoint that counts: which file, and how many groups of it.
    pub(crate) fn number(&self) -> u64 {
        number(self.counter, self.seq + 1)
    }

    /// Writes a group; it counts when this returns. With `full` it names every partition and
    /// begins the other file.
    pub(crate) async fn write(&mut self, group: &Group, full: bool) -> Result<(), StorageError> {
        assert!(
            full || !self.needs_full(),
            "the first group of a file is full"
        );
        if full {
            self.write_full(group).await
        } else {
            self.write_more(group).await
        }
    }

    async fn write_full(&mut self, group: &Group) -> Result<(), StorageError> {
        let counter = self.counter + 1;
        let path = self
            .dir
            .join(file_name(self.generation, self.shard, slot(counter)));
        let mut buf = group.encode(counter, 0, BLOCK_BYTES);
        let mut body = Writer::default();
        body.u16(self.shard);
        body.u64(counter);
        FileHeader {
            kind: Kind::Checkpoint,
            cluster_id: self.cluster_id,
            generation: self.generation,
            body: body.0,
        }
        .encode_into(&mut buf);
        let buf = buf.freeze();
        let file = open_or_create(&path).await?;
        // Its lock is held until what is written through it has landed: the next start waits.
        let locked = file
            .try_lock()
            .map_err(StorageError::io("cannot lock", &path))?;
        if !locked {
            return Err(StorageError::Locked { path });
        }
        // What an earlier use left behind the new group would look like one that is damaged.
        let written = match file.truncate(0).await {
            Ok(()) => write(&file, 0, &buf).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // Its lock has to be free when there is room and this is done again.
            file.close().await;
            return Err(StorageError::io("cannot write", &path)(error));
        }
        dir::sync(&self.dir)
            .await
            .map_err(StorageError::unsynced(&self.dir))?;
        if let Some(before) = self.file.replace(file) {
            before.close().await;
        }
        self.counter = counter;
        self.seq = 0;
        self.end = buf.len() as u64;
        self.full_bytes = self.end;
        Ok(())
    }

    async fn write_more(&mut self, group: &Group) -> Result<(), StorageError> {
        let buf = group.encode(self.counter, self.seq + 1, 0).freeze();
        let file = self.file.clone().expect("a full group opened it");
        write(&file, self.end, &buf)
            .await
            .map_err(StorageError::io("cannot write a checkpoint in", &self.dir))?;
        self.seq += 1;
        self.end += buf.len() as u64;
        Ok(())
    }
}

/// Writes a group durably.
async fn write(file: &File, at: u64, buf: &SharedBuf) -> std::io::Result<()> {
    if planted::is(Planted::CheckpointNotSynced) {
        return file.write(IoClass::Maintenance, at, buf).await;
    }
    file.write_durable(IoClass::Maintenance, at, buf).await
}

async fn open_or_create(path: &Path) -> Result<File, StorageError> {
    match File::open(
        path,
        OpenOptions {
            create_new: true,
            write: true,
        },
    )
    .await
    {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            File::open(
                path,
                OpenOptions {
                    create_new: false,
                    write: true,
                },
            )
            .await
        }
        other => other,
    }
    .map_err(StorageError::io("cannot create", path))
}

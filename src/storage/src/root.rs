//! The root file of a data directory: whose it is, how many starts it has seen, and which WAL
//! directory belongs to it.
//!
//! Replaced as a whole: written under another name, synced, renamed, the directory synced.

use std::path::{Path, PathBuf};

use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{File, IoClass, OpenOptions, dir};
use uuid::Uuid;

use crate::error::StorageError;
use crate::fields::{Reader, Writer};
use crate::file_header::{FileHeader, Kind, read_first_block};
use crate::ids::Generation;

const NAME: &str = "root";
const NEW_NAME: &str = "root.new";
pub(crate) const LOCK_NAME: &str = "lock";
const WAL_DIR_NAME: &str = "wal-dir";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) cluster_id: Uuid,
    pub(crate) generation: Generation,
    pub(crate) node_id: i32,
    pub(crate) shards: u16,
    /// The id of a WAL directory of its own; nil for the one inside the data directory.
    pub(crate) wal_dir_id: Uuid,
    /// There have been WAL files. From then on there are always some: a WAL directory without any
    /// has lost them.
    pub(crate) has_wal: bool,
}

pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

impl Root {
    /// Reads the root file; `None` if there is none.
    pub(crate) async fn load(data_dir: &Path) -> Result<Option<Self>, StorageError> {
        let path = path(data_dir);
        let exists = dir::exists(&path).await;
        if !exists.map_err(StorageError::io("cannot look for", &path))? {
            return Ok(None);
        }
        let block = read_first_block(&path).await?;
        let header = FileHeader::require(Kind::Root, &path, &block)?;
        let mut r = Reader(&header.body);
        let fields = (|| Some((r.i32()?, r.u16()?, r.uuid()?, r.u16()?)))();
        let Some((node_id, shards, wal_dir_id, has_wal)) = fields else {
            return Err(StorageError::corrupt(path, 0, "the root file is too short"));
        };
        let FileHeader {
            cluster_id,
            generation,
            ..
        } = header;
        Ok(Some(Self {
            cluster_id,
            generation,
            node_id,
            shards,
            wal_dir_id,
            has_wal: has_wal != 0,
        }))
    }

    /// Replaces the root file, durably.
    pub(crate) async fn store(&self, data_dir: &Path) -> Result<(), StorageError> {
        let mut body = Writer::default();
        body.i32(self.node_id);
        body.u16(self.shards);
        body.uuid(self.wal_dir_id);
        body.u16(u16::from(self.has_wal));
        let header = FileHeader {
            kind: Kind::Root,
            cluster_id: self.cluster_id,
            generation: self.generation,
            body: body.0,
        };
        let new = data_dir.join(NEW_NAME);
        write_new(&new, &header).await?;
        let path = path(data_dir);
        dir::rename(&new, &path)
            .await
            .map_err(StorageError::io("cannot rename", &new))?;
        if planted::is(Planted::GenerationNotDurable) {
            return Ok(());
        }
        dir::sync(data_dir)
            .await
            .map_err(StorageError::io("cannot sync", data_dir))
    }
}

async fn write_new(path: &Path, header: &FileHeader) -> Result<(), StorageError> {
    // What an interrupted start left is in the way.
    match dir::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StorageError::io("cannot remove", path)(error));
        }
        _ => {}
    }
    let file = File::open(
        path,
        OpenOptions {
            create_new: true,
            write: true,
        },
    )
    .await
    .map_err(StorageError::io("cannot create", path))?;
    let block = header.encode().freeze();
    file.write_durable(IoClass::Maintenance, 0, &block)
        .await
        .map_err(StorageError::io("cannot write", path))?;
    file.close().await;
    Ok(())
}

/// A directory without a root file has to be empty, or hold only what the first start makes
/// before the root file.
pub(crate) async fn require_empty(data_dir: &Path) -> Result<(), StorageError> {
    let exists = dir::exists(data_dir).await;
    if !exists.map_err(StorageError::io("cannot look for", data_dir))? {
        return Ok(());
    }
    let entries = dir::list(data_dir)
        .await
        .map_err(StorageError::io("cannot list", data_dir))?;
    for entry in entries {
        // The directories are made before the root file and filled after it.
        let harmless = match entry.name.as_str() {
            NEW_NAME | LOCK_NAME | "lost+found" => true,
            "wal" | "checkpoint" if entry.is_dir => {
                let made = data_dir.join(&entry.name);
                let inside = dir::list(&made).await;
                inside
                    .map_err(StorageError::io("cannot list", &made))?
                    .is_empty()
            }
            _ => false,
        };
        if !harmless {
            return Err(StorageError::Foreign {
                path: data_dir.into(),
                what: format!(
                    "it has no root file, but it is not empty: {} is there",
                    entry.name
                ),
            });
        }
    }
    Ok(())
}

/// The identity of a WAL directory of its own; `None` if it has none yet.
pub(crate) async fn load_wal_dir_id(wal_dir: &Path) -> Result<Option<Uuid>, StorageError> {
    let path = wal_dir.join(WAL_DIR_NAME);
    let exists = dir::exists(&path).await;
    if !exists.map_err(StorageError::io("cannot look for", &path))? {
        return Ok(None);
    }
    let block = read_first_block(&path).await?;
    let header = FileHeader::require(Kind::WalDir, &path, &block)?;
    let id = Reader(&header.body).uuid();
    id.map(Some)
        .ok_or_else(|| StorageError::corrupt(path, 0, "the identity file is too short"))
}

/// Gives a WAL directory its identity, durably.
pub(crate) async fn store_wal_dir_id(
    wal_dir: &Path,
    cluster_id: Uuid,
    id: Uuid,
) -> Result<(), StorageError> {
    let mut body = Writer::default();
    body.uuid(id);
    let header = FileHeader {
        kind: Kind::WalDir,
        cluster_id,
        generation: Generation(0),
        body: body.0,
    };
    let path = wal_dir.join(WAL_DIR_NAME);
    write_new(&path, &header).await?;
    dir::sync(wal_dir)
        .await
        .map_err(StorageError::io("cannot sync", wal_dir))
}

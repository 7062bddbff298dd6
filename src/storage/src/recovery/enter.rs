//! The first steps of a start: the directory is ours, nobody else is in it, and nobody will be while
//! this process lives. Nothing is altered but for the lock file and what a new directory needs.
#![deny(clippy::indexing_slicing)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tailwater_shards::{DmaBuf, File, IoClass, OpenOptions, dir, now, sleep, spawn};
use uuid::Uuid;

use super::RecoveryReport;
use super::seeds::Handoff;
use crate::checkpoint::reader;
use crate::checkpoint::writer::directory;
use crate::config::{BLOCK, StorageConfig};
use crate::error::StorageError;
use crate::ids::Generation;
use crate::root::{self, LOCK_NAME, Root};

const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Files that stay locked while the start goes on.
pub(super) struct Held {
    pub(super) lock: File,
    /// WALs and checkpoints of the past.
    pub(super) past: Vec<File>,
}

/// Locks the data directory and reads its root file, or makes one.
pub(super) async fn enter(
    config: &StorageConfig,
    node_id: i32,
    report: &mut RecoveryReport,
) -> Result<(Root, Held), StorageError> {
    // Looked at before anything is made, so that a wrong directory stays as it is.
    check_root(
        config,
        node_id,
        Root::load(&config.data_dir).await?.as_ref(),
    )
    .await?;
    let lock = timed(&mut report.waited_ms, lock_directory(config)).await?;
    let held = Held {
        lock,
        past: Vec::new(),
    };
    // And again under the lock: another process may have been at work until just now.
    let root = Root::load(&config.data_dir).await?;
    check_root(config, node_id, root.as_ref()).await?;
    report.new_directory = root.is_none();
    let root = match root {
        Some(root) => root,
        None => new_root(config, node_id).await?,
    };
    Ok((root, held))
}

/// Adds what something takes, in milliseconds.
pub(super) async fn timed<T>(sum_ms: &mut u64, waited_for: impl Future<Output = T>) -> T {
    let begun = now();
    let outcome = waited_for.await;
    *sum_ms += u64::try_from((now() - begun).as_millis()).unwrap_or(u64::MAX);
    outcome
}

async fn check_root(
    config: &StorageConfig,
    node_id: i32,
    root: Option<&Root>,
) -> Result<(), StorageError> {
    let Some(root) = root else {
        return root::require_empty(&config.data_dir).await;
    };
    if root.node_id != node_id {
        return Err(StorageError::Foreign {
            path: root::path(&config.data_dir),
            what: format!("it belongs to node {}, not {node_id}", root.node_id),
        });
    }
    check_wal_dir(config, root).await
}

/// The root of a new data directory; its generation is raised before it is stored.
async fn new_root(config: &StorageConfig, node_id: i32) -> Result<Root, StorageError> {
    let cluster_id = Uuid::from_bytes(tailwater_shards::random_uuid());
    let mut wal_dir_id = Uuid::nil();
    if let Some(wal_dir) = &config.wal_dir {
        create_durably(wal_dir).await?;
        let entries = dir::list(wal_dir)
            .await
            .map_err(StorageError::io("cannot list", wal_dir))?;
        // A first start that was interrupted leaves an identity and no WAL.
        if entries.iter().any(|entry| entry.name.ends_with(".wal")) {
            let what = "the WAL directory belongs to another data directory".to_owned();
            return Err(StorageError::Foreign {
                path: wal_dir.clone(),
                what,
            });
        }
        wal_dir_id = Uuid::from_bytes(tailwater_shards::random_uuid());
        root::store_wal_dir_id(wal_dir, cluster_id, wal_dir_id).await?;
    }
    Ok(Root {
        cluster_id,
        generation: Generation(0),
        node_id,
        shards: 0,
        wal_dir_id,
        has_wal: false,
    })
}

/// Takes the lock file's lock, for as long as the process lives.
async fn lock_directory(config: &StorageConfig) -> Result<File, StorageError> {
    let data_dir = &config.data_dir;
    create_durably(data_dir).await?;
    let path = data_dir.join(LOCK_NAME);
    let file = match File::open(
        &path,
        OpenOptions {
            create_new: true,
            write: true,
        },
    )
    .await
    {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            File::open(
                &path,
                OpenOptions {
                    create_new: false,
                    write: true,
                },
            )
            .await
        }
        other => other,
    };
    let file = file.map_err(StorageError::io("cannot open", &path))?;
    lock(&file, &path, config.lock_wait_ms).await?;
    if file
        .size()
        .await
        .map_err(StorageError::io("cannot measure", &path))?
        < BLOCK
    {
        let block = DmaBuf::zeroed(tailwater_shards::BLOCK_BYTES).freeze();
        let written = file.write(IoClass::Maintenance, 0, &block).await;
        written.map_err(StorageError::io("cannot write", &path))?;
    }
    Ok(file)
}

/// Makes a directory and those above it that are missing, with their names durable.
pub(super) async fn create_durably(path: &Path) -> Result<(), StorageError> {
    dir::create_all(path)
        .await
        .map_err(StorageError::io("cannot create", path))?;
    // A start that was interrupted may have made a directory and not its name durable, so those
    // above are synced whoever made them; far above they may not be ours to sync.
    for (index, made) in path.ancestors().enumerate() {
        let Some(parent) = made.parent() else { break };
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        match dir::sync(parent).await {
            Err(error) if index == 0 => return Err(StorageError::io("cannot sync", parent)(error)),
            Err(_) => break,
            Ok(()) => {}
        }
    }
    Ok(())
}

/// A killed process keeps its locks until its last writes have landed, so a while is waited.
pub(super) async fn lock(file: &File, path: &Path, wait_ms: u64) -> Result<(), StorageError> {
    let until = now() + Duration::from_millis(wait_ms);
    loop {
        if file
            .try_lock()
            .map_err(StorageError::io("cannot lock", path))?
        {
            return Ok(());
        }
        if now() >= until {
            return Err(StorageError::Locked { path: path.into() });
        }
        sleep(LOCK_RETRY).await;
    }
}

/// Locks and syncs the checkpoints of the past: what a killed process had still on its way to them
/// has landed then, and what is read from them next is durable.
pub(super) async fn lock_checkpoints(
    config: &StorageConfig,
    held: &mut Held,
) -> Result<(), StorageError> {
    for path in reader::list(&config.data_dir)
        .await?
        .into_values()
        .flatten()
    {
        let options = OpenOptions {
            create_new: false,
            write: true,
        };
        let file = File::open(&path, options)
            .await
            .map_err(StorageError::io("cannot open", &path))?;
        lock(&file, &path, config.lock_wait_ms).await?;
        file.sync(IoClass::Maintenance)
            .await
            .map_err(StorageError::io("cannot sync", &path))?;
        held.past.push(file);
    }
    Ok(())
}

/// Checks that the WAL directory is the one that the root file knows.
pub(super) async fn check_wal_dir(config: &StorageConfig, root: &Root) -> Result<(), StorageError> {
    let wal_dir = config.wal_path();
    let foreign = |what: &str| {
        Err(StorageError::Foreign {
            path: wal_dir.clone(),
            what: what.to_owned(),
        })
    };
    let exists = dir::exists(&wal_dir).await;
    let exists = exists.map_err(StorageError::io("cannot look for", &wal_dir))?;
    match (&config.wal_dir, root.wal_dir_id.is_nil()) {
        (None, false) => foreign("the WAL of this data directory is in a directory of its own"),
        (Some(_), true) => foreign("the WAL of this data directory is inside it"),
        // It was made before the root file.
        _ if !exists => foreign("the WAL directory is missing"),
        (None, true) => Ok(()),
        (Some(_), false) => match root::load_wal_dir_id(&wal_dir).await? {
            Some(id) if id == root.wal_dir_id => Ok(()),
            Some(_) => foreign("the WAL directory belongs to another data directory"),
            None => foreign("this is not the WAL directory of this data directory"),
        },
    }
}

pub(super) async fn make_directories(config: &StorageConfig) -> Result<(), StorageError> {
    for path in [config.wal_path(), directory(&config.data_dir)] {
        create_durably(&path).await?;
    }
    Ok(())
}

/// The locks of the past's WALs are held until every shard has a locked WAL of its own; the lock
/// file's as long as the process lives.
pub(super) fn hold_locks(held: Held, handoff: Arc<Handoff>) {
    spawn("storage-locks", async move {
        handoff.all_started.triggered().await;
        for file in held.past {
            file.close().await;
        }
        std::future::pending::<()>().await;
        drop(held.lock);
    })
    .detach();
}

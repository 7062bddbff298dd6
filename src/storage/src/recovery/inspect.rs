//! What recovery would find, without locking, syncing or altering anything: for `verify`.
#![deny(clippy::indexing_slicing)]

use tailwater_shards::wall_clock_ms;

use super::past::{scan_all, take_checkpoints};
use super::replay::Replay;
use super::{RecoveryReport, SeedLog, enter, open};
use crate::checkpoint::reader;
use crate::config::StorageConfig;
use crate::error::{Corrupt, StorageError};
use crate::ids::TopicPartition;
use crate::root::{self, Root};
use crate::wal::witness;

/// What a start would find.
pub(crate) struct Inspection {
    pub(crate) logs: Vec<(TopicPartition, SeedLog)>,
    pub(crate) wal_files: usize,
    pub(crate) commits: u64,
    pub(crate) checkpoints: usize,
    /// Damage that belongs to no one log.
    pub(crate) damage: Vec<Corrupt>,
}

/// Reads root, checkpoints and WALs.
pub(crate) async fn inspect(config: &StorageConfig) -> Result<Inspection, StorageError> {
    let Some(root) = Root::load(&config.data_dir).await? else {
        let what = "there is no root file: this is no data directory".to_owned();
        return Err(StorageError::Foreign {
            path: root::path(&config.data_dir),
            what,
        });
    };
    enter::check_wal_dir(config, &root).await?;
    let (slots, doubtful) = reader::read_all(&config.data_dir, root.cluster_id).await?;
    let checkpoints_read = slots.len();
    let mut replay = Replay::default();
    let mut checkpoints = take_checkpoints(slots, &mut replay);
    checkpoints.doubtful = doubtful;
    let retired = checkpoints.retired_below;
    let wal_dir = config.wal_path();
    checkpoints.witnesses = witness::read_all(&wal_dir, root.cluster_id, retired).await?;
    let opened = open::open_wals(config, &root, retired, None);
    let (mut wals, headless) = Box::pin(opened).await?;
    let mut report = RecoveryReport::default();
    Box::pin(scan_all(
        config,
        &mut wals,
        &headless,
        &mut checkpoints,
        &mut replay,
        &mut report,
    ))
    .await?;
    let mut damage = std::mem::take(&mut report.damage);
    damage.append(&mut replay.lost_unknown);
    if let Err(StorageError::Corrupt(found)) = replay.metadata_entries() {
        damage.push(found);
    }
    let now_ms = wall_clock_ms();
    let missing_in = replay.missing_in.clone().unwrap_or_default();
    let partitions = std::mem::take(&mut replay.partitions);
    let logs = partitions
        .into_iter()
        .map(|(tp, found)| (tp, found.assemble(tp, now_ms, &missing_in)));
    Ok(Inspection {
        logs: logs.collect(),
        wal_files: wals.iter().map(|wal| wal.files.len()).sum(),
        commits: report.commits,
        checkpoints: checkpoints_read,
        damage,
    })
}

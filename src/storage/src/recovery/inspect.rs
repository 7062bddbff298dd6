//! What recovery would find, without locking, syncing or altering anything: for `verify`.
#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;

use tailwater_shards::wall_clock_ms;
use uuid::Uuid;

use super::past::{scan_all, take_checkpoints};
use super::replay::Replay;
use super::{MetadataReplay, RecoveryReport, SeedLog, TopicEra, enter, lives, open};
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
    /// The logs are those of topics that live.
    pub(crate) knows_topics: bool,
    /// Damage that belongs to no one log.
    pub(crate) damage: Vec<Corrupt>,
}

/// Says which topics live, from the metadata, or why it cannot read them.
pub(crate) type KnownTopics<'a> =
    Box<dyn FnOnce(&MetadataReplay) -> Result<BTreeMap<Uuid, TopicEra>, String> + 'a>;

/// Reads root, checkpoints and WALs. If somebody knows the topics, the logs are those of the ones that
/// live; metadata that cannot be read are damage, and then the logs of all are told.
pub(crate) async fn inspect(
    config: &StorageConfig,
    known_topics: Option<KnownTopics<'_>>,
) -> Result<Inspection, StorageError> {
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
    let topics = topics_of(config, &mut replay, known_topics, &mut damage)?;
    let now_ms = wall_clock_ms();
    let partitions = std::mem::take(&mut replay.partitions);
    let is_live = |tp| topics.as_ref().is_none_or(|topics| lives(topics, tp));
    let logs = partitions
        .into_iter()
        .filter(|(tp, _)| is_live(*tp))
        .map(|(tp, found)| (tp, found.assemble(tp, now_ms, &replay)));
    Ok(Inspection {
        logs: logs.collect(),
        wal_files: wals.iter().map(|wal| wal.files.len()).sum(),
        commits: report.commits,
        checkpoints: checkpoints_read,
        knows_topics: topics.is_some(),
        damage,
    })
}

/// The topics that live, if somebody knows them.
fn topics_of(
    config: &StorageConfig,
    replay: &mut Replay,
    known_topics: Option<KnownTopics<'_>>,
    damage: &mut Vec<Corrupt>,
) -> Result<Option<BTreeMap<Uuid, TopicEra>>, StorageError> {
    let entries = match replay.metadata_entries() {
        Ok((entries, _)) => entries,
        Err(StorageError::Corrupt(found)) => {
            damage.push(found);
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let snapshot = replay.metadata_snapshot.take().map(|(_, bytes)| bytes);
    let metadata = MetadataReplay { snapshot, entries };
    match known_topics.map(|known_topics| known_topics(&metadata)) {
        None => Ok(None),
        Some(Ok(known)) => Ok(Some(known)),
        Some(Err(what)) => {
            damage.push(Corrupt {
                file: config.data_dir.clone(),
                position: 0,
                what: StorageError::MetadataUnreadable(what).to_string(),
            });
            Ok(None)
        }
    }
}

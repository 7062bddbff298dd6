//! Files that a checkpoint which does not hold may have let go. Compaction removes a segment's file
//! once a checkpoint names the one that took its place. When that checkpoint is lost, the one before
//! still names the file; its records lie in one that nobody names, and that cleaning would take for
//! an orphan. So the start is refused, as long as everything is there.
#![deny(clippy::indexing_slicing)]

use std::collections::BTreeSet;

use tailwater_shards::dir;

use super::past::Checkpoints;
use super::{SeedLog, doubt};
use crate::config::StorageConfig;
use crate::error::StorageError;
use crate::ids::TopicPartition;
use crate::segment::SegmentName;

/// Refuses a start on a checkpoint that is not the last one, if a log lacks a file.
pub(super) async fn refuse_replaced(
    config: &StorageConfig,
    checkpoints: &Checkpoints,
    logs: &[(TopicPartition, SeedLog)],
) -> Result<(), StorageError> {
    let suspects = doubt::suspects(&config.data_dir, checkpoints);
    let Some((file, position)) = suspects.first() else {
        return Ok(());
    };
    for (tp, log) in logs.iter().filter(|(_, log)| log.damage.is_none()) {
        if let Some(name) = missing(config, *tp, log).await? {
            let names = suspects.iter().map(|(path, _)| path.display().to_string());
            let names: Vec<String> = names.collect();
            let what = format!(
                "a checkpoint that had been durable is damaged ({}): segment {} of {tp} is gone",
                names.join(" or "),
                name.stem()
            );
            return Err(StorageError::corrupt(file.clone(), *position, what));
        }
    }
    Ok(())
}

/// A segment with records at or after the log start, and without its file.
async fn missing(
    config: &StorageConfig,
    tp: TopicPartition,
    log: &SeedLog,
) -> Result<Option<SegmentName>, StorageError> {
    let ends = log.segments.iter().skip(1).map(|next| next.base);
    let ends = ends.chain(std::iter::once(log.end));
    let wanted = log.segments.iter().zip(ends);
    let mut wanted = wanted
        .filter(|(segment, end)| segment.durable_len > 0 && *end > log.log_start)
        .map(|(segment, _)| segment.name())
        .peekable();
    if wanted.peek().is_none() {
        return Ok(None);
    }
    let directory = tp.directory(&config.data_dir);
    let entries = match dir::list(&directory).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        listed => listed.map_err(StorageError::io("cannot list", &directory))?,
    };
    let there: BTreeSet<String> = entries.into_iter().map(|entry| entry.name).collect();
    Ok(wanted.find(|name| !there.contains(&format!("{}.log", name.stem()))))
}

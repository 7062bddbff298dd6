//! `tailwater verify DIR`: runs the offline check on one shard and prints what it found.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};

use tailwater_broker::BrokerSettings;
use tailwater_broker::metadata::MetadataState;
use tailwater_shards as shards;
use tailwater_storage::{MetadataReplay, TopicEra, VerifyReport, verify_known};

use crate::machine;

/// Checks a data directory and alters nothing. Problems found are an error, so that scripts see.
pub(crate) fn verify(dir: &Path, wal_dir: Option<&Path>) -> Result<(), String> {
    if !dir.join("root").is_file() {
        return Err(format!(
            "{} is not a data directory: it has no root file",
            dir.display()
        ));
    }
    let report = run(dir, wal_dir)?;
    println!(
        "{} WAL files with {} commits, {} segments with {} batches, {} indexes, {} snapshots, {} checkpoints of {} partitions",
        report.wal_files,
        report.commits,
        report.segments,
        report.batches,
        report.indexes,
        report.snapshots,
        report.checkpoints,
        report.partitions,
    );
    for problem in &report.problems {
        println!("{problem}");
    }
    match report.problems.len() {
        0 => {
            println!("no problem found");
            Ok(())
        }
        1 => Err("1 problem found".to_owned()),
        many => Err(format!("{many} problems found")),
    }
}

fn run(dir: &Path, wal_dir: Option<&Path>) -> Result<VerifyReport, String> {
    let (sender, receiver) = mpsc::channel();
    let (dir, wal_dir) = (dir.to_owned(), wal_dir.map(Path::to_owned));
    let config = shards::RunConfig::new(vec![machine::usable_cpus()[0]]);
    let running = shards::run(config, move |_| {
        let (sender, dir, wal_dir) = (sender.clone(), dir.clone(), wal_dir.clone());
        async move {
            // No setting changes which topics there are.
            let known = |replay: &MetadataReplay| {
                let settings = BrokerSettings::from_pairs(&BTreeMap::new());
                let settings = Arc::new(settings.map_err(|error| error.to_string())?);
                let snapshot = replay.snapshot.as_deref();
                let state = MetadataState::replay(settings, snapshot, &replay.entries);
                let state = state.map_err(|error| error.to_string())?;
                let era = |partitions| TopicEra { partitions };
                let topics = state.image().topics();
                Ok(topics.map(|t| (t.id, era(t.partitions))).collect())
            };
            let report = verify_known(&dir, wal_dir.as_deref(), known).await;
            sender
                .send(report)
                .expect("the receiver outlives the shard");
        }
    })
    .map_err(|error| error.to_string())?;
    running.join().map_err(|error| error.to_string())?;
    receiver
        .recv()
        .map_err(|_| "the check ended without a report".to_owned())
}

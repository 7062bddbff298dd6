//! A machine's snapshot: what its groups are, taken some records at a time, so that a load reads little.
//!
//! One is due when as many bytes of records were appended since the last as that one had, and no
//! fewer than a bound. So a load reads no more than a snapshot and about as much again, however
//! long the log is, and writing snapshots costs about as much as writing the records did.
//! (docs/decisions/group-snapshots.md)

use std::rc::Rc;

use tailwater_shards::{spawn, yield_now};
use tailwater_storage::StorageError;

use super::runtime::{Runtime, batch_of};

/// One step takes about so many bytes of records: a fraction of a millisecond. A piece has one
/// step's; a record that is longer has one of its own.
const PIECE_BYTES: usize = 64 * 1024;

/// Begins a snapshot if one is due.
pub(super) fn begin_if_due(runtime: &Rc<Runtime>) {
    if runtime.begin_snapshot() {
        spawn("group snapshot", take(runtime.clone())).detach();
    }
}

async fn take(runtime: Rc<Runtime>) {
    let covered = runtime.since_snapshot();
    let written = write(&runtime).await;
    if let Err(error) = &written {
        let partition = runtime.partition().name();
        tracing::warn!(partition, %error, "no snapshot of groups: a load reads more");
    }
    runtime.end_snapshot(covered, written.ok().flatten());
}

/// Writes a snapshot, and how many bytes it has; none if the machine has gone meanwhile.
async fn write(runtime: &Runtime) -> Result<Option<u64>, StorageError> {
    let machine = runtime.machine();
    let log = runtime.partition().log().clone();
    let mut writer = log.begin_snapshot().await?;
    let mut after = None;
    loop {
        let taken = runtime.snapshot_after(machine, after.as_ref(), PIECE_BYTES);
        let Some((records, next)) = taken else {
            return Ok(None);
        };
        if !records.is_empty() {
            writer.push(&batch_of(&records)).await?;
        }
        if next.is_none() {
            break;
        }
        after = next;
        yield_now().await;
    }
    writer.finish().await.map(Some)
}

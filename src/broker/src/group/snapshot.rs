//! A machine's snapshot: what its groups are, taken group by group, so that a load reads little.
//!
//! One is due when as many bytes of records were appended since the last as that one had, and no
//! fewer than a bound. So a load reads no more than a snapshot and about as much again, however
//! long the log is, and writing snapshots costs about as much as writing the records did.
//! (docs/decisions/group-snapshots.md)

use std::rc::Rc;

use tailwater_group::Record;
use tailwater_shards::{spawn, yield_now};
use tailwater_storage::StorageError;

use super::runtime::{Runtime, batch_of};

/// A piece has about so many bytes, and no group is torn for it but one that is larger.
const PIECE_BYTES: usize = 256 * 1024;

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
        let taken = runtime.snapshot_after(machine, after.as_deref(), PIECE_BYTES);
        let Some((records, next)) = taken else {
            return Ok(None);
        };
        let mut rest = &records[..];
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(fitting(rest));
            writer.push(&batch_of(piece)).await?;
            rest = others;
        }
        if next.is_none() {
            break;
        }
        after = next;
        yield_now().await;
    }
    writer.finish().await.map(Some)
}

/// How many records make a piece: one at least.
fn fitting(records: &[Record]) -> usize {
    let mut bytes = 0;
    let fits = records.iter().take_while(|record| {
        let before = bytes;
        bytes += record.bytes();
        before < PIECE_BYTES
    });
    fits.count()
}

//! A machine out of its log: a snapshot is read, if there is one that may be believed, and the
//! partition from where that ends; without one the partition is read from its start.
//!
//! In slices, so that nothing else of the shard waits for long: between two reads, and whenever a
//! slice of time is over, others get their turn.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_group::{Coordinator, GroupConfig, Record};
use tailwater_record::{Limits, RecordStream, Workspace, batches};
use tailwater_shards::{now, sleep, yield_now};
use tailwater_storage::ReadError;

use super::Groups;
use super::runtime::Runtime;
use super::snapshot;
use crate::broker::Inner;
use crate::fetch::read_refusal;
use crate::{BrokerError, partition::Partition};

/// Bytes one read takes.
const READ_BYTES: usize = 256 * 1024;
/// How long records are taken before others get their turn.
const SLICE: Duration = Duration::from_micros(300);
/// After a read that failed it is tried again: after this time, then twice that, and so on.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// And never after longer than this.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Loads and serves; tries again until it has worked, or the coordinator is closed.
pub(crate) async fn load(broker: Rc<Inner>, runtime: Rc<Runtime>) {
    let mut wait = RETRY_MIN;
    while runtime.is_loading() && !broker.is_stopping() {
        match read(&broker, &runtime).await {
            Ok((machine, read)) => {
                if runtime.is_loading() && !runtime.serve(machine, read, &*broker.image()) {
                    // The log refuses what a loaded machine has to write: not at once again.
                    sleep(wait).await;
                    continue;
                }
                Groups::rearm(&broker, &runtime);
                snapshot::begin_if_due(&runtime);
                return;
            }
            Err(error) => {
                let partition = runtime.partition().name();
                let error = error.in_full();
                tracing::error!(partition, error, "groups cannot be read: tried again later");
                runtime.note_failed_load();
                sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Reads the log into a machine: with it, bytes of its snapshot and bytes of the log.
async fn read(
    broker: &Rc<Inner>,
    runtime: &Runtime,
) -> Result<(Coordinator, (u64, u64)), BrokerError> {
    if let Some(ticket) = runtime.appended() {
        // What a machine before this one has appended is read as well. An error shows in the read.
        let _ = broker.storage.durable(ticket).await;
    }
    let partition = runtime.partition();
    // Damage may have taken all that was to be read, so that no read would tell of it.
    let health = partition.log().health();
    health.map_err(|damage| read_refusal(&ReadError::Corrupt(damage)))?;
    let mut workspace = Workspace::new();
    let begun = from_snapshot(broker, runtime, &mut workspace).await;
    let snapshot_bytes = begun.as_ref().map_or(0, |begun| begun.bytes);
    let (mut machine, mut at) = match begun {
        Some(begun) => (begun.machine, begun.from),
        None => (Coordinator::new(config(broker)), partition.log_start()),
    };
    let upto = partition.log().appended_end().0;
    let (mut records, mut bytes) = (0_u64, 0_u64);
    while at < upto {
        let found = partition
            .log()
            .read(at, upto, READ_BYTES, true)
            .await
            .map_err(|error| read_refusal(&error))?;
        if found.next == at {
            return Err(BrokerError::Storage {
                detail: format!("nothing is found at offset {at} below {upto}"),
            });
        }
        bytes += found.bytes as u64;
        for slice in joined(found.slices) {
            let from = partition.log_start();
            records += take_batches(&mut workspace, partition, &slice, from, &mut machine).await?;
        }
        runtime.note_loading(machine.bytes());
        at = found.next;
    }
    while runtime.begin_sessions(&mut machine, &*broker.image()) {
        yield_now().await;
    }
    if records > 0 || snapshot_bytes > 0 {
        let partition = partition.name();
        tracing::info!(partition, snapshot_bytes, records, "groups are loaded");
    }
    Ok((machine, (snapshot_bytes, bytes)))
}

/// What a snapshot makes.
struct Begun {
    machine: Coordinator,
    /// Where to read on.
    from: i64,
    bytes: u64,
}

/// The machine of the snapshot; none if there is no snapshot, or it does not hold.
async fn from_snapshot(
    broker: &Inner,
    runtime: &Runtime,
    workspace: &mut Workspace,
) -> Option<Begun> {
    let partition = runtime.partition();
    // A new coordinator is there at once.
    if partition.log().appended_end().0 == 0 {
        return None;
    }
    let mut snapshot = partition.log().open_snapshot().await?;
    let mut machine = Coordinator::new(config(broker));
    loop {
        let taken = match snapshot.next().await {
            Ok(None) => break,
            Ok(Some(piece)) => {
                // Its batches have offsets of their own, from 0 on.
                take_batches(workspace, partition, &piece, 0, &mut machine).await
            }
            Err(error) => Err(damaged(&error)),
        };
        if let Err(error) = taken {
            let (partition, error) = (partition.name(), error.in_full());
            tracing::warn!(partition, error, "a snapshot of groups is left aside");
            return None;
        }
        runtime.note_loading(machine.bytes());
    }
    Some(Begun {
        machine,
        from: snapshot.from(),
        bytes: snapshot.bytes(),
    })
}

/// A slice need not end where a batch does: those that do not are put together.
fn joined(slices: Vec<Bytes>) -> Vec<Bytes> {
    let whole = |slice: &Bytes| batches(slice).all(|batch| batch.is_ok());
    if slices.iter().all(whole) {
        return slices;
    }
    vec![slices.concat().into()]
}

async fn take_batches(
    workspace: &mut Workspace,
    partition: &Partition,
    bytes: &[u8],
    from: i64,
    machine: &mut Coordinator,
) -> Result<u64, BrokerError> {
    let mut records = 0;
    for found in batches(bytes) {
        let found = found.map_err(|error| damaged(&error))?;
        if found.header.attributes.is_control() || found.header.next_offset() <= from {
            continue;
        }
        let batch = bytes.get(found.range).unwrap_or_default();
        let mut stream = RecordStream::new(batch, &found.header, &Limits::default(), workspace)
            .map_err(|error| damaged(&error))?;
        let mut began = now();
        while let Some(record) = stream.next().map_err(|error| damaged(&error))? {
            // Copied out: a machine must not keep whole batches in memory.
            let record = Record {
                key: Bytes::copy_from_slice(record.key.unwrap_or_default()),
                value: record.value.map(Bytes::copy_from_slice),
            };
            if let Err(error) = machine.replay(&record) {
                let partition = partition.name();
                tracing::warn!(partition, %error, "a record of groups cannot be read: left out");
            }
            records += 1;
            if began.elapsed() >= SLICE {
                yield_now().await;
                began = now();
            }
        }
    }
    yield_now().await;
    Ok(records)
}

fn damaged(error: &impl std::fmt::Display) -> BrokerError {
    BrokerError::Storage {
        detail: error.to_string(),
    }
}

/// What the machines of this broker live by.
fn config(broker: &Inner) -> Arc<GroupConfig> {
    Arc::new(broker.settings().groups.clone())
}

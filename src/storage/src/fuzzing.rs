//! For the fuzz targets alone: makes bytes that a fuzzer has changed pass the checksums, so that it
//! gets to see what lies behind them. Nothing here is part of the program.

use std::collections::BTreeSet;
use std::path::Path;

use tailwater_shards::BLOCK_BYTES;
use uuid::Uuid;

use crate::checkpoint::format::{GROUP_HEADER_BYTES, GroupHeader};
use crate::checkpoint::reader::parse_name;
use crate::config::BLOCK;
use crate::fields::{Reader, Writer, crc};
use crate::file_header::{FileHeader, Kind};
use crate::ids::Generation;
use crate::wal::file::{WalFileHeader, WalName};
use crate::wal::format::{COMMIT_HEADER_BYTES, CommitHeader, ENTRY_HEADER_BYTES, EntryHeader};
use crate::wal::witness;

/// How much of a file is set right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgery {
    /// The data directory that headers are to name.
    pub cluster_id: Uuid,
    /// Besides checksums: each commit at its LSN and after the one before it, each group in turn.
    pub chain: bool,
}

/// Makes the file of this name, relative to its data directory, pass its checksums: its header
/// names what its name says, and every other sum is that of the bytes that are there.
pub fn forge(name: &Path, bytes: &mut [u8], forgery: Forgery) {
    let file = name.file_name().and_then(|name| name.to_str());
    let file = file.unwrap_or_default();
    if file == "root" {
        forge_header(Kind::Root, None, None, bytes);
    } else if file.ends_with(".index") {
        forge_header(Kind::Index, None, None, bytes);
        forge_index(bytes);
    } else if let Some(name) = WalName::parse(file) {
        let id = Some(forgery.cluster_id);
        forge_header(Kind::Wal, id, Some(name.generation), bytes);
        forge_wal(name, bytes, forgery);
    } else if let Some(key) = witness::parse_name(file) {
        let id = Some(forgery.cluster_id);
        forge_header(Kind::Witness, id, Some(key.0), bytes);
        let slots = bytes.get_mut(BLOCK_BYTES..).unwrap_or_default();
        for slot in slots.chunks_mut(witness::SLOT_BYTES) {
            witness::forge_slot(slot, forgery.cluster_id, key);
        }
    } else if let Some((generation, shard)) = parse_name(file) {
        let id = Some(forgery.cluster_id);
        forge_header(Kind::Checkpoint, id, Some(generation), bytes);
        forge_checkpoint(generation, shard, bytes, forgery);
    }
}

/// The topics that the commits of a WAL file name, as many as are to be opened.
pub fn topics(bytes: &[u8], count_max: usize) -> BTreeSet<Uuid> {
    let mut found = BTreeSet::new();
    for commit in (BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES) {
        let commit = bytes.get(commit..).unwrap_or_default();
        let Some((header, _)) = CommitHeader::decode(commit) else {
            continue;
        };
        let entries = crate::wal::format::entry_headers(&header, commit).flatten();
        for entry in entries.filter(|entry| entry.kind.is_run()) {
            if found.len() < count_max {
                found.insert(entry.tp.topic);
            }
        }
    }
    found
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

/// Puts the checksum of `bytes` before `at` there.
fn put_sum(bytes: &mut [u8], at: usize) {
    let sum = bytes.get(..at).map(crc).unwrap_or_default();
    put(bytes, at, &sum.to_le_bytes());
}

/// Magic, whose, of which start, and the checksum; what the kind of file adds stays as it is.
fn forge_header(
    kind: Kind,
    cluster_id: Option<Uuid>,
    generation: Option<Generation>,
    bytes: &mut [u8],
) {
    let Some(block) = bytes.get_mut(..BLOCK_BYTES) else {
        return;
    };
    let plain = FileHeader {
        kind,
        cluster_id: cluster_id.unwrap_or_default(),
        generation: generation.unwrap_or_default(),
        body: Vec::new(),
    };
    let plain = plain.encode();
    let (magic, rest) = plain.split_at(8);
    put(block, 0, magic);
    // After the magic: the version and the feature bits, which the fuzzer may set.
    let (_, rest) = rest.split_at(12);
    let (id, rest) = rest.split_at(16);
    if cluster_id.is_some() {
        put(block, 20, id);
    }
    if generation.is_some() {
        put(block, 36, rest.split_at(8).0);
    }
    put_sum(block, BLOCK_BYTES - 4);
}

/// What the header of a file adds to what every header says.
const OWN_AT: usize = 48;

fn forge_wal(name: WalName, bytes: &mut [u8], forgery: Forgery) {
    let own = bytes.get(OWN_AT..).and_then(WalFileHeader::decode);
    let Some(own) = own else { return };
    let mut fields = Writer::default();
    fields.u32(26);
    fields.u16(name.shard);
    fields.u64(name.seq);
    put(bytes, OWN_AT - 4, &fields.0);
    if let Some(block) = bytes.get_mut(..BLOCK_BYTES) {
        put_sum(block, BLOCK_BYTES - 4);
    }
    let mut before = None;
    let mut at = BLOCK_BYTES;
    while let Some(commit) = bytes.get_mut(at..) {
        if commit.len() < COMMIT_HEADER_BYTES {
            break;
        }
        let lsn = own.start_lsn.wrapping_add(at as u64).wrapping_sub(BLOCK);
        let found = forge_commit(name, commit, lsn, before, forgery.chain);
        at += BLOCK_BYTES;
        if let (Some((header, sum)), true) = (found, forgery.chain) {
            before = Some((lsn, sum));
            at += (header.length as usize).saturating_sub(BLOCK_BYTES);
        }
    }
}

fn forge_commit(
    name: WalName,
    commit: &mut [u8],
    lsn: u64,
    before: Option<(u64, u32)>,
    chain: bool,
) -> Option<(CommitHeader, u32)> {
    let sum_at = COMMIT_HEADER_BYTES - 4;
    let mut read = commit.to_vec();
    put_sum(&mut read, sum_at);
    let (mut header, _) = CommitHeader::decode(&read)?;
    header.generation = name.generation;
    header.shard = name.shard;
    if chain {
        header.lsn = lsn;
        header.durable_lsn = header.durable_lsn.min(lsn);
        (header.prev_lsn, header.prev_crc) =
            before.unwrap_or((header.prev_lsn.min(lsn), header.prev_crc));
    }
    let sum = header.encode_into(commit);
    let headers = COMMIT_HEADER_BYTES..COMMIT_HEADER_BYTES + header.entries as usize * 96;
    for at in headers.step_by(ENTRY_HEADER_BYTES) {
        forge_entry(commit, at);
    }
    Some((header, sum))
}

/// The sum of an entry's body, as far as it lies in its commit, and that of the entry's header.
fn forge_entry(commit: &mut [u8], at: usize) -> Option<()> {
    let mut header = commit.get(at..at + ENTRY_HEADER_BYTES)?.to_vec();
    put_sum(&mut header, ENTRY_HEADER_BYTES - 4);
    let mut entry = EntryHeader::decode(&header)?;
    let body = commit.get(entry.body_offset as usize..)?;
    entry.body_crc = crc(body.get(..entry.body_len as usize)?);
    entry.encode_into(commit.get_mut(at..at + ENTRY_HEADER_BYTES)?);
    Some(())
}

fn forge_checkpoint(
    generation: Generation,
    shard: u16,
    bytes: &mut [u8],
    forgery: Forgery,
) -> Option<()> {
    let mut own = Reader(bytes.get(OWN_AT..)?);
    let (_, counter) = (own.u16()?, own.u62()?);
    put(bytes, OWN_AT - 4, &10_u32.to_le_bytes());
    put(bytes, OWN_AT, &shard.to_le_bytes());
    let id = Some(forgery.cluster_id);
    forge_header(Kind::Checkpoint, id, Some(generation), bytes);
    let (mut at, mut seq) = (BLOCK_BYTES, 0_u64);
    while let Some(group) = bytes.get_mut(at..) {
        if group.len() < GROUP_HEADER_BYTES {
            break;
        }
        if forgery.chain {
            put(group, 8, &counter.to_le_bytes());
            put(group, 16, &seq.to_le_bytes());
        }
        let mut length = Reader(group.get(24..)?);
        let body_len = length.u32()? as usize;
        let body = group.get(GROUP_HEADER_BYTES..)?.get(..body_len);
        if let Some(sum) = body.map(crc) {
            put(group, 28, &sum.to_le_bytes());
        }
        put_sum(group, GROUP_HEADER_BYTES - 4);
        at += GroupHeader::decode(group).map_or(BLOCK_BYTES, |header| header.total());
        seq += 1;
    }
    Some(())
}

fn forge_index(bytes: &mut [u8]) -> Option<()> {
    // Base, length, largest timestamp and interval come before the count and the entries' sum.
    let mut count = Reader(bytes.get(OWN_AT + 32..)?);
    let count = count.u32()? as usize;
    let entries = bytes.get(BLOCK_BYTES..)?.get(..count.checked_mul(16)?)?;
    let sum = crc(entries);
    put(bytes, OWN_AT + 36, &sum.to_le_bytes());
    put_sum(bytes.get_mut(..BLOCK_BYTES)?, BLOCK_BYTES - 4);
    Some(())
}

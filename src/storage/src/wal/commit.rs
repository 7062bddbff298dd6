//! From a closed list to the bytes of a commit: exact size first, then one buffer, then one copy
//! of each batch with its offset and leader epoch patched on the way.

use std::ops::Range;

use bytes::Bytes;
use tailwater_record::{set_base_offset, set_leader_epoch};
use tailwater_shards::{DmaBuf, SharedBuf};
use uuid::Uuid;

use super::format::{
    COMMIT_HEADER_BYTES, CommitHeader, ENTRY_HEADER_BYTES, EntryHeader, EntryKind,
};
use super::gather::{CarryItem, Item, Span};
use crate::fields::{blocks, crc};
use crate::ids::{Generation, TopicPartition};
use crate::log::Log;

/// An entry of a commit being built.
pub(crate) struct PlannedEntry {
    pub(crate) header: EntryHeader,
    /// For runs and log starts: whose they are.
    pub(crate) log: Option<Log>,
}

/// The shape of a commit: its entries with their bodies' places.
pub(crate) struct Plan {
    pub(crate) entries: Vec<PlannedEntry>,
    /// Which entry each item's body goes to.
    entry_of_item: Vec<usize>,
    pub(crate) length: usize,
}

fn run_header(kind: EntryKind, tp: TopicPartition, span: &Span, len: usize) -> EntryHeader {
    EntryHeader {
        kind,
        tp,
        base: span.base,
        end: span.end,
        segment: span.segment,
        position: span.position,
        max_timestamp: span.max_timestamp,
        body_offset: 0,
        body_len: u32::try_from(len).expect("a commit is far below 4 GiB"),
        body_crc: 0,
    }
}

impl Plan {
    /// Groups a list's items: consecutive batches of one partition and segment become one run.
    pub(crate) fn of_items(items: &[Item]) -> Self {
        let mut entries: Vec<PlannedEntry> = Vec::new();
        let mut entry_of_item = Vec::with_capacity(items.len());
        for item in items {
            let planned = match item {
                Item::Batch {
                    log, body, span, ..
                } => {
                    let open = log.entry_in_plan(&entries, span);
                    if let Some(index) = open {
                        let header = &mut entries[index].header;
                        header.end = span.end;
                        header.body_len += u32::try_from(body.len()).expect("far below 4 GiB");
                        header.max_timestamp = header.max_timestamp.max(span.max_timestamp);
                        entry_of_item.push(index);
                        continue;
                    }
                    log.set_entry_in_plan(entries.len());
                    let tp = log.topic_partition();
                    let header = run_header(EntryKind::Run, tp, span, body.len());
                    PlannedEntry {
                        header,
                        log: Some(log.clone()),
                    }
                }
                Item::LogStart { log, offset } => {
                    let tp = log.topic_partition();
                    let header = EntryHeader::plain(EntryKind::LogStart, tp, *offset, *offset);
                    PlannedEntry {
                        header,
                        log: Some(log.clone()),
                    }
                }
                Item::Metadata { number, body } => {
                    let tp = TopicPartition::new(Uuid::nil(), 0);
                    let number = i64::try_from(*number).expect("far below 2^63");
                    let kind = EntryKind::Metadata;
                    let mut header = EntryHeader::plain(kind, tp, number, number + 1);
                    header.body_len = u32::try_from(body.len()).expect("far below 4 GiB");
                    PlannedEntry { header, log: None }
                }
            };
            entry_of_item.push(entries.len());
            entries.push(planned);
        }
        Self::placed(entries, entry_of_item)
    }

    /// One entry for each carried run.
    pub(crate) fn of_carries(items: &[CarryItem]) -> Self {
        let entries: Vec<_> = items
            .iter()
            .map(|item| {
                let tp = item.log.topic_partition();
                let header = run_header(EntryKind::Carry, tp, &item.span, item.body_len());
                PlannedEntry {
                    header,
                    log: Some(item.log.clone()),
                }
            })
            .collect();
        let entry_of_item = (0..entries.len()).collect();
        Self::placed(entries, entry_of_item)
    }

    /// Entries without bodies: seals, or none at all.
    pub(crate) fn of_headers(headers: Vec<EntryHeader>) -> Self {
        let entries = headers
            .into_iter()
            .map(|header| PlannedEntry { header, log: None })
            .collect();
        Self::placed(entries, Vec::new())
    }

    /// Where the bytes of its runs lie, with what may lie between them; empty if it has none.
    pub(crate) fn runs_range(&self) -> Range<usize> {
        let headers = || self.entries.iter().map(|entry| &entry.header);
        let mut runs = headers().filter(|header| header.kind.is_run());
        let Some(first) = runs.next() else {
            return 0..0;
        };
        let last = runs.next_back().unwrap_or(first);
        let begin = first.body_offset as usize;
        begin..(last.body_offset + last.body_len) as usize
    }

    fn placed(mut entries: Vec<PlannedEntry>, entry_of_item: Vec<usize>) -> Self {
        let mut at = COMMIT_HEADER_BYTES + entries.len() * ENTRY_HEADER_BYTES;
        for entry in &mut entries {
            entry.header.body_offset = u32::try_from(at).expect("far below 4 GiB");
            at += entry.header.body_len as usize;
        }
        Self {
            entries,
            entry_of_item,
            length: blocks(at),
        }
    }
}

/// A commit's bytes, ready to be written.
pub(crate) struct Built {
    pub(crate) buf: SharedBuf,
    /// The same memory, from which runs take their slices.
    pub(crate) bytes: Bytes,
    pub(crate) header_crc: u32,
}

/// Where in the stream a commit goes, and what came before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    pub(crate) lsn: u64,
    pub(crate) prev_lsn: u64,
    pub(crate) prev_crc: u32,
    pub(crate) durable_lsn: u64,
    pub(crate) checkpoint: u64,
}

/// Copies each item's body to its place, patched. This is the one copy of a record's bytes
/// between the frame and the WAL.
pub(crate) fn build_items(plan: &mut Plan, items: &[Item], chain: Chain) -> Built {
    let mut buf = DmaBuf::zeroed(plan.length);
    let mut cursors: Vec<usize> = plan
        .entries
        .iter()
        .map(|entry| entry.header.body_offset as usize)
        .collect();
    for (item, &index) in items.iter().zip(&plan.entry_of_item) {
        let (body, patch) = match item {
            Item::Batch {
                body, span, epoch, ..
            } => (body, Some((span.base, *epoch))),
            Item::Metadata { body, .. } => (body, None),
            Item::LogStart { .. } => continue,
        };
        let begin = cursors[index];
        cursors[index] += body.len();
        let place = &mut buf[begin..begin + body.len()];
        place.copy_from_slice(body);
        if let Some((base_offset, epoch)) = patch {
            set_base_offset(place, base_offset);
            set_leader_epoch(place, epoch);
        }
    }
    finish(plan, buf, chain)
}

/// Copies carried runs as they are.
pub(crate) fn build_carries(plan: &mut Plan, items: &[CarryItem], chain: Chain) -> Built {
    let mut buf = DmaBuf::zeroed(plan.length);
    for (item, entry) in items.iter().zip(&plan.entries) {
        let mut at = entry.header.body_offset as usize;
        for piece in &item.pieces {
            buf[at..at + piece.len()].copy_from_slice(piece);
            at += piece.len();
        }
    }
    finish(plan, buf, chain)
}

/// A commit of entries without bodies.
pub(crate) fn build_headers(plan: &mut Plan, chain: Chain) -> Built {
    let buf = DmaBuf::zeroed(plan.length);
    finish(plan, buf, chain)
}

fn finish(plan: &mut Plan, mut buf: DmaBuf, chain: Chain) -> Built {
    for (index, entry) in plan.entries.iter_mut().enumerate() {
        let begin = entry.header.body_offset as usize;
        let body = &buf[begin..begin + entry.header.body_len as usize];
        entry.header.body_crc = crc(body);
        let at = COMMIT_HEADER_BYTES + index * ENTRY_HEADER_BYTES;
        entry
            .header
            .encode_into(&mut buf[at..at + ENTRY_HEADER_BYTES]);
    }
    let header = CommitHeader {
        generation: chain.generation,
        shard: chain.shard,
        lsn: chain.lsn,
        prev_lsn: chain.prev_lsn,
        prev_crc: chain.prev_crc,
        length: u32::try_from(plan.length).expect("a commit is far below 4 GiB"),
        durable_lsn: chain.durable_lsn,
        entries: u32::try_from(plan.entries.len()).expect("bounded by its bytes"),
        checkpoint: chain.checkpoint,
    };
    let header_crc = header.encode_into(&mut buf);
    let buf = buf.freeze();
    let bytes = buf.bytes();
    Built {
        buf,
        bytes,
        header_crc,
    }
}

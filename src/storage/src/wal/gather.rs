//! What has been appended and no commit has taken yet. An append pushes here and copies nothing:
//! the order is fixed, the bytes stay in the request's frame until a commit's size is known.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_shards::sync::Notify;

use super::format::{COMMIT_HEADER_BYTES, ENTRY_HEADER_BYTES};
use crate::ids::TopicPartition;
use crate::log::Log;

/// Where a batch or run stands in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) base: i64,
    pub(crate) end: i64,
    /// The base offset of its segment, and the byte position in it.
    pub(crate) segment: i64,
    pub(crate) position: u64,
    pub(crate) max_timestamp: i64,
}

/// One append.
pub(crate) enum Item {
    Batch {
        log: Log,
        body: Bytes,
        span: Span,
        epoch: i32,
    },
    LogStart {
        log: Log,
        offset: i64,
    },
    Metadata {
        number: u64,
        body: Bytes,
    },
}

impl Item {
    fn bytes(&self) -> usize {
        ENTRY_HEADER_BYTES
            + match self {
                Item::Batch { body, .. } | Item::Metadata { body, .. } => body.len(),
                Item::LogStart { .. } => 0,
            }
    }
}

/// A run to be logged again. Its offsets and epochs are in its bytes already.
pub(crate) struct CarryItem {
    pub(crate) log: Log,
    pub(crate) span: Span,
    /// The run's bytes, in pieces that concatenate.
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) group: Rc<CarryGroup>,
}

impl CarryItem {
    pub(crate) fn body_len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// Counts the carried runs that are not durable yet.
#[derive(Default)]
pub(crate) struct CarryGroup {
    left: Cell<usize>,
    done: Notify,
}

impl CarryGroup {
    pub(crate) fn add(&self) {
        self.left.set(self.left.get() + 1);
    }

    pub(crate) fn finish_one(&self) {
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.done.notify_one();
        }
    }

    pub(crate) async fn finished(&self) {
        while self.left.get() > 0 {
            self.done.notified().await;
        }
    }
}

/// What one commit will take.
pub(crate) struct List {
    /// The commit's number, which its tickets carry.
    pub(crate) seq: u64,
    pub(crate) items: Vec<Item>,
    pub(crate) bytes: usize,
    /// Something in it must be durable at once.
    pub(crate) urgent: bool,
}

/// The lists that wait, and the runs to carry.
#[derive(Default)]
pub(crate) struct Gather {
    lists: VecDeque<List>,
    carries: VecDeque<CarryItem>,
    next_seq: u64,
    bytes: usize,
}

impl Gather {
    /// Fixes the item's order and returns the number of the commit that will take it. A list
    /// that holds `list_bytes_max` is closed, and another opened.
    pub(crate) fn push(&mut self, item: Item, urgent: bool, list_bytes_max: usize) -> u64 {
        let bytes = item.bytes();
        let fits = |list: &&mut List| list.bytes + bytes <= list_bytes_max;
        if self.lists.back_mut().filter(fits).is_none() {
            self.next_seq += 1;
            let seq = self.next_seq;
            let list = List {
                seq,
                items: Vec::new(),
                bytes: COMMIT_HEADER_BYTES,
                urgent: false,
            };
            self.lists.push_back(list);
        }
        let list = self.lists.back_mut().expect("pushed just now");
        list.items.push(item);
        list.bytes += bytes;
        list.urgent |= urgent;
        self.bytes += bytes;
        list.seq
    }

    /// Bytes of the front list as a commit, at most: grouping only saves entry headers.
    pub(crate) fn front_bytes(&self) -> Option<usize> {
        self.lists.front().map(|list| list.bytes)
    }

    pub(crate) fn pop(&mut self) -> Option<List> {
        let list = self.lists.pop_front()?;
        self.bytes -= list.bytes - COMMIT_HEADER_BYTES;
        Some(list)
    }

    /// Puts back a list that found no room.
    pub(crate) fn put_back(&mut self, list: List) {
        self.bytes += list.bytes - COMMIT_HEADER_BYTES;
        self.lists.push_front(list);
    }

    pub(crate) fn push_carry(&mut self, item: CarryItem) {
        item.group.add();
        self.carries.push_back(item);
    }

    /// Runs to carry that fit one commit of `bytes_max`, at least one if there is any.
    pub(crate) fn pop_carries(&mut self, bytes_max: usize) -> Vec<CarryItem> {
        let mut bytes = COMMIT_HEADER_BYTES;
        let mut taken = Vec::new();
        while let Some(next) = self.carries.front() {
            bytes += ENTRY_HEADER_BYTES + next.body_len();
            if bytes > bytes_max && !taken.is_empty() {
                break;
            }
            taken.extend(self.carries.pop_front());
        }
        taken
    }

    /// Puts back what found no room, in its order.
    pub(crate) fn put_back_carries(&mut self, items: Vec<CarryItem>) {
        for item in items.into_iter().rev() {
            self.carries.push_front(item);
        }
    }

    pub(crate) fn has_carries(&self) -> bool {
        !self.carries.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.carries.is_empty()
    }

    /// Bytes that no commit has taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything up to `seq` is to be made durable as soon as it is committed.
    pub(crate) fn make_urgent(&mut self, seq: u64) {
        for list in self.lists.iter_mut().filter(|list| list.seq <= seq) {
            list.urgent = true;
        }
    }

    /// The number of the last list, waiting or taken.
    pub(crate) fn last_seq(&self) -> u64 {
        self.next_seq
    }

    /// Forgets everything of a shard that has gone down, so that nothing keeps its logs alive.
    pub(crate) fn clear(&mut self) {
        self.lists.clear();
        self.carries.clear();
    }
}

/// The partition whose place an item changes, for the file's notes.
pub(crate) fn partition_of(item: &Item) -> Option<TopicPartition> {
    match item {
        Item::Batch { log, .. } | Item::LogStart { log, .. } => Some(log.topic_partition()),
        Item::Metadata { .. } => None,
    }
}

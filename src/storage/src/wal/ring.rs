//! The ring of a shard's WAL files: those in use, those ready to be, those just freed.
//!
//! Plain state, no I/O. A commit lies in one file; when it does not fit the current one, the next
//! ready file becomes current, whose header says where it begins and is durable already. Some
//! files are kept for what freeing one takes, without which a full ring could never be freed.

use std::collections::VecDeque;
use std::rc::Rc;

use tailwater_shards::planted::{self, Planted};

use super::file::WalFile;
use crate::config::{BLOCK, StorageConfig, WAL_FILES_MIN};

/// Where a commit goes.
pub(crate) struct Placement {
    pub(crate) file: Rc<WalFile>,
    pub(crate) position: u64,
    pub(crate) lsn: u64,
}

/// To free a file takes two things that take space themselves: carrying its small tails, and a
/// checkpoint, for which all that has been appended must be durable. Each of them is bounded by a
/// [`FREEING_PART`] of a file, so freeing one gains more than it takes. Appends leave three files
/// for it.
pub(crate) const KEEP_FOR_FREEING: usize = 3;

/// What wants a place, and so what has to stay for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Appends leave [`KEEP_FOR_FREEING`] files, and half a file at hand.
    Appends,
    /// Deletions on a disk where no new file may be made, with what was appended before them: of
    /// the half file that appends leave they leave a quarter, for freeing.
    MakingRoom,
    /// What freeing a file takes.
    Freeing,
}

/// The part of a file that carrying may take, and the part that appends may wait with.
pub(crate) const FREEING_PART: u64 = 4;

pub(crate) struct Ring {
    /// Oldest first; the last is the current one.
    in_use: VecDeque<Rc<WalFile>>,
    /// Headers durable, in the order of their start LSNs.
    ready: VecDeque<Rc<WalFile>>,
    freed: Vec<Rc<WalFile>>,
    position: u64,
    pub(crate) file_bytes: u64,
    bytes: u64,
    bytes_max: u64,
    next_seq: u64,
    next_start_lsn: u64,
    /// A file is being made or its header rewritten.
    preparing: bool,
    /// The disk's reserve forbids new files.
    growth_stopped: bool,
    /// And there was not even room for one.
    growth_failed: bool,
}

/// What the keeper of the ring is to do next.
pub(crate) enum Prepare {
    /// Rewrite the header of a freed file.
    Recycle {
        file: Rc<WalFile>,
        start_lsn: u64,
    },
    /// Make a new file.
    Create {
        seq: u64,
        bytes: u64,
        start_lsn: u64,
    },
    /// Remove a freed file that is smaller than the others.
    Remove(Rc<WalFile>),
    Nothing,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("in_use", &self.in_use)
            .field("ready", &self.ready)
            .field("freed", &self.freed)
            .field("position", &self.position)
            .field("bytes", &(self.bytes, self.bytes_max, self.file_bytes))
            .field("preparing", &self.preparing)
            .finish()
    }
}

impl Ring {
    pub(crate) fn new(config: &StorageConfig, first: Rc<WalFile>) -> Self {
        let file_bytes = config.wal_ring_file_bytes();
        Self {
            position: BLOCK,
            file_bytes,
            bytes: first.bytes,
            bytes_max: config
                .wal_bytes
                .max(first.bytes + WAL_FILES_MIN * file_bytes),
            next_seq: first.name.seq + 1,
            next_start_lsn: first.end_lsn(),
            in_use: VecDeque::from([first]),
            ready: VecDeque::new(),
            freed: Vec::new(),
            preparing: false,
            growth_stopped: false,
            growth_failed: false,
        }
    }

    pub(crate) fn current(&self) -> &Rc<WalFile> {
        self.in_use.back().expect("one file is always current")
    }

    /// A place for `len` bytes, or `None` until a file is freed or ready.
    pub(crate) fn place(&mut self, len: u64, purpose: For) -> Option<Placement> {
        if !self.leaves_enough(len, purpose) {
            return None;
        }
        if self.position + len > self.current().bytes {
            if self.ready.front().is_none_or(|next| next.capacity() < len) {
                return None;
            }
            let next = self.ready.pop_front().expect("looked at just now");
            self.in_use.push_back(next);
            self.position = BLOCK;
        }
        let position = self.position;
        self.position += len;
        let file = Rc::clone(self.current());
        let lsn = file.lsn_at(position);
        Some(Placement {
            file,
            position,
            lsn,
        })
    }

    /// Whether others have what they need when this has got its place. Appends do not take either
    /// what is left of a file that freeing has begun; while the current file is the only one in
    /// use, there is nothing to free. And they leave half a file that is there already: a disk
    /// that others fill makes no more of them, and then deletions have to be logged.
    fn leaves_enough(&self, len: u64, purpose: For) -> bool {
        let file = self.file_bytes.min(self.current().bytes);
        let at_hand = (self.ready.len() + self.freed.len()) as u64 * self.file_bytes;
        let left = self.current().bytes - self.position + at_hand;
        // A batch that is almost a file would wait for two of them: it takes what there is.
        let large = len > file / FREEING_PART;
        let single = self.in_use.len() == 1;
        match purpose {
            For::Freeing => true,
            For::MakingRoom => single || large || left >= len + file / 8,
            For::Appends => {
                let fits = self.position + len <= self.current().bytes;
                let kept = KEEP_FOR_FREEING + usize::from(!fits);
                (single || self.spare() >= kept) && (large || left >= len + file / 2)
            }
        }
    }

    /// How many files there are, or could be, after the current one.
    pub(crate) fn spare(&self) -> usize {
        let growth = if self.growth_stopped {
            0
        } else {
            self.bytes_max - self.bytes
        };
        let growth = usize::try_from(growth / self.file_bytes).unwrap_or(usize::MAX);
        let at_hand = self.ready.len() + self.freed.len() + usize::from(self.preparing);
        at_hand.saturating_add(growth)
    }

    fn can_grow(&self) -> bool {
        // The disk's reserve is there for a ring of one file, which could never be freed.
        let alone = self.in_use.len() == 1 && self.freed.is_empty();
        (!self.growth_stopped || (alone && !self.growth_failed))
            && self.bytes + self.file_bytes <= self.bytes_max
    }

    /// Parts in a hundred of what appends may take of the ring that are in use: whole files, and
    /// the current one's part. Freeing that begins by this number has time before they wait.
    pub(crate) fn used_percent(&self) -> u64 {
        let full: u64 = self.in_use.iter().map(|file| file.bytes).sum();
        let unused = self.current().bytes - self.position;
        let for_freeing = KEEP_FOR_FREEING as u64 * self.file_bytes;
        (full - unused) * 100 / (self.bytes_max - for_freeing)
    }

    /// The oldest file in use, if it is not the current one.
    pub(crate) fn oldest(&self) -> Option<Rc<WalFile>> {
        (self.in_use.len() > 1)
            .then(|| self.in_use.front().cloned())
            .flatten()
    }

    /// Where the last commit placed ends.
    pub(crate) fn end_lsn(&self) -> u64 {
        self.current().lsn_at(self.position)
    }

    /// Where replay begins: the start of the oldest file in use.
    pub(crate) fn replay_lsn(&self) -> u64 {
        self.in_use.front().map_or(0, |file| file.start_lsn.get())
    }

    /// Where replay begins once the oldest file is free.
    pub(crate) fn replay_lsn_without_oldest(&self) -> u64 {
        let next = 1 + usize::from(planted::is(Planted::WalFreedTooEarly));
        self.in_use
            .get(next)
            .map_or_else(|| self.replay_lsn(), |file| file.start_lsn.get())
    }

    /// The oldest file is free: everything in it is elsewhere, durably.
    pub(crate) fn free_oldest(&mut self) {
        assert!(self.in_use.len() > 1, "the current file is never freed");
        let file = self.in_use.pop_front().expect("asserted");
        self.freed.push(file);
    }

    pub(crate) fn set_growth_stopped(&mut self, stopped: bool) {
        self.growth_stopped = stopped;
        self.growth_failed = false;
    }

    pub(crate) fn is_growth_stopped(&self) -> bool {
        self.growth_stopped
    }

    /// The disk had no room for the file that [`Self::prepare`] asked for: none is made before it
    /// has been looked at again.
    pub(crate) fn not_prepared(&mut self) {
        assert!(self.preparing, "one file is prepared at a time");
        self.preparing = false;
        self.bytes -= self.file_bytes;
        self.growth_stopped = true;
        self.growth_failed = true;
    }

    /// One file is always ready, and freed ones are at once.
    pub(crate) fn prepare(&mut self) -> Prepare {
        if self.preparing {
            return Prepare::Nothing;
        }
        if let Some(index) = self
            .freed
            .iter()
            .position(|file| file.bytes < self.file_bytes)
        {
            let file = self.freed.swap_remove(index);
            self.bytes -= file.bytes;
            return Prepare::Remove(file);
        }
        if let Some(file) = self.freed.pop() {
            self.preparing = true;
            return Prepare::Recycle {
                file,
                start_lsn: self.next_start_lsn,
            };
        }
        if self.ready.is_empty() && self.can_grow() {
            self.preparing = true;
            self.bytes += self.file_bytes;
            self.next_seq += 1;
            return Prepare::Create {
                seq: self.next_seq - 1,
                bytes: self.file_bytes,
                start_lsn: self.next_start_lsn,
            };
        }
        Prepare::Nothing
    }

    /// The file that [`Self::prepare`] asked for has its header durably.
    pub(crate) fn prepared(&mut self, file: Rc<WalFile>) {
        assert_eq!(
            file.start_lsn.get(),
            self.next_start_lsn,
            "one file is prepared at a time"
        );
        self.next_start_lsn = file.end_lsn();
        self.preparing = false;
        self.ready.push_back(file);
    }

    pub(crate) fn check_invariants(&self) {
        assert!(!self.in_use.is_empty());
        let mut lsn = None;
        for file in self.in_use.iter().chain(&self.ready) {
            assert!(
                lsn.is_none_or(|lsn| lsn == file.start_lsn.get()),
                "files follow each other"
            );
            lsn = Some(file.end_lsn());
        }
        assert!(self.position >= BLOCK && self.position <= self.current().bytes);
        assert!(self.bytes <= self.bytes_max);
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = &Rc<WalFile>> {
        self.in_use.iter().chain(&self.ready).chain(&self.freed)
    }
}

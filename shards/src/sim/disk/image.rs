//! One file's bytes twice over: as programs see them, and as they would be found after a power
//! cut.
//!
//! A change (a completed write, a truncation) shows in the view at once and waits in
//! `unsynced` until a sync that was submitted after it covers it. Changes carry the disk's sequence
//! number; durable blocks remember the number of the change that they hold, so that an older
//! change which a cut happens to keep never overwrites a newer durable one.
//!
//! Model of a cut, for each unsynced change on its own: lost, kept, or torn, whole blocks or
//! single sectors at a time. Overlapping changes land in the order in which they completed: the
//! device's cache is coherent. A sector-torn block may become unreadable until it is written again,
//! or until the machine has been off once more: weak sectors come back, with what was written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sim::rng::Rng;

/// What direct I/O is aligned to, and the unit in which files are stored.
pub(crate) const BLOCK_BYTES: usize = 4096;
/// What a device writes atomically.
const SECTOR_BYTES: usize = 512;
/// In how many of a thousand cases a block torn by sectors cannot be read any more.
const UNREADABLE_OF_1000: u64 = 125;

/// 4 KiB of a file. A block that is in no map is a hole and reads as zeros.
#[derive(Clone, Debug)]
pub(crate) enum Block {
    /// Written, with zeros: kept without memory, since write-ahead logs are zero-filled.
    Zero,
    Data(Arc<[u8]>),
    /// Reads fail until it is written again.
    Unreadable,
}

impl Block {
    pub(crate) fn new(bytes: &[u8]) -> Block {
        assert_eq!(bytes.len(), BLOCK_BYTES, "a block is written whole");
        if bytes.iter().all(|byte| *byte == 0) {
            Block::Zero
        } else {
            Block::Data(Arc::from(bytes))
        }
    }

    /// Its bytes; none if it cannot be read.
    fn to_bytes(block: Option<&Block>) -> Option<Vec<u8>> {
        match block {
            None | Some(Block::Zero) => Some(vec![0; BLOCK_BYTES]),
            Some(Block::Data(bytes)) => Some(bytes.to_vec()),
            Some(Block::Unreadable) => None,
        }
    }
}

#[derive(Debug)]
enum Change {
    Write {
        first: u64,
        blocks: Vec<Block>,
        grows_to: Option<u64>,
    },
    Truncate {
        bytes: u64,
    },
}

#[derive(Debug)]
struct Unsynced {
    seq: u64,
    /// A sync over it failed: the kernel has dropped the pages, and no later sync covers it.
    abandoned: bool,
    change: Change,
}

#[derive(Clone, Debug)]
struct Durable {
    block: Block,
    seq: u64,
}

/// The bytes of one file, as seen and as durable.
#[derive(Debug, Default)]
pub(crate) struct FileImage {
    view: BTreeMap<u64, Block>,
    view_bytes: u64,
    durable: BTreeMap<u64, Durable>,
    durable_bytes: u64,
    durable_bytes_seq: u64,
    unsynced: Vec<Unsynced>,
    /// Torn blocks that cannot be read, and what they may hold when they can be again.
    weak: BTreeMap<u64, Block>,
    /// Space taken by `preallocate`, from the file's start.
    reserved_blocks: u64,
    allocated_blocks: u64,
}

/// What a cut does to one change.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    TornByBlock,
    TornBySector,
}

impl Fate {
    fn draw(rng: &mut Rng) -> Fate {
        match rng.range(0..8) {
            0..3 => Fate::Lost,
            3..5 => Fate::Kept,
            5 => Fate::TornByBlock,
            _ => Fate::TornBySector,
        }
    }
}

impl FileImage {
    pub(crate) fn bytes(&self) -> u64 {
        self.view_bytes
    }

    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.allocated_blocks * BLOCK_BYTES as u64
    }

    /// How much more space a write at `pos` would take.
    pub(crate) fn missing_bytes(&self, pos: u64, len: u64) -> u64 {
        let first = pos / BLOCK_BYTES as u64;
        let end = (pos + len).div_ceil(BLOCK_BYTES as u64);
        let from = first.max(self.reserved_blocks);
        if from >= end {
            return 0;
        }
        let there = self.view.range(from..end).count() as u64;
        (end - from - there) * BLOCK_BYTES as u64
    }

    /// Reads from the view: short only at the end of the file; none if a block is unreadable.
    pub(crate) fn read(&self, pos: u64, len: usize) -> Option<Vec<u8>> {
        let end = self.view_bytes.min(pos.saturating_add(len as u64));
        if pos >= end {
            return Some(Vec::new());
        }
        let wanted = usize::try_from(end - pos).expect("bounded by len");
        let mut out = vec![0; wanted];
        let first = pos / BLOCK_BYTES as u64;
        for (index, block) in self.view.range(first..end.div_ceil(BLOCK_BYTES as u64)) {
            let at = usize::try_from((index - first) * BLOCK_BYTES as u64).expect("within len");
            let upto = wanted.min(at + BLOCK_BYTES);
            match block {
                Block::Zero => {}
                Block::Data(bytes) => out[at..upto].copy_from_slice(&bytes[..upto - at]),
                Block::Unreadable => return None,
            }
        }
        Some(out)
    }

    /// A completed write of whole blocks.
    pub(crate) fn write(&mut self, seq: u64, pos: u64, data: &[u8]) {
        self.allocated_blocks += self.missing_bytes(pos, data.len() as u64) / BLOCK_BYTES as u64;
        let first = pos / BLOCK_BYTES as u64;
        let blocks: Vec<Block> = data.chunks_exact(BLOCK_BYTES).map(Block::new).collect();
        for (index, block) in (first..).zip(&blocks) {
            self.view.insert(index, block.clone());
        }
        let end = pos + data.len() as u64;
        let grows_to = (end > self.view_bytes).then_some(end);
        self.view_bytes = self.view_bytes.max(end);
        self.push(
            seq,
            Change::Write {
                first,
                blocks,
                grows_to,
            },
        );
    }

    pub(crate) fn truncate(&mut self, seq: u64, bytes: u64) {
        let kept = bytes.div_ceil(BLOCK_BYTES as u64);
        if bytes < self.view_bytes {
            self.view.split_off(&kept);
            zero_tail(&mut self.view, bytes, |block| block, |block| block);
            self.reserved_blocks = self.reserved_blocks.min(kept);
            let beyond = self.view.range(self.reserved_blocks..).count() as u64;
            self.allocated_blocks = self.reserved_blocks + beyond;
        }
        self.view_bytes = bytes;
        self.push(seq, Change::Truncate { bytes });
    }

    /// Takes the space up to `bytes`; the file's length stays as it is.
    pub(crate) fn preallocate(&mut self, bytes: u64) {
        let upto = bytes.div_ceil(BLOCK_BYTES as u64);
        if upto > self.reserved_blocks {
            self.allocated_blocks += self.missing_bytes(0, bytes) / BLOCK_BYTES as u64;
            self.reserved_blocks = upto;
        }
    }

    fn push(&mut self, seq: u64, change: Change) {
        debug_assert!(
            self.unsynced.last().is_none_or(|last| last.seq < seq),
            "changes are in order"
        );
        self.unsynced.push(Unsynced {
            seq,
            abandoned: false,
            change,
        });
    }

    /// Makes durable every change up to and including `covered`.
    pub(crate) fn sync(&mut self, covered: u64) {
        let changes = std::mem::take(&mut self.unsynced);
        for unsynced in changes {
            if unsynced.seq > covered || unsynced.abandoned {
                self.unsynced.push(unsynced);
            } else {
                self.persist(&unsynced);
            }
        }
    }

    /// Makes durable the one change numbered `seq` and nothing else, as a write with O_DSYNC does.
    pub(crate) fn sync_only(&mut self, seq: u64) {
        if let Some(at) = self
            .unsynced
            .iter()
            .position(|unsynced| unsynced.seq == seq)
        {
            let unsynced = self.unsynced.remove(at);
            self.persist(&unsynced);
        }
    }

    /// A sync that failed: what it covered may or may not survive, and never will for sure.
    pub(crate) fn abandon(&mut self, covered: u64) {
        for unsynced in &mut self.unsynced {
            unsynced.abandoned |= unsynced.seq <= covered;
        }
    }

    fn persist(&mut self, unsynced: &Unsynced) {
        let seq = unsynced.seq;
        match &unsynced.change {
            Change::Write {
                first,
                blocks,
                grows_to,
            } => {
                for (index, block) in (*first..).zip(blocks) {
                    self.persist_block(index, block.clone(), seq);
                }
                if let Some(bytes) = grows_to {
                    self.persist_size(*bytes, seq, false);
                }
            }
            Change::Truncate { bytes } => self.persist_size(*bytes, seq, true),
        }
    }

    fn persist_block(&mut self, index: u64, block: Block, seq: u64) {
        if self
            .durable
            .get(&index)
            .is_none_or(|durable| durable.seq < seq)
        {
            self.durable.insert(index, Durable { block, seq });
        }
    }

    fn persist_size(&mut self, bytes: u64, seq: u64, shrinks: bool) {
        if seq < self.durable_bytes_seq {
            return;
        }
        if shrinks && bytes < self.durable_bytes {
            let beyond = bytes.div_ceil(BLOCK_BYTES as u64);
            self.durable
                .retain(|index, durable| *index < beyond || durable.seq > seq);
            let wrap = |block| Durable { block, seq };
            zero_tail(&mut self.durable, bytes, |durable| &durable.block, wrap);
            self.durable_bytes = bytes;
        }
        self.durable_bytes = if shrinks {
            bytes
        } else {
            self.durable_bytes.max(bytes)
        };
        self.durable_bytes_seq = seq;
    }

    /// Runs of neighbouring blocks that are durable and that no unsynced change touches which came
    /// after them. Holes and zeros end a run.
    pub(crate) fn sure_runs(&self) -> Vec<Vec<u8>> {
        let mut end = self.durable_bytes.div_ceil(BLOCK_BYTES as u64);
        let mut unsure: Vec<(u64, u64, u64)> = Vec::new();
        for unsynced in &self.unsynced {
            let seq = unsynced.seq;
            match &unsynced.change {
                Change::Write { first, blocks, .. } => {
                    unsure.push((*first, *first + blocks.len() as u64, seq));
                }
                Change::Truncate { bytes } if seq >= self.durable_bytes_seq => {
                    end = end.min(bytes / BLOCK_BYTES as u64);
                }
                Change::Truncate { .. } => {}
            }
        }
        let mut runs: Vec<Vec<u8>> = Vec::new();
        let mut next = None;
        for (index, durable) in self.durable.range(..end) {
            let touched = unsure
                .iter()
                .any(|(from, upto, seq)| (*from..*upto).contains(index) && *seq > durable.seq);
            let Block::Data(bytes) = &durable.block else {
                continue;
            };
            if touched {
                continue;
            }
            if next != Some(*index) {
                runs.push(Vec::new());
            }
            next = Some(index + 1);
            if let Some(run) = runs.last_mut() {
                run.extend_from_slice(bytes);
            }
        }
        runs
    }

    /// The power fails: every unsynced change meets its own fate, and what is then durable is
    /// what the next start sees.
    pub(crate) fn cut(&mut self, rng: &mut Rng) {
        self.weak_come_back(rng);
        for unsynced in std::mem::take(&mut self.unsynced) {
            let fate = Fate::draw(rng);
            match unsynced.change {
                Change::Write {
                    first,
                    blocks,
                    grows_to,
                } => {
                    for (index, block) in (first..).zip(blocks) {
                        self.cut_block(index, block, unsynced.seq, fate, rng);
                    }
                    if let Some(bytes) = grows_to {
                        self.cut_growth(bytes, unsynced.seq, rng);
                    }
                }
                Change::Truncate { bytes } => {
                    if rng.coin() {
                        self.persist_size(bytes, unsynced.seq, true);
                    }
                }
            }
        }
        let blocks = self.durable_bytes.div_ceil(BLOCK_BYTES as u64);
        self.durable.split_off(&blocks);
        self.view_bytes = self.durable_bytes;
        self.view = self
            .durable
            .iter()
            .map(|(at, durable)| (*at, durable.block.clone()))
            .collect();
        self.reserved_blocks = self.reserved_blocks.min(blocks);
        let beyond = self.view.range(self.reserved_blocks..).count() as u64;
        self.allocated_blocks = self.reserved_blocks + beyond;
    }

    fn cut_block(&mut self, index: u64, block: Block, seq: u64, fate: Fate, rng: &mut Rng) {
        match fate {
            Fate::Lost => {}
            Fate::Kept => self.persist_block(index, block, seq),
            Fate::TornByBlock => {
                if rng.coin() {
                    self.persist_block(index, block, seq);
                }
            }
            Fate::TornBySector => {
                let old = self.durable.get(&index);
                if old.is_some_and(|durable| durable.seq > seq) {
                    return;
                }
                let torn = tear(old.map(|durable| &durable.block), &block, rng);
                if matches!(torn, Block::Unreadable) {
                    self.weak.insert(index, block);
                }
                self.persist_block(index, torn, seq);
            }
        }
    }

    /// Some blocks that could not be read can be now.
    fn weak_come_back(&mut self, rng: &mut Rng) {
        for (index, block) in std::mem::take(&mut self.weak) {
            let Some(durable) = self.durable.get_mut(&index) else {
                continue;
            };
            if !matches!(durable.block, Block::Unreadable) {
                continue;
            }
            if rng.coin() {
                durable.block = block;
            } else {
                self.weak.insert(index, block);
            }
        }
    }

    fn cut_growth(&mut self, bytes: u64, seq: u64, rng: &mut Rng) {
        let old = self.durable_bytes;
        match rng.range(0..5) {
            0 | 1 => {}
            2 if bytes > old => {
                let blocks = (bytes - old).div_ceil(BLOCK_BYTES as u64);
                let part = old + rng.range(0..blocks) * BLOCK_BYTES as u64;
                self.persist_size(part.min(bytes), seq, false);
            }
            _ => self.persist_size(bytes, seq, false),
        }
    }

    /// Flips bits where they lie, behind every program's back. False beyond the end.
    pub(crate) fn corrupt(&mut self, offset: u64, mask: u8) -> bool {
        if offset >= self.view_bytes {
            return false;
        }
        let index = offset / BLOCK_BYTES as u64;
        let at = usize::try_from(offset % BLOCK_BYTES as u64).expect("below a block");
        let flip = |block: Option<&Block>| {
            let mut bytes = Block::to_bytes(block)?;
            bytes[at] ^= mask;
            Some(Block::new(&bytes))
        };
        if let Some(block) = flip(self.view.get(&index)) {
            self.view.insert(index, block);
        }
        if let Some(durable) = self.durable.get_mut(&index)
            && let Some(block) = flip(Some(&durable.block))
        {
            durable.block = block;
        }
        true
    }

    /// Makes the block at `offset` fail its reads until it is written again.
    pub(crate) fn make_unreadable(&mut self, offset: u64) {
        let index = offset / BLOCK_BYTES as u64;
        self.view.insert(index, Block::Unreadable);
        if let Some(durable) = self.durable.get_mut(&index) {
            durable.block = Block::Unreadable;
        }
    }

    /// Puts back what the block at `offset` held, behind every program's back. False beyond the end.
    pub(crate) fn restore(&mut self, offset: u64, bytes: &[u8]) -> bool {
        if offset >= self.view_bytes {
            return false;
        }
        let index = offset / BLOCK_BYTES as u64;
        let mut whole = vec![0; BLOCK_BYTES];
        whole[..bytes.len()].copy_from_slice(bytes);
        let block = Block::new(&whole);
        if let Some(durable) = self.durable.get_mut(&index) {
            durable.block = block.clone();
        }
        self.view.insert(index, block);
        true
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.unsynced.is_empty()
    }
}

/// Some sectors of `new` over `old`; unreadable at times, as a block torn within is on some disks.
fn tear(old: Option<&Block>, new: &Block, rng: &mut Rng) -> Block {
    let (Some(mut bytes), Some(new_bytes)) = (Block::to_bytes(old), Block::to_bytes(Some(new)))
    else {
        return Block::Unreadable;
    };
    let sectors = BLOCK_BYTES / SECTOR_BYTES;
    let mut kept = 0;
    for sector in 0..sectors {
        if rng.coin() {
            kept += 1;
            let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            bytes[range.clone()].copy_from_slice(&new_bytes[range]);
        }
    }
    if kept != 0 && kept != sectors && rng.chance(UNREADABLE_OF_1000) {
        return Block::Unreadable;
    }
    Block::new(&bytes)
}

/// What a shrinking truncation leaves of its last block reads as zeros if the file grows again.
fn zero_tail<T>(
    map: &mut BTreeMap<u64, T>,
    bytes: u64,
    block_of: impl Fn(&T) -> &Block,
    wrap: impl Fn(Block) -> T,
) {
    let at = usize::try_from(bytes % BLOCK_BYTES as u64).expect("below a block");
    let index = bytes / BLOCK_BYTES as u64;
    if at == 0 {
        return;
    }
    if let Some(Block::Data(old)) = map.get(&index).map(block_of) {
        let mut kept = old.to_vec();
        kept[at..].fill(0);
        map.insert(index, wrap(Block::new(&kept)));
    }
}

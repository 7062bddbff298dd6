//! Walks one WAL of a past generation from where its checkpoint says to where it ends.
//!
//! At the first commit that does not hold, what comes later decides: if a later valid commit, the
//! checkpoint or a seal says that it had been durable, it is damage, which is named and contained;
//! otherwise it is the torn tail, and the WAL ends there.
#![deny(clippy::indexing_slicing)]

use std::path::PathBuf;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};

use crate::config::BLOCK;
use crate::error::Corrupt;
use crate::fields::blocks;
use crate::ids::Generation;
use crate::wal::file::usize_of;
use crate::wal::format::{
    COMMIT_HEADER_BYTES, CommitHeader, ENTRY_HEADER_BYTES, EntryHeader, EntryKind, entry_headers,
    mended, mended_body, mended_entry,
};
use crate::wal::reader::OldFile;
use crate::wal::witness::Reach;

/// The WAL of one generation and shard, its files by start LSN.
pub(crate) struct OldWal {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    pub(crate) files: Vec<OldFile>,
    /// Files of it whose place in the stream nobody can tell.
    pub(crate) unplaced: Vec<PathBuf>,
}

/// Who takes what a scan finds.
pub(crate) trait Sink {
    /// A valid entry; `position` is its body's in the file with this index.
    fn entry(&mut self, header: &EntryHeader, body: &[u8], file: usize, position: u64);
    /// An acknowledged entry whose body does not hold.
    fn lost(&mut self, header: &EntryHeader, damage: &Corrupt);
    /// Damage that cost nothing.
    fn noticed(&mut self, damage: Corrupt);
    /// Acknowledged commits whose entries nobody can read.
    fn lost_range(&mut self, lost: LostRange);
}

/// What is known from elsewhere of a WAL's end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    /// Where replay begins.
    pub(crate) from_lsn: u64,
    /// Everything that begins below was durable.
    pub(crate) durable_lsn: u64,
    /// A later generation has sealed the WAL here.
    pub(crate) seal: Option<u64>,
    /// What the witness knows of.
    pub(crate) witnessed: Option<Reach>,
}

impl Known {
    /// Whether the witness knows all that the commits between had to say.
    fn accounts_for(&self, from: u64, upto: u64) -> bool {
        self.witnessed
            .is_some_and(|reach| reach.accounts_for(from, upto))
    }
}

/// Commits that are gone.
#[derive(Debug, Clone)]
pub(crate) struct LostRange {
    pub(crate) from: u64,
    /// Which of the WAL's files they were in, if it is there.
    pub(crate) file: Option<usize>,
    /// The witness knows what was in them.
    pub(crate) accounted: bool,
    pub(crate) damage: Corrupt,
}

/// Where a walk through a WAL stands, and what it has seen.
struct Walk {
    known: Known,
    scanned: Scanned,
    /// The commit before, if it is known.
    before: Option<(u64, u32)>,
    lsn: u64,
    proven_lsn: u64,
    content_end: u64,
    /// The commits after the first place that did not hold: looked for once, however many such
    /// places there are.
    ahead: Option<Vec<Seen>>,
}

/// How a scan ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scanned {
    pub(crate) end_lsn: u64,
    pub(crate) commits: u64,
    pub(crate) torn: bool,
    /// The number of the last checkpoint that a commit says was durable.
    pub(crate) checkpoint: u64,
    /// From here on nothing says that what was found had been durable.
    pub(crate) unproven_lsn: Option<u64>,
}

/// A commit behind a place that does not hold; what it and all valid ones behind it tell.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: u64,
    durable_lsn: u64,
    checkpoint: u64,
}

/// What the valid commits after some place tell.
#[derive(Debug, Default)]
struct Evidence {
    /// The first of them.
    next: Option<u64>,
    durable_lsn: u64,
    checkpoint: u64,
}

impl Evidence {
    fn after(lsn: u64, commits: &[Seen]) -> Self {
        let first = commits.partition_point(|seen| seen.at <= lsn);
        commits.get(first).map_or_else(Self::default, |seen| Self {
            next: Some(seen.at),
            durable_lsn: seen.durable_lsn,
            checkpoint: seen.checkpoint,
        })
    }
}

/// A commit that was found where one was expected.
enum Found {
    Whole(CommitHeader, u32, Bytes),
    /// The header holds, something after it does not.
    Broken(CommitHeader, u32, Option<Bytes>),
    /// The WAL went on in the next file.
    Jump(u64),
    Nothing,
}

impl OldWal {
    fn index_of(&self, lsn: u64) -> Option<usize> {
        self.files.iter().position(|file| file.covers(lsn))
    }

    async fn look(&mut self, lsn: u64, before: Option<(u64, u32)>) -> Found {
        let Some(index) = self.index_of(lsn) else {
            return Found::Nothing;
        };
        let Some(file) = self.files.get_mut(index) else {
            return Found::Nothing;
        };
        if let Some((header, sum)) = file.header_at(lsn).await {
            let first = header.prev_lsn == lsn;
            let follows = match before {
                Some((prev_lsn, prev_crc)) => {
                    header.prev_lsn == prev_lsn && header.prev_crc == prev_crc
                }
                None => header.prev_lsn < lsn || first,
            };
            if follows {
                let commit = file.commit(&header).await;
                return match commit {
                    Some(commit) if is_whole(&header, &commit) => Found::Whole(header, sum, commit),
                    commit => Found::Broken(header, sum, commit),
                };
            }
        }
        let next_lsn = file.end_lsn();
        match self.first_of(next_lsn).await {
            Some(next) if jumps(&next, lsn, before) => Found::Jump(next_lsn),
            _ => Found::Nothing,
        }
    }

    /// The first commit of the file that begins at this LSN.
    async fn first_of(&mut self, lsn: u64) -> Option<CommitHeader> {
        let file = self.files.iter_mut().find(|file| file.start_lsn == lsn)?;
        file.header_at(lsn).await.map(|(header, _)| header)
    }

    /// The commits after the LSN whose headers hold, in order.
    async fn commits_after(&mut self, lsn: u64) -> Vec<Seen> {
        let mut seen = Vec::new();
        for file in self.files.iter_mut().filter(|file| file.end_lsn() > lsn) {
            let (began_after, found_before) = (file.start_lsn > lsn, seen.len());
            let mut at = match began_after {
                true => file.start_lsn,
                false => lsn + BLOCK,
            };
            while at < file.search_end() {
                match file.header_at(at).await {
                    Some((header, _)) => {
                        seen.push(Seen {
                            at,
                            durable_lsn: header.durable_lsn,
                            checkpoint: header.checkpoint,
                        });
                        at = header.end_lsn();
                    }
                    None => at += BLOCK,
                }
            }
            // Of the commits under way at the end those before others may be missing, the first of a
            // file, too. Together they do not fill one: behind a file without a commit there is none.
            if began_after && seen.len() == found_before {
                break;
            }
        }
        seen.sort_by_key(|seen| seen.at);
        // What each tells, and all behind it.
        let mut behind = (0, 0);
        for seen in seen.iter_mut().rev() {
            behind = (
                behind.0.max(seen.durable_lsn),
                behind.1.max(seen.checkpoint),
            );
            (seen.durable_lsn, seen.checkpoint) = behind;
        }
        seen
    }

    /// A commit whose header does not hold. Where it begins the next one knows, or the one before it;
    /// how much it holds its entries' own headers say: each has a checksum of its own, and the bodies
    /// begin where the headers end. `None`: nobody can tell what was in it.
    async fn without_header(
        &mut self,
        lsn: u64,
        next: Option<u64>,
        durable: u64,
    ) -> Option<(CommitHeader, Bytes)> {
        if let Some(next) = next {
            let after = self.index_of(next)?;
            let (after, _) = self.files.get_mut(after)?.header_at(next).await?;
            if after.prev_lsn != lsn {
                return None;
            }
        }
        // With nothing behind it, what was durable ends with it or later.
        let upto = next.unwrap_or(durable);
        let index = self.index_of(lsn)?;
        let file = self.files.get_mut(index)?;
        let place = file.position_of(lsn);
        let block = file.at(place, tailwater_shards::BLOCK_BYTES).await?;
        if CommitHeader::decode(&block).is_some() {
            // It holds and belongs elsewhere: what was here is not.
            return None;
        }
        let rest = usize_of(upto.min(file.end_lsn()) - lsn);
        let headers = block.get(COMMIT_HEADER_BYTES..)?;
        let (count, length) = if headers.iter().all(|byte| *byte == 0) {
            // One that held nothing: a block of zeros could be any commit that is gone.
            let (header, _) = mended(&block, CommitHeader::decode)?;
            (header.lsn == lsn && header.entries == 0).then_some((0, block.len()))?
        } else {
            let first = EntryHeader::decode(headers.get(..ENTRY_HEADER_BYTES)?)?;
            let end = usize::try_from(first.body_offset).ok()?;
            let count = end.checked_sub(COMMIT_HEADER_BYTES)? / ENTRY_HEADER_BYTES;
            if end > rest || COMMIT_HEADER_BYTES + count * ENTRY_HEADER_BYTES != end {
                return None;
            }
            let headers = file.at(place, end).await?;
            let last = EntryHeader::decode(headers.get(end - ENTRY_HEADER_BYTES..)?)?;
            let bodies_end = usize_of(u64::from(last.body_offset) + u64::from(last.body_len));
            if bodies_end < end {
                return None;
            }
            (count, blocks(bodies_end))
        };
        let fits = match next.is_some_and(|next| file.covers(next)) {
            true => length == rest,
            false => length <= rest,
        };
        let header = CommitHeader {
            generation: self.generation,
            shard: self.shard,
            lsn,
            prev_lsn: lsn,
            prev_crc: 0,
            length: u32::try_from(length).ok()?,
            durable_lsn: 0,
            entries: u32::try_from(count).ok()?,
            checkpoint: 0,
        };
        let commit = file.at(place, length).await?;
        fits.then_some((header, commit))
    }

    /// Where the next file begins, if nothing was ever written at the LSN, and that file begins with
    /// a commit whose header does not hold: the damage is there.
    async fn goes_on_in_next_file(&mut self, lsn: u64) -> Option<u64> {
        let index = self.index_of(lsn)?;
        let file = self.files.get_mut(index)?;
        if file.start_lsn == lsn {
            return None;
        }
        let is_unused = file.is_unused(lsn).await;
        let begin = file.end_lsn();
        let is_there = self.files.iter().any(|file| file.start_lsn == begin);
        (is_unused && is_there && self.first_of(begin).await.is_none()).then_some(begin)
    }

    /// Walks the WAL and hands every entry over, in order.
    pub(crate) async fn scan(&mut self, known: Known, sink: &mut impl Sink) -> Scanned {
        let mut walk = Walk::new(known);
        while known.seal.is_none_or(|seal| walk.lsn < seal) {
            match self.look(walk.lsn, walk.before).await {
                Found::Whole(header, sum, commit) => {
                    self.hand_over(&header, &commit, sink);
                    walk.pass(&header, sum, has_content(&header, &commit));
                }
                Found::Jump(next) => walk.go_on(next),
                found => {
                    if !self.judge(&mut walk, found, sink).await {
                        break;
                    }
                }
            }
        }
        walk.end()
    }

    /// Torn or rotten? `false`: torn, and the WAL ends here. Damage is named, what can be read of it
    /// handed over, and passed.
    async fn judge(&mut self, walk: &mut Walk, found: Found, sink: &mut impl Sink) -> bool {
        let (known, lsn) = (walk.known, walk.lsn);
        if walk.ahead.is_none() {
            walk.ahead = Some(self.commits_after(lsn).await);
        }
        let evidence = Evidence::after(lsn, walk.ahead.as_deref().unwrap_or_default());
        walk.scanned.checkpoint = walk.scanned.checkpoint.max(evidence.checkpoint);
        walk.proven_lsn = walk.proven_lsn.max(evidence.durable_lsn);
        let durable = evidence.durable_lsn.max(known.durable_lsn);
        let durable = durable.max(known.seal.unwrap_or(0));
        if durable <= lsn || planted::is(Planted::RotTakenForTornTail) {
            walk.scanned.torn = evidence.next.is_some() || matches!(found, Found::Broken(..));
            return false;
        }
        if let Found::Broken(header, sum, commit) = found {
            self.hand_over_broken(&header, commit.as_ref(), known, sink);
            walk.go_on(header.end_lsn());
            walk.before = Some((lsn, sum));
            return true;
        }
        walk.before = None;
        if let Some((header, commit)) = self.without_header(lsn, evidence.next, durable).await {
            let what = "a commit's header is damaged, and its entries are read without it";
            sink.noticed(self.damage_at(lsn, what));
            self.hand_over_broken(&header, Some(&commit), known, sink);
            walk.go_on(header.end_lsn());
            return true;
        }
        let begin = self.goes_on_in_next_file(lsn).await;
        if let Some(begin) = begin.filter(|begin| *begin < durable) {
            walk.go_on(begin);
            return true;
        }
        let next = evidence.next.unwrap_or(durable);
        let what = "a commit that had been durable is damaged";
        let lost = LostRange {
            from: lsn,
            file: self.index_of(lsn),
            accounted: known.accounts_for(lsn, next),
            damage: self.damage_at(lsn, what),
        };
        sink.lost_range(lost);
        walk.go_on(next);
        true
    }

    fn damage_at(&self, lsn: u64, what: &str) -> Corrupt {
        let place = self.index_of(lsn).and_then(|index| self.files.get(index));
        match place {
            Some(file) => Corrupt {
                file: file.path.clone(),
                position: file.position_of(lsn),
                what: what.to_owned(),
            },
            None => Corrupt {
                file: self.unplaced.first().cloned().unwrap_or_else(|| {
                    format!(
                        "WAL of generation {}, shard {}",
                        self.generation, self.shard
                    )
                    .into()
                }),
                position: if self.unplaced.is_empty() { lsn } else { 0 },
                what: format!("{what}: its file is missing, or its place cannot be read"),
            },
        }
    }

    fn hand_over(&self, header: &CommitHeader, commit: &Bytes, sink: &mut impl Sink) {
        let entries = entry_headers(header, commit).flatten();
        self.hand_over_entries(entries, header, commit, sink);
    }

    /// Those whose bodies hold.
    fn hand_over_entries(
        &self,
        entries: impl Iterator<Item = EntryHeader>,
        header: &CommitHeader,
        commit: &Bytes,
        sink: &mut impl Sink,
    ) {
        let Some(index) = self.index_of(header.lsn) else {
            return;
        };
        let Some(file) = self.files.get(index) else {
            return;
        };
        let begin = file.position_of(header.lsn);
        for entry in entries {
            if let Some(body) = entry.body(commit) {
                let position = begin + u64::from(entry.body_offset);
                sink.entry(&entry, body, index, position);
            }
        }
    }

    /// The entries that hold are as good as any; the others are named.
    fn hand_over_broken(
        &self,
        header: &CommitHeader,
        commit: Option<&Bytes>,
        known: Known,
        sink: &mut impl Sink,
    ) {
        let damage = self.damage_at(header.lsn, "a commit that had been durable is damaged");
        let lost = || LostRange {
            from: header.lsn,
            file: self.index_of(header.lsn),
            accounted: known.accounts_for(header.lsn, header.end_lsn()),
            damage: damage.clone(),
        };
        let Some(commit) = commit else {
            return sink.lost_range(lost());
        };
        self.hand_over(header, commit, sink);
        for (index, entry) in entry_headers(header, commit).enumerate() {
            let entry = entry.or_else(|| {
                let entry = mended_entry(commit, index)?;
                let what = "an entry's header has a wrong bit, which its checksum tells";
                let damage = self.damage_at(header.lsn, what);
                self.hand_over_entries(std::iter::once(entry), header, commit, sink);
                sink.noticed(damage);
                Some(entry)
            });
            match entry {
                None => sink.lost_range(lost()),
                Some(entry) if entry.body(commit).is_some() => {}
                Some(entry) => match mended_body(&entry, commit) {
                    Some(body) => {
                        // Of metadata nobody reads the place again.
                        sink.entry(&entry, &body, 0, 0);
                        let what = "metadata have a wrong bit, which their checksum tells";
                        sink.noticed(Corrupt {
                            what: what.to_owned(),
                            ..damage_of(&entry, &damage)
                        });
                    }
                    None => sink.lost(&entry, &damage_of(&entry, &damage)),
                },
            }
        }
    }
}

/// What is said of an entry whose body does not hold.
fn damage_of(entry: &EntryHeader, commit: &Corrupt) -> Corrupt {
    let what = match entry.kind {
        EntryKind::Metadata => "metadata that had been durable is damaged".into(),
        _ => format!(
            "records {}..{} of {} that had been durable are damaged",
            entry.base, entry.end, entry.tp
        ),
    };
    Corrupt {
        file: commit.file.clone(),
        position: commit.position + u64::from(entry.body_offset),
        what,
    }
}

impl Walk {
    fn new(known: Known) -> Self {
        Self {
            known,
            scanned: Scanned {
                end_lsn: known.from_lsn,
                ..Scanned::default()
            },
            before: None,
            lsn: known.from_lsn,
            proven_lsn: known.durable_lsn,
            content_end: 0,
            ahead: None,
        }
    }

    fn go_on(&mut self, lsn: u64) {
        self.lsn = lsn;
        self.scanned.end_lsn = lsn;
    }

    /// A commit that holds.
    fn pass(&mut self, header: &CommitHeader, sum: u32, has_content: bool) {
        self.scanned.commits += 1;
        self.scanned.checkpoint = self.scanned.checkpoint.max(header.checkpoint);
        self.proven_lsn = self.proven_lsn.max(header.durable_lsn);
        if has_content {
            self.content_end = header.end_lsn();
        }
        self.before = Some((header.lsn, sum));
        self.go_on(header.end_lsn());
    }

    fn end(self) -> Scanned {
        let mut scanned = self.scanned;
        let proven_lsn = self.proven_lsn.max(self.known.from_lsn);
        if let Some(seal) = self.known.seal {
            scanned.end_lsn = seal.max(self.known.from_lsn);
        } else if self.content_end > self.proven_lsn {
            scanned.unproven_lsn = Some(proven_lsn);
        } else {
            // Commits that hold nothing need not be there tomorrow.
            scanned.end_lsn = scanned.end_lsn.min(proven_lsn);
        }
        scanned
    }
}

/// Whether there is anything in the commit that the next start does not know from elsewhere.
fn has_content(header: &CommitHeader, commit: &Bytes) -> bool {
    let mut entries = entry_headers(header, commit).flatten();
    entries.any(|entry| entry.kind != EntryKind::Seal)
}

fn is_whole(header: &CommitHeader, commit: &Bytes) -> bool {
    entry_headers(header, commit)
        .all(|entry| entry.is_some_and(|entry| entry.body(commit).is_some()))
}

/// Whether the first commit of the next file follows the one before `lsn` directly.
fn jumps(next: &CommitHeader, lsn: u64, before: Option<(u64, u32)>) -> bool {
    match before {
        Some((prev_lsn, prev_crc)) => next.prev_lsn == prev_lsn && next.prev_crc == prev_crc,
        None => next.prev_lsn < lsn || next.prev_lsn == next.lsn,
    }
}

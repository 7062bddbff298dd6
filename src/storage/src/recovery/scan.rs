//! Walks one WAL of a past generation from where its checkpoint says to where it ends.
//!
//! At the first commit that does not hold, what comes later decides: if a later valid commit, the
//! checkpoint or a seal says that it had been durable, it is damage, which is named and contained;
//! otherwise it is the torn tail, and the WAL ends there.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};

use crate::config::BLOCK;
use crate::error::Corrupt;
use crate::fields::blocks;
use crate::ids::Generation;
use crate::wal::file::usize_of;
use crate::wal::format::{
    COMMIT_HEADER_BYTES, CommitHeader, ENTRY_HEADER_BYTES, EntryHeader, EntryKind, entry_headers,
};
use crate::wal::reader::OldFile;

/// The WAL of one generation and shard, its files by start LSN.
pub(crate) struct OldWal {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    pub(crate) files: Vec<OldFile>,
}

/// Who takes what a scan finds.
pub(crate) trait Sink {
    /// A valid entry; `position` is its body's in the file with this index.
    fn entry(&mut self, header: &EntryHeader, body: &[u8], file: usize, position: u64, lsn: u64);
    /// An acknowledged entry whose body does not hold.
    fn lost(&mut self, header: &EntryHeader, damage: &Corrupt);
    /// Damage that cost nothing.
    fn noticed(&mut self, damage: Corrupt);
    /// Acknowledged entries of which nothing is known.
    fn lost_unknown(&mut self, damage: &Corrupt);
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

/// What the valid commits after some place tell.
#[derive(Debug, Default)]
struct Evidence {
    /// The first of them.
    next: Option<u64>,
    durable_lsn: u64,
    checkpoint: u64,
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

    /// What the commits after the LSN tell.
    async fn evidence_after(&mut self, lsn: u64) -> Evidence {
        let mut evidence = Evidence::default();
        for file in self.files.iter_mut().filter(|file| file.end_lsn() > lsn) {
            let mut at = if file.start_lsn > lsn {
                file.start_lsn
            } else {
                lsn + BLOCK
            };
            let began_after = file.start_lsn > lsn;
            while at < file.search_end() {
                match file.header_at(at).await {
                    Some((header, _)) => {
                        evidence.next.get_or_insert(at);
                        evidence.durable_lsn = evidence.durable_lsn.max(header.durable_lsn);
                        evidence.checkpoint = evidence.checkpoint.max(header.checkpoint);
                        at = header.end_lsn();
                    }
                    // A file begins with a commit or has none: its rest need not be searched.
                    None if began_after && at == file.start_lsn => break,
                    None => at += BLOCK,
                }
            }
        }
        evidence
    }

    /// A commit whose header does not hold. Where it begins the next one knows, and how much it
    /// holds its entries' own headers say: each has a checksum of its own, and the bodies begin
    /// where the headers end. `None`: nobody can tell what was in it.
    async fn without_header(
        &mut self,
        lsn: u64,
        next: Option<u64>,
    ) -> Option<(CommitHeader, Bytes)> {
        let next = next?;
        let after = self.index_of(next)?;
        let (after, _) = self.files.get_mut(after)?.header_at(next).await?;
        if after.prev_lsn != lsn {
            return None;
        }
        let index = self.index_of(lsn)?;
        let file = self.files.get_mut(index)?;
        let place = file.position_of(lsn);
        let block = file.at(place, tailwater_shards::BLOCK_BYTES).await?;
        if CommitHeader::decode(&block).is_some() {
            // It holds and belongs elsewhere: what was here is not.
            return None;
        }
        let rest = usize_of(next.min(file.end_lsn()) - lsn);
        let headers = block.get(COMMIT_HEADER_BYTES..)?;
        let (count, length) = if headers.iter().all(|byte| *byte == 0) {
            (0, block.len())
        } else {
            let first = EntryHeader::decode(headers.get(..ENTRY_HEADER_BYTES)?)?;
            let end = usize::try_from(first.body_offset).ok()?;
            let count = end.checked_sub(COMMIT_HEADER_BYTES)? / ENTRY_HEADER_BYTES;
            if end > rest || COMMIT_HEADER_BYTES + count * ENTRY_HEADER_BYTES != end {
                return None;
            }
            let headers = file.at(place, end).await?;
            let last = EntryHeader::decode(headers.get(end - ENTRY_HEADER_BYTES..)?)?;
            let bodies_end = u64::from(last.body_offset) + u64::from(last.body_len);
            (count, blocks(usize_of(bodies_end)))
        };
        let fits = match file.covers(next) {
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

    /// Walks the WAL and hands every entry over, in order.
    pub(crate) async fn scan(&mut self, known: Known, sink: &mut impl Sink) -> Scanned {
        let mut scanned = Scanned {
            end_lsn: known.from_lsn,
            ..Scanned::default()
        };
        let mut before = None;
        let mut lsn = known.from_lsn;
        let mut proven_lsn = known.durable_lsn;
        let mut content_end = 0;
        while known.seal.is_none_or(|seal| lsn < seal) {
            let found = self.look(lsn, before).await;
            match found {
                Found::Whole(header, sum, commit) => {
                    self.hand_over(&header, &commit, sink);
                    scanned.commits += 1;
                    proven_lsn = proven_lsn.max(header.durable_lsn);
                    if has_content(&header, &commit) {
                        content_end = header.end_lsn();
                    }
                    scanned.checkpoint = scanned.checkpoint.max(header.checkpoint);
                    before = Some((lsn, sum));
                    lsn = header.end_lsn();
                    scanned.end_lsn = lsn;
                    continue;
                }
                Found::Jump(next) => {
                    lsn = next;
                    scanned.end_lsn = lsn;
                    continue;
                }
                Found::Broken(..) | Found::Nothing => {}
            }
            let Evidence {
                next,
                durable_lsn,
                checkpoint,
            } = self.evidence_after(lsn).await;
            scanned.checkpoint = scanned.checkpoint.max(checkpoint);
            proven_lsn = proven_lsn.max(durable_lsn);
            let durable = durable_lsn
                .max(known.durable_lsn)
                .max(known.seal.unwrap_or(0));
            if durable <= lsn || planted::is(Planted::RotTakenForTornTail) {
                scanned.torn = next.is_some() || matches!(found, Found::Broken(..));
                break;
            }
            match found {
                Found::Broken(header, sum, commit) => {
                    self.hand_over_broken(&header, commit.as_ref(), sink);
                    before = Some((lsn, sum));
                    lsn = header.end_lsn();
                }
                _ => {
                    before = None;
                    if let Some((header, commit)) = self.without_header(lsn, next).await {
                        let what =
                            "a commit's header is damaged, and its entries are read without it";
                        sink.noticed(self.damage_at(lsn, what));
                        self.hand_over_broken(&header, Some(&commit), sink);
                        lsn = header.end_lsn();
                    } else {
                        let what = "a commit that had been durable is damaged";
                        sink.lost_unknown(&self.damage_at(lsn, what));
                        lsn = next.unwrap_or(durable);
                    }
                }
            }
            scanned.end_lsn = lsn;
        }
        if let Some(seal) = known.seal {
            scanned.end_lsn = seal.max(known.from_lsn);
        } else if content_end > proven_lsn {
            scanned.unproven_lsn = Some(proven_lsn.max(known.from_lsn));
        } else {
            // Commits that hold nothing need not be there tomorrow.
            scanned.end_lsn = scanned.end_lsn.min(proven_lsn.max(known.from_lsn));
        }
        scanned
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
                file: format!(
                    "WAL of generation {}, shard {}",
                    self.generation, self.shard
                )
                .into(),
                position: lsn,
                what: format!("{what}: its file is missing"),
            },
        }
    }

    fn hand_over(&self, header: &CommitHeader, commit: &Bytes, sink: &mut impl Sink) {
        let Some(index) = self.index_of(header.lsn) else {
            return;
        };
        let Some(file) = self.files.get(index) else {
            return;
        };
        let begin = file.position_of(header.lsn);
        for entry in entry_headers(header, commit).flatten() {
            if let Some(body) = entry.body(commit) {
                let position = begin + u64::from(entry.body_offset);
                sink.entry(&entry, body, index, position, header.lsn);
            }
        }
    }

    /// The entries that hold are as good as any; the others are named.
    fn hand_over_broken(
        &self,
        header: &CommitHeader,
        commit: Option<&Bytes>,
        sink: &mut impl Sink,
    ) {
        let damage = self.damage_at(header.lsn, "a commit that had been durable is damaged");
        let Some(commit) = commit else {
            return sink.lost_unknown(&damage);
        };
        self.hand_over(header, commit, sink);
        for entry in entry_headers(header, commit) {
            match entry {
                None => sink.lost_unknown(&damage),
                Some(entry) if entry.body(commit).is_none() => {
                    let position = damage.position + u64::from(entry.body_offset);
                    let what = match entry.kind {
                        EntryKind::Metadata => "metadata that had been durable is damaged".into(),
                        _ => format!(
                            "records {}..{} of {} that had been durable are damaged",
                            entry.base, entry.end, entry.tp
                        ),
                    };
                    sink.lost(
                        &entry,
                        &Corrupt {
                            file: damage.file.clone(),
                            position,
                            what,
                        },
                    );
                }
                Some(_) => {}
            }
        }
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

//! What of a log compaction may clean, and putting a cleaned segment in the place of those it was
//! made of.
//!
//! Only segments that are closed, complete in their files and not the last are ever given out: what
//! is appended to, and what the WAL still cares for, is out of reach. Nothing is removed here: what
//! [`Log::replace`] returns may go once a checkpoint without it is durable.

use std::collections::BTreeMap;
use std::rc::Rc;

use tailwater_shards::planted::{self, Planted};

use super::{Log, State};
use crate::config::Compaction;
use crate::segment::{Lease, Segment, SegmentName};

/// How dirty a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dirt {
    /// Bytes that no cleaning has seen, in millionths of all that could be cleaned.
    pub(crate) ratio: u32,
    /// Whether it is time, by the ratio or by `max.compaction.lag.ms`.
    pub(crate) due: bool,
}

/// A segment that is to be cleaned. Its file stays for as long as this is held.
#[derive(Debug, Clone)]
pub(crate) struct CleanSource {
    pub(crate) name: SegmentName,
    pub(crate) _lease: Lease,
    pub(crate) len: u64,
    /// Where the next segment begins.
    pub(crate) end: i64,
    pub(crate) created_ms: i64,
}

/// The file of a segment that no log has any more.
#[derive(Debug)]
pub(crate) struct Doomed {
    pub(crate) name: SegmentName,
    pub(crate) lease: Lease,
}

/// The function that tells each active producer's last batch, by its last offset.
pub(super) type LastBatches = Rc<dyn Fn() -> Option<BTreeMap<i64, i64>>>;

/// The segments before the last, with where each ends.
fn closed(state: &State, durable: i64) -> impl Iterator<Item = (&Segment, i64)> {
    let ends = state.segments.iter().skip(1).map(|next| next.base);
    state
        .segments
        .iter()
        .zip(ends)
        .take_while(move |(segment, end)| segment.closed && *end <= durable)
}

impl Log {
    /// Gives the function that cleaning calls for the last batch of each producer that is known: such
    /// a batch stays, without records if need be. Without the function, or while it does not know,
    /// every producer's batches do.
    pub fn set_last_batches(&self, last_batches: Rc<dyn Fn() -> Option<BTreeMap<i64, i64>>>) {
        self.inner.producers.borrow_mut().last_batches = Some(last_batches);
    }

    pub(crate) fn last_batches(&self) -> Option<BTreeMap<i64, i64>> {
        let last_batches = self.inner.producers.borrow().last_batches.clone();
        last_batches.and_then(|last_batches| last_batches())
    }

    /// How the log is to be cleaned, if it is and can be.
    pub(crate) fn compaction(&self) -> Option<Compaction> {
        if self.is_dropped() || self.health().is_err() || self.inner.uncleanable.get() {
            return None;
        }
        self.inner.config.borrow().compact.clone()
    }

    /// Where cleaning has to begin to look for what is new.
    pub(crate) fn first_dirty(&self) -> i64 {
        self.inner
            .cleaned_upto
            .get()
            .max(self.inner.log_start.get())
    }

    /// Below it a cleaning may have left records out, also one that did not come to its end.
    pub(crate) fn cleaned_end(&self) -> i64 {
        let state = self.inner.state.borrow();
        let bases = state.segments.iter().skip(1).map(|next| next.base);
        let ends = bases.chain([self.inner.appended.get()]);
        let cleaned = state.segments.iter().zip(ends);
        let cleaned = cleaned.filter(|(segment, _)| segment.version > 0);
        let ends = cleaned.map(|(_, end)| end);
        ends.max().unwrap_or(0).max(self.inner.cleaned_upto.get())
    }

    /// Every record below has been seen.
    pub(crate) fn set_cleaned(&self, upto: i64) {
        let before = self.inner.cleaned_upto.get();
        self.inner.cleaned_upto.set(before.max(upto));
        self.mark_changed();
    }

    /// `segment.bytes`.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.inner.config.borrow().segment_bytes
    }

    /// It is not cleaned any more in the life of this process: a segment of it is rotten.
    pub(crate) fn never_clean(&self) {
        self.inner.uncleanable.set(true);
    }

    /// Whether a cleaning may have left orphans, for which nobody has looked yet: also where the log
    /// is not compacted any more.
    pub(crate) fn wants_sweep(&self) -> bool {
        let compacts = self.inner.config.borrow().compact.is_some();
        (compacts || self.inner.was_compacted.get())
            && !self.inner.swept.get()
            && !self.inner.uncleanable.get()
            && !self.is_dropped()
            && self.health().is_ok()
    }

    /// Whether orphans are still to be looked for; asked once.
    pub(crate) fn take_unswept(&self) -> bool {
        !self.inner.swept.replace(true)
    }

    /// The segments of which something is durable in a file.
    pub(crate) fn names_with_file(&self) -> Vec<SegmentName> {
        let state = self.inner.state.borrow();
        let segments = state.segments.iter();
        let with_file = segments.filter(|segment| segment.durable_len > 0);
        with_file.map(Segment::name).collect()
    }

    pub(crate) fn has_segment(&self, name: SegmentName) -> bool {
        let state = self.inner.state.borrow();
        let index = state
            .segments
            .partition_point(|segment| segment.base < name.base);
        let segment = state.segments.get(index);
        segment.is_some_and(|segment| segment.name() == name)
    }

    /// How dirty it is, as Kafka's LogCleanerManager reckons; `None` if nothing is to be cleaned.
    pub(crate) fn dirt(&self, now_ms: i64) -> Option<Dirt> {
        let compaction = self.compaction()?;
        let first_dirty = self.first_dirty();
        let state = self.inner.state.borrow();
        let (mut clean, mut dirty, mut overdue) = (0, 0, false);
        for (segment, end) in closed(&state, self.inner.durable.get()) {
            if end <= first_dirty {
                clean += segment.len;
                continue;
            }
            if is_young(segment.max_timestamp, &compaction, now_ms) {
                break;
            }
            dirty += segment.len;
            overdue |= now_ms.saturating_sub(segment.created_ms) > compaction.lag_max_ms;
        }
        if dirty == 0 {
            return None;
        }
        let ratio = u128::from(dirty) * 1_000_000 / u128::from(clean + dirty);
        let ratio = u32::try_from(ratio).expect("a part of the whole");
        Some(Dirt {
            ratio,
            due: overdue || ratio > compaction.dirty_ratio_min,
        })
    }

    /// The segments that may be cleaned now, from the log's first on.
    pub(crate) fn clean_sources(&self, now_ms: i64) -> Vec<CleanSource> {
        let Some(compaction) = self.compaction() else {
            return Vec::new();
        };
        let first_dirty = self.first_dirty();
        let state = self.inner.state.borrow();
        let mut sources: Vec<CleanSource> = closed(&state, self.inner.durable.get())
            .take_while(|(segment, end)| {
                let young = is_young(segment.max_timestamp, &compaction, now_ms);
                segment.is_complete() && !(*end > first_dirty && young)
            })
            .map(|(segment, end)| source(segment, end))
            .collect();
        if planted::is(Planted::ActiveSegmentCleaned)
            && let Some(active) = state.segments.back()
            && sources.len() + 1 == state.segments.len()
        {
            sources.push(source(active, self.inner.durable.get()));
        }
        sources
    }

    /// Puts `new`, or nothing, in the place of `sources`, which the caller has made it of and whose
    /// file is durable. Returns the files that may go later; `None` if the log has changed so that
    /// nothing was done.
    pub(crate) fn replace(
        &self,
        sources: &[CleanSource],
        new: Option<Segment>,
    ) -> Option<Vec<Doomed>> {
        if self.is_dropped() || self.health().is_err() {
            return None;
        }
        let mut state = self.inner.state.borrow_mut();
        let first = sources.first()?.name.base;
        let begin = state
            .segments
            .partition_point(|segment| segment.base < first);
        let end = begin + sources.len();
        let there = state.segments.iter().skip(begin).map(Segment::name);
        if !there
            .take(sources.len())
            .eq(sources.iter().map(|source| source.name))
        {
            return None;
        }
        // What memory has of these segments lies elsewhere in the new one.
        let kept_from = state.segments.get(end).map_or(i64::MAX, |next| next.base);
        let outstanding = state.tail.drop_below(kept_from);
        if !planted::is(Planted::ActiveSegmentCleaned) {
            assert_eq!(outstanding, 0, "only what is complete is cleaned");
        }
        state.tail.shrink();
        let doomed = state
            .segments
            .drain(begin..end)
            .map(|segment| Doomed {
                name: segment.name(),
                lease: segment.lease,
            })
            .collect();
        if let Some(new) = new {
            assert!(new.is_complete() && new.base == first && new.version > 0);
            state.segments.insert(begin, new);
        }
        drop(state);
        self.inner.has_gaps.set(true);
        self.mark_changed();
        Some(doomed)
    }
}

/// Whether `min.compaction.lag.ms` keeps a segment from being cleaned.
fn is_young(max_timestamp: i64, compaction: &Compaction, now_ms: i64) -> bool {
    compaction.lag_min_ms > 0 && max_timestamp > now_ms.saturating_sub(compaction.lag_min_ms)
}

fn source(segment: &Segment, end: i64) -> CleanSource {
    CleanSource {
        name: segment.name(),
        _lease: segment.lease.clone(),
        len: segment.durable_len,
        end,
        created_ms: segment.created_ms,
    }
}

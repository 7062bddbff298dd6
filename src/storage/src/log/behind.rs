//! What of a log is to be written to its segments, carried, or closed.

use std::cell::RefCell;
use std::rc::Rc;

use tailwater_shards::planted::{self, Planted};

use super::{Log, Run, State};
use crate::config::BLOCK;
use crate::segment::index::MemIndex;
use crate::wal::file::WalFile;

/// Bytes `from..upto` of a segment, to be written to its file.
pub(crate) struct WriteBehind {
    pub(crate) base: i64,
    pub(crate) from: u64,
    pub(crate) upto: u64,
    /// The segment ends there: its file gets its exact length.
    pub(crate) completes: bool,
    pub(crate) segment_bytes_max: u64,
    pub(crate) index: Option<Rc<RefCell<MemIndex>>>,
}

/// How many bytes of the segment are durable, wherever they are.
fn durable_bytes(state: &State, base: i64, durable: i64) -> Option<u64> {
    let mut upto = None;
    for run in state.tail.outstanding() {
        if run.span.end > durable || run.span.segment > base {
            break;
        }
        if run.span.segment == base {
            upto = Some(run.end_position());
        }
    }
    upto
}

impl Log {
    /// The next piece of the oldest segment that is not wholly in its file, if there is a whole
    /// block of it or it is closed.
    pub(crate) fn next_write_behind(&self) -> Option<WriteBehind> {
        if self.is_dropped() || self.health().is_err() {
            return None;
        }
        let state = self.inner.state.borrow();
        let durable = self.inner.durable.get();
        let first = state.tail.outstanding().next()?.span.segment;
        let segment = state
            .segments
            .iter()
            .find(|segment| segment.base == first)?;
        let durable_bytes = durable_bytes(&state, segment.base, durable)?;
        let completes = segment.closed && durable_bytes == segment.len;
        let upto = if completes {
            durable_bytes
        } else {
            durable_bytes - durable_bytes % BLOCK
        };
        let due = upto > segment.durable_len || (completes && !segment.is_complete());
        due.then(|| WriteBehind {
            base: segment.base,
            from: segment.durable_len,
            upto,
            completes,
            segment_bytes_max: self.inner.config.borrow().segment_bytes,
            index: segment.index.clone(),
        })
    }

    /// That piece is durable in the file.
    pub(crate) fn written_behind(&self, piece: &WriteBehind) {
        let mut state = self.inner.state.borrow_mut();
        let Some(segment) = state.segments.iter_mut().find(|s| s.base == piece.base) else {
            return;
        };
        assert_eq!(segment.durable_len, piece.from, "one writer at a time");
        segment.durable_len = piece.upto;
        if segment.is_complete() {
            segment.index = None;
        }
        let bytes = state.tail.now_in_segment(piece.base, piece.upto);
        state.tail.shrink();
        drop(state);
        self.sub_outstanding(bytes);
        self.mark_changed();
    }

    /// The outstanding run that holds this byte of the segment.
    pub(crate) fn run_at_position(&self, base: i64, position: u64) -> Option<Run> {
        let state = self.inner.state.borrow();
        state
            .tail
            .outstanding()
            .find(|run| {
                run.span.segment == base
                    && run.span.position <= position
                    && position < run.end_position()
            })
            .cloned()
    }

    /// Whether some run that no segment holds lies in such a file.
    pub(crate) fn has_runs_in(&self, is_old: impl Fn(&WalFile) -> bool) -> bool {
        let state = self.inner.state.borrow();
        if planted::is(Planted::CarryLost) {
            let last = state.tail.outstanding().last();
            return last.is_some_and(|run| is_old(&run.place.file));
        }
        state.tail.outstanding().any(|run| is_old(&run.place.file))
    }

    /// Durable runs that only this WAL file has, in groups that follow each other in one segment
    /// and are together no longer than `bytes_max`, or one run.
    pub(crate) fn runs_only_in(
        &self,
        is_old: impl Fn(&WalFile) -> bool,
        bytes_max: u64,
    ) -> Vec<Vec<Run>> {
        let state = self.inner.state.borrow();
        let durable = self.inner.durable.get();
        let mut groups: Vec<Vec<Run>> = Vec::new();
        let mut bytes = 0;
        for run in state
            .tail
            .outstanding()
            .take_while(|run| run.span.end <= durable)
        {
            if !is_old(&run.place.file) {
                continue;
            }
            bytes += u64::from(run.len);
            let group = groups.last_mut().filter(|group| {
                let joins = group.last().is_some_and(|last| {
                    last.span.end == run.span.base && last.span.segment == run.span.segment
                });
                joins && bytes <= bytes_max
            });
            match group {
                Some(group) => group.push(run.clone()),
                None => {
                    bytes = u64::from(run.len);
                    groups.push(vec![run.clone()]);
                }
            }
        }
        groups
    }

    /// Whether a closed segment waits to be completed: its remainder need not be carried.
    pub(crate) fn has_closed_outstanding(&self) -> bool {
        let state = self.inner.state.borrow();
        let first = state.tail.outstanding().next().map(|run| run.span.segment);
        state
            .segments
            .iter()
            .any(|segment| Some(segment.base) == first && segment.closed)
    }

    /// Nothing is appended to the active segment any more: the next append opens another.
    pub(crate) fn close_active(&self) {
        let mut state = self.inner.state.borrow_mut();
        if let Some(active) = state.segments.back_mut().filter(|active| active.len > 0) {
            active.closed = true;
            drop(state);
            self.mark_changed();
        }
    }
}

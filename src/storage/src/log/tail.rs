//! The end of a log: its runs that no segment holds wholly, and before them those that a segment
//! holds but memory still has for consumers who keep up.
//!
//! Plain state, no I/O. Invariants: runs follow each other without a gap; those in segments come
//! first, and each of them has its memory.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};

use crate::wal::file::WalFile;
use crate::wal::gather::Span;

/// Where a run lies in the WAL.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) file: Rc<WalFile>,
    pub(crate) position: u64,
}

impl Place {
    pub(crate) fn same(&self, other: &Place) -> bool {
        Rc::ptr_eq(&self.file, &other.file) && self.position == other.position
    }
}

/// Consecutive batches of one commit, in one segment.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) span: Span,
    pub(crate) len: u32,
    pub(crate) place: Place,
    /// The commit whose memory `mem` is.
    pub(crate) lsn: u64,
    pub(crate) mem: Option<Bytes>,
    /// A durable, whole part of its segment: the WAL is no longer needed for it.
    pub(crate) in_segment: bool,
}

impl Run {
    pub(crate) fn end_position(&self) -> u64 {
        self.span.position + u64::from(self.len)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tail {
    runs: VecDeque<Run>,
}

impl Tail {
    pub(crate) fn push(&mut self, run: Run) {
        if let Some(last) = self.runs.back() {
            assert_eq!(last.span.end, run.span.base, "runs follow each other");
        }
        self.runs.push_back(run);
    }

    /// The offset of the first run that memory or the WAL has.
    pub(crate) fn first_offset(&self) -> Option<i64> {
        self.runs.front().map(|run| run.span.base)
    }

    pub(crate) fn front(&self) -> Option<&Run> {
        self.runs.front()
    }

    /// The run that holds the offset.
    pub(crate) fn at(&self, offset: i64) -> Option<&Run> {
        let index = self.index_of(offset)?;
        self.runs.get(index)
    }

    fn index_of(&self, offset: i64) -> Option<usize> {
        let index = self.runs.partition_point(|run| run.span.end <= offset);
        self.runs
            .get(index)
            .filter(|run| run.span.base <= offset)
            .map(|_| index)
    }

    /// The runs from the one that holds `offset` on.
    pub(crate) fn from(&self, offset: i64) -> impl Iterator<Item = &Run> {
        let begin = self.index_of(offset).unwrap_or(self.runs.len());
        self.runs.range(begin..)
    }

    /// The runs that no segment holds wholly.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = &Run> {
        let begin = self.runs.partition_point(|run| run.in_segment);
        self.runs.range(begin..)
    }

    /// The segment holds its first `upto` bytes durably. Returns the bytes that left the WAL's
    /// care.
    pub(crate) fn now_in_segment(&mut self, segment: i64, upto: u64) -> u64 {
        let mut bytes = 0;
        for run in &mut self.runs {
            let reaches = match planted::is(Planted::HalfRunInSegment) {
                true => run.span.position,
                false => run.end_position(),
            };
            let held = run.span.segment == segment && reaches <= upto;
            if held && !run.in_segment {
                run.in_segment = true;
                bytes += u64::from(run.len);
            }
        }
        self.drop_forgotten();
        bytes
    }

    /// A reader may no longer have the memory of this commit.
    pub(crate) fn forget_memory(&mut self, base: i64, lsn: u64) {
        let Some(index) = self.index_of(base) else {
            return;
        };
        let Some(run) = self.runs.get_mut(index).filter(|run| run.lsn == lsn) else {
            return;
        };
        run.mem = None;
        if run.in_segment {
            self.runs.drain(..=index);
        }
    }

    /// Runs that the segment holds and memory does not are the segment's alone.
    fn drop_forgotten(&mut self) {
        // Memory goes oldest first, but a run read from an old WAL has none to begin with: what
        // lies before such a run must go too, or a gap would open.
        let in_segments = self.runs.partition_point(|run| run.in_segment);
        let hole = self
            .runs
            .range(..in_segments)
            .rposition(|run| run.mem.is_none());
        if let Some(hole) = hole {
            self.runs.drain(..=hole);
        }
    }

    /// The runs of exactly this span have been logged again as one run at another place.
    pub(crate) fn carried(&mut self, span: &Span, place: Place, lsn: u64, mem: Bytes) -> bool {
        let Some(begin) = self.index_of(span.base) else {
            return false;
        };
        let end = self.runs.partition_point(|run| run.span.end <= span.end);
        let whole = self
            .runs
            .get(begin)
            .is_some_and(|run| run.span.base == span.base)
            && end > begin
            && self
                .runs
                .get(end - 1)
                .is_some_and(|run| run.span.end == span.end);
        if !whole {
            return false;
        }
        let len = u32::try_from(mem.len()).expect("a run fits its commit");
        let in_segment = self.runs.range(begin..end).all(|run| run.in_segment);
        let run = Run {
            span: *span,
            len,
            place,
            lsn,
            mem: Some(mem),
            in_segment,
        };
        self.runs.drain(begin..end);
        self.runs.insert(begin, run);
        true
    }

    /// Everything below the offset is deleted: whole runs of segments that are gone leave.
    pub(crate) fn drop_below(&mut self, segment_base: i64) -> u64 {
        let mut bytes = 0;
        while let Some(run) = self
            .runs
            .front()
            .filter(|run| run.span.segment < segment_base)
        {
            if !run.in_segment {
                bytes += u64::from(run.len);
            }
            self.runs.pop_front();
        }
        bytes
    }

    /// Gives back what the growth of a deque keeps for ever.
    pub(crate) fn shrink(&mut self) {
        if self.runs.is_empty() && self.runs.capacity() > 16 {
            self.runs.shrink_to(0);
        }
    }

    pub(crate) fn check_invariants(&self) {
        let mut before: Option<&Run> = None;
        for run in &self.runs {
            assert!(run.span.base < run.span.end && run.len > 0);
            assert!(
                !run.in_segment || run.mem.is_some(),
                "a segment's run is here for its memory"
            );
            if let Some(before) = before {
                assert_eq!(before.span.end, run.span.base, "runs follow each other");
                assert!(
                    before.in_segment || !run.in_segment,
                    "segments fill in order"
                );
                if before.span.segment == run.span.segment {
                    assert_eq!(before.end_position(), run.span.position);
                }
            }
            before = Some(run);
        }
    }
}

//! What a log no longer keeps: the decision by age and size, and taking segments off its front.
//!
//! Nothing is unlinked here. A log start is durable in the WAL first; then [`Log::trim`] takes
//! whole segments below it off the list and names them for removal.

use tailwater_shards::planted::{self, Planted};

use super::Log;
use crate::segment::SegmentName;

/// How old a record is: not at all while the clock is behind its timestamp.
fn age(now_ms: i64, timestamp: i64) -> i64 {
    let age = now_ms.saturating_sub(timestamp);
    if planted::is(Planted::RetentionByClockJump) {
        return age.saturating_abs();
    }
    age
}

impl Log {
    /// Where `retention.ms` and `retention.bytes` put the log start; at the old place if nothing
    /// has expired, or if `cleanup.policy` has no `delete`. Whole segments only; if even the active one has expired, at the durable end.
    pub(crate) fn retained_from(&self, now_ms: i64) -> i64 {
        let config = self.inner.config.borrow();
        let state = self.inner.state.borrow();
        let durable = self.inner.durable.get();
        let mut from = self.inner.log_start.get();
        if !config.delete {
            return from;
        }
        let mut bytes: u64 = state.segments.iter().map(|segment| segment.len).sum();
        let ends = state.segments.iter().skip(1).map(|next| next.base);
        for (segment, end) in state
            .segments
            .iter()
            .zip(ends.chain([self.inner.appended.get()]))
        {
            let too_old = config.retention_ms >= 0
                && segment.max_timestamp >= 0
                && age(now_ms, segment.max_timestamp) > config.retention_ms;
            let active = end == self.inner.appended.get();
            let too_large = u64::try_from(config.retention_bytes)
                .is_ok_and(|keep| !active && bytes - segment.len >= keep);
            if end > durable || segment.len == 0 || !(too_old || too_large) {
                break;
            }
            bytes -= segment.len;
            from = from.max(end);
        }
        from
    }

    /// Takes the segments that lie wholly below the log start off the list, once nothing of them
    /// is on its way to the disk. Returns their names: their files may go.
    pub(crate) fn trim(&self) -> Vec<SegmentName> {
        let log_start = match planted::is(Planted::TrimmedBeforeLogStartDurable) {
            true => self.inner.log_start.get(),
            false => self.inner.durable_log_start.get(),
        };
        let appended = self.inner.appended.get();
        let durable = self.inner.durable.get();
        let mut state = self.inner.state.borrow_mut();
        let mut removed = Vec::new();
        while let Some(first) = state.segments.front() {
            let end = state.segments.get(1).map_or(appended, |next| next.base);
            let kept_from = log_start + i64::from(planted::is(Planted::TrimmedOneTooFar));
            if end > kept_from || end > durable {
                break;
            }
            removed.push(first.name());
            state.segments.pop_front();
        }
        if removed.is_empty() {
            return removed;
        }
        let kept_from = state.segments.front().map_or(i64::MAX, |first| first.base);
        let bytes = state.tail.drop_below(kept_from);
        state.tail.shrink();
        drop(state);
        self.sub_outstanding(bytes);
        self.mark_changed();
        removed
    }
}

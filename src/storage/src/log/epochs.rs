//! Where each leader epoch of a log began, as Kafka's leader epoch checkpoint has it.
//!
//! Invariant: epochs and start offsets both rise.

/// The epochs of one log, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    entries: Vec<(i32, i64)>,
}

impl Epochs {
    pub(crate) fn from_entries(entries: Vec<(i32, i64)>) -> Self {
        let mut this = Self::default();
        for (epoch, start) in entries {
            this.begin(epoch, start);
        }
        this
    }

    pub(crate) fn entries(&self) -> &[(i32, i64)] {
        &self.entries
    }

    pub(crate) fn latest(&self) -> Option<i32> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// The epoch begins at the offset. An epoch in which nothing was appended leaves no trace.
    pub(crate) fn begin(&mut self, epoch: i32, start: i64) {
        if self.latest().is_some_and(|latest| latest >= epoch) {
            return;
        }
        while self
            .entries
            .last()
            .is_some_and(|(_, began)| *began >= start)
        {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
    }

    /// The epoch of the record at the offset.
    pub(crate) fn at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after
            .checked_sub(1)
            .and_then(|index| self.entries.get(index))
            .map(|(epoch, _)| *epoch)
    }

    /// Kafka's OffsetForLeaderEpoch: the largest epoch up to the one asked for, and where the next
    /// one began; `end` for the latest. `None` when the epoch is newer than any here.
    pub(crate) fn end_of(&self, epoch: i32, end: i64) -> Option<(i32, i64)> {
        if epoch < 0 {
            return None;
        }
        let after = self.entries.partition_point(|(had, _)| *had <= epoch);
        let floor = after
            .checked_sub(1)
            .and_then(|index| self.entries.get(index));
        match (floor, self.entries.get(after)) {
            (Some((had, _)), None) => (*had == epoch).then_some((epoch, end)),
            (None, None) => None,
            (None, Some((_, start))) => Some((epoch, (*start).min(end))),
            (Some((had, _)), Some((_, start))) => Some((*had, (*start).min(end))),
        }
    }

    /// Epochs that ended at or before the log's start are forgotten; the one that holds it stays
    /// and begins there.
    pub(crate) fn trim_start(&mut self, log_start: i64) {
        let after = self
            .entries
            .partition_point(|(_, start)| *start <= log_start);
        if after > 1 {
            self.entries.drain(..after - 1);
        }
        if let Some(first) = self
            .entries
            .first_mut()
            .filter(|(_, start)| *start < log_start)
        {
            first.1 = log_start;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = Epochs::from_entries(vec![(2, 0), (5, 10), (7, 20)]);
        assert_eq!(epochs.end_of(2, 30), Some((2, 10)));
        assert_eq!(epochs.end_of(3, 30), Some((2, 10)));
        assert_eq!(epochs.end_of(5, 30), Some((5, 20)));
        assert_eq!(epochs.end_of(7, 30), Some((7, 30)));
        assert_eq!(epochs.end_of(8, 30), None);
        assert_eq!(epochs.end_of(1, 30), Some((1, 0)));
        assert_eq!(epochs.end_of(-1, 30), None);
    }

    #[test]
    fn an_epoch_without_records_is_replaced() {
        let mut epochs = Epochs::from_entries(vec![(2, 0), (5, 10)]);
        epochs.begin(6, 10);
        assert_eq!(epochs.entries(), [(2, 0), (6, 10)]);
        epochs.begin(4, 12);
        assert_eq!(epochs.entries(), [(2, 0), (6, 10)], "an epoch never falls");
    }

    #[test]
    fn what_ended_before_the_log_start_is_forgotten() {
        let mut epochs = Epochs::from_entries(vec![(2, 0), (5, 10), (7, 20)]);
        epochs.trim_start(15);
        assert_eq!(epochs.entries(), [(5, 15), (7, 20)]);
        assert_eq!(epochs.at(14), None);
        assert_eq!(epochs.at(25), Some(7));
    }
}

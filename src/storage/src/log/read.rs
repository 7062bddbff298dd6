//! Reads: the tail from memory, its forgotten runs from the WAL, the rest from segments.
//!
//! What comes back are slices at batch boundaries, no byte copied but where a batch header lies
//! across two chunks of a cold read, and there only the header.

use bytes::Bytes;
use tailwater_record::batches;
use tailwater_shards::IoClass;
use tailwater_shards::planted::{self, Planted};

use super::{Log, Read, Run};
use crate::error::{Corrupt, ReadError};
use crate::segment::cache::Key;
use crate::segment::{Lease, SegmentName};

/// How much a read may still take.
pub(super) struct Want {
    /// Exclusive: no batch that reaches it is taken.
    pub(super) upto: i64,
    pub(super) max_bytes: usize,
    pub(super) at_least_one: bool,
}

impl Want {
    /// Whether a batch or run may be taken, after what has been.
    pub(super) fn takes(&self, read: &Read, end: i64, len: usize) -> bool {
        let first = self.at_least_one && read.bytes == 0;
        end <= self.upto && (first || read.bytes + len <= self.max_bytes)
    }
}

/// Where the bytes of an offset are.
pub(super) enum Source {
    Memory(Run, Bytes),
    Wal(Run),
    Segment(SegmentSource),
    /// Cleaning has left nothing before this offset.
    Gap(i64),
    Nowhere,
}

/// A segment's durable part, as far as the tail does not have it.
#[derive(Debug, Clone)]
pub(super) struct SegmentSource {
    pub(super) name: SegmentName,
    /// As long as it is held, the file stays.
    pub(super) lease: Lease,
    /// Where the next segment begins, if cleaning may have left nothing before it.
    pub(super) next: Option<i64>,
    /// No byte from here on is read from the file.
    pub(super) limit: u64,
    /// The whole segment's length, once it is complete.
    pub(super) complete_len: Option<u64>,
}

impl Log {
    /// Reads whole batches from the one that holds `from` on, below `upto` and at most
    /// `max_bytes`, or the first batch whatever its size with `at_least_one`.
    ///
    /// # Errors
    /// `from` outside the log, damage, a dropped log, failed I/O.
    pub async fn read(
        &self,
        from: i64,
        upto: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Read, ReadError> {
        let upto = upto.min(self.inner.written.get());
        let want = Want {
            upto,
            max_bytes,
            at_least_one,
        };
        let mut read = Read::default();
        let mut at = from;
        self.check_range(from)?;
        while at < upto && (read.bytes < max_bytes || (at_least_one && read.bytes == 0)) {
            let before = at;
            let step = match self.source(at) {
                Source::Memory(run, mem) => self.take(&mut read, &mut at, &run, &mem, &want),
                Source::Wal(run) => match self.read_run(&run).await {
                    Ok(Some(mem)) => self.take(&mut read, &mut at, &run, &mem, &want),
                    Ok(None) => continue,
                    Err(error) => Err(error),
                },
                Source::Gap(next) => {
                    at = next;
                    continue;
                }
                Source::Segment(source) => {
                    Box::pin(self.read_segment(&mut read, &mut at, source, &want)).await
                }
                Source::Nowhere => break,
            };
            match step {
                Ok(true) if at > before => {}
                Ok(_) => break,
                Err(error) => {
                    // What was deleted meanwhile is out of range, not damaged.
                    self.check_range(from)?;
                    if read.bytes > 0 {
                        break;
                    }
                    return Err(error);
                }
            }
        }
        read.next = at;
        Ok(read)
    }

    /// Like [`Self::read`], from memory alone; `None` if that takes the disk.
    #[must_use]
    pub fn try_read(
        &self,
        from: i64,
        upto: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Option<Result<Read, ReadError>> {
        if let Err(error) = self.check_range(from) {
            return Some(Err(error));
        }
        let upto = upto.min(self.inner.written.get());
        let want = Want {
            upto,
            max_bytes,
            at_least_one,
        };
        let mut read = Read::default();
        let mut at = from;
        let found = |read: Read, next: i64| Some(Ok(Read { next, ..read }));
        if at >= upto {
            return found(read, at);
        }
        let state = self.inner.state.borrow();
        if state.tail.first_offset().is_none_or(|first| first > from) {
            return None;
        }
        for run in state.tail.from(from) {
            let Some(mem) = &run.mem else { break };
            match self.take(&mut read, &mut at, run, mem, &want) {
                Ok(true) => {}
                Ok(false) => return found(read, at),
                Err(error) => return Some(Err(error)),
            }
            if at >= upto {
                return found(read, at);
            }
        }
        // Nothing from memory: the disk has it. Something: that is an answer.
        if read.bytes > 0 {
            found(read, at)
        } else {
            None
        }
    }

    fn check_range(&self, from: i64) -> Result<(), ReadError> {
        if self.is_dropped() {
            return Err(ReadError::Dropped);
        }
        self.health()?;
        let log_start = self.inner.log_start.get();
        let end = self.inner.appended.get();
        if from < log_start || from > end {
            return Err(ReadError::OffsetOutOfRange {
                offset: from,
                log_start,
                end,
            });
        }
        Ok(())
    }

    fn source(&self, at: i64) -> Source {
        let state = self.inner.state.borrow();
        if let Some(run) = state.tail.at(at) {
            return match &run.mem {
                Some(mem) => Source::Memory(run.clone(), mem.clone()),
                None => Source::Wal(run.clone()),
            };
        }
        let at = at - i64::from(planted::is(Planted::ReadStuckAtRoll));
        let after = state.segments.partition_point(|segment| segment.base <= at);
        // Only then may a read go on where nothing is found: else it is missing.
        let next = state
            .segments
            .get(after)
            .filter(|_| self.inner.has_gaps.get());
        let next = next.map(|segment| segment.base);
        let Some(segment) = after
            .checked_sub(1)
            .and_then(|index| state.segments.get(index))
        else {
            return next.map_or(Source::Nowhere, Source::Gap);
        };
        let front = state
            .tail
            .front()
            .filter(|run| run.span.segment == segment.base);
        let limit = front
            .map_or(segment.len, |run| run.span.position)
            .min(segment.durable_len);
        Source::Segment(SegmentSource {
            name: segment.name(),
            lease: segment.lease.clone(),
            next,
            limit,
            complete_len: segment.is_complete().then_some(segment.len),
        })
    }

    /// Takes what is wanted of a run. `false`: enough was taken.
    fn take(
        &self,
        read: &mut Read,
        at: &mut i64,
        run: &Run,
        mem: &Bytes,
        want: &Want,
    ) -> Result<bool, ReadError> {
        if run.span.base >= *at && want.takes(read, run.span.end, mem.len()) {
            read.push(mem.clone());
            *at = run.span.end;
            return Ok(true);
        }
        let (mut begin, mut end) = (None, 0);
        let mut taken = Read {
            bytes: read.bytes,
            ..Read::default()
        };
        let mut more = true;
        for batch in batches(mem) {
            let Ok(batch) = batch else {
                return Err(self.damaged_run(run, "a batch's header is damaged"));
            };
            if batch.header.next_offset() <= *at {
                continue;
            }
            if !want.takes(&taken, batch.header.next_offset(), batch.range.len()) {
                more = false;
                break;
            }
            begin.get_or_insert(batch.range.start);
            end = batch.range.end;
            taken.bytes += batch.range.len();
            *at = batch.header.next_offset();
        }
        if let Some(begin) = begin {
            read.push(mem.slice(begin..end));
        }
        Ok(more)
    }

    fn damaged_run(&self, run: &Run, what: &str) -> ReadError {
        let damage = Corrupt {
            file: run.place.file.path.clone(),
            position: run.place.position,
            what: what.to_owned(),
        };
        self.take_out_of_service(damage.clone());
        ReadError::Corrupt(damage)
    }

    /// A run's bytes from its place in the WAL. `None`: it has moved meanwhile, look again.
    pub(crate) async fn read_run(&self, run: &Run) -> Result<Option<Bytes>, ReadError> {
        let shared = self.shared().map_err(|_| ReadError::Dropped)?;
        let key = Key::Run(self.inner.tp, run.span.base);
        let len = run.len as usize;
        if let Some(bytes) = shared.cache.bytes(key, len)
            && bytes.len() == len
        {
            return Ok(Some(bytes));
        }
        let result = run
            .place
            .file
            .read(IoClass::TailRead, run.place.position, len)
            .await;
        // A file is used again only after its runs have got another place: so if the run is
        // still there, what was read is the run.
        let unmoved = {
            let state = self.inner.state.borrow();
            state
                .tail
                .at(run.span.base)
                .is_some_and(|now| now.place.same(&run.place))
        };
        if !unmoved {
            self.check_range(self.inner.log_start.get())?;
            return Ok(None);
        }
        let bytes = result.map_err(|error| ReadError::Io {
            path: run.place.file.path.clone(),
            what: error.to_string(),
        })?;
        if !run_is_sound(&bytes, run, |offset| self.epoch_at(offset)) {
            return Err(self.damaged_run(run, "a run does not hold the batches it should"));
        }
        Ok(Some(shared.cache.keep_bytes(key, bytes)))
    }
}

/// Whether the bytes are the run's batches, each with its checksum, and with the epoch of its
/// offset, which the checksum leaves out.
fn run_is_sound(bytes: &Bytes, run: &Run, epoch_at: impl Fn(i64) -> Option<i32>) -> bool {
    let mut next = run.span.base;
    for batch in batches(bytes) {
        let Ok(batch) = batch else { return false };
        let Some(body) = bytes.get(batch.range) else {
            return false;
        };
        let header = &batch.header;
        let epoch = epoch_at(header.last_offset());
        if header.base_offset != next
            || !tailwater_record::crc_is_valid(body)
            || epoch.is_some_and(|epoch| epoch != header.partition_leader_epoch)
        {
            return false;
        }
        next = batch.header.next_offset();
    }
    next == run.span.end
}

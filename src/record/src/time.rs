//! Looking inside one batch for a timestamp, as ListOffsets does once an index has found the batch.

use crate::codec::Limits;
use crate::error::RecordError;
use crate::header::{BatchHeader, NO_TIMESTAMP, TimestampType};
use crate::stream::RecordStream;
use crate::workspace::Workspace;

/// A record's offset and timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampedOffset {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp: the batch's under LogAppendTime.
    pub timestamp: i64,
}

/// The first record of the batch at or after `offset_min` whose timestamp is `timestamp_min` or later.
///
/// # Errors
/// Those of [`RecordStream`].
pub fn first_at_or_after(
    batch: &[u8],
    header: &BatchHeader,
    timestamp_min: i64,
    offset_min: i64,
    limits: &Limits,
    workspace: &mut Workspace,
) -> Result<Option<TimestampedOffset>, RecordError> {
    if header.max_timestamp < timestamp_min || header.last_offset() < offset_min {
        return Ok(None);
    }
    let mut records = RecordStream::new(batch, header, limits, workspace)?;
    while let Some(found) = next(&mut records, header)? {
        if found.timestamp >= timestamp_min && found.offset >= offset_min {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The first record of the batch that has its greatest timestamp; `None` if none has a timestamp.
///
/// # Errors
/// Those of [`RecordStream`].
pub fn max_timestamp(
    batch: &[u8],
    header: &BatchHeader,
    limits: &Limits,
    workspace: &mut Workspace,
) -> Result<Option<TimestampedOffset>, RecordError> {
    if header.max_timestamp == NO_TIMESTAMP {
        return Ok(None);
    }
    first_at_or_after(
        batch,
        header,
        header.max_timestamp,
        header.base_offset,
        limits,
        workspace,
    )
}

fn next(
    records: &mut RecordStream<'_>,
    header: &BatchHeader,
) -> Result<Option<TimestampedOffset>, RecordError> {
    Ok(records.next()?.map(|record| TimestampedOffset {
        offset: header
            .base_offset
            .saturating_add(i64::from(record.offset_delta)),
        timestamp: match header.attributes.timestamp_type() {
            TimestampType::CreateTime => {
                header.base_timestamp.saturating_add(record.timestamp_delta)
            }
            TimestampType::LogAppendTime => header.max_timestamp,
        },
    }))
}

//! What a topic's configuration changes in a batch: the broker's timestamp, another codec.
//!
//! Records keep their bytes: neither depends on anything inside them. So packing anew streams them from
//! one codec into the other, and under LogAppendTime the base timestamp stays the producer's, as in Kafka.

use bytes::Bytes;

use crate::codec::{Compressor, Decompressor};
use crate::crc::computed_crc;
use crate::error::RecordError;
use crate::header::{BatchHeader, HEADER_BYTES, LENGTH_PREFIX_BYTES, TimestampType};
use crate::stream::payload;
use crate::validate::{Rewrite, Validated, ValidationRules};
use crate::workspace::Workspace;

/// A batch as it is to be appended, offset and leader epoch excepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The header in `batch`.
    pub header: BatchHeader,
    /// The whole batch. The very bytes that came if nothing had to change.
    pub batch: Bytes,
}

/// Does to `batch` what `validated.rewrite` asks for, with the rules it was validated by.
///
/// Where something changes the batch is copied; its memory is at most `rules.batch_bytes_max` and one
/// codec block.
///
/// # Errors
/// `TooLarge` if the topic's codec makes the batch larger than `max.message.bytes`, as in Kafka; where
/// the records have not been walked also `Decompress` and `DecompressedTooLarge`.
///
/// # Panics
/// If `batch` is not the batch that was validated.
pub fn rewrite(
    batch: &Bytes,
    validated: &Validated,
    rules: &ValidationRules,
    workspace: &mut Workspace,
) -> Result<Rewritten, RecordError> {
    assert_eq!(
        batch.len(),
        validated.header.total_bytes(),
        "the batch that was validated"
    );
    let mut header = validated.header;
    header.max_timestamp = validated.max_timestamp;
    if rules.timestamp_type == TimestampType::LogAppendTime {
        header.attributes = header
            .attributes
            .with_timestamp_type(TimestampType::LogAppendTime);
    }
    let mut out = match validated.rewrite {
        Rewrite::None => {
            return Ok(Rewritten {
                header,
                batch: batch.clone(),
            });
        }
        Rewrite::Header => batch.to_vec(),
        Rewrite::Recompress => recompress(batch, &mut header, rules, workspace)?,
    };
    finish(&mut out, &mut header);
    Ok(Rewritten {
        header,
        batch: out.into(),
    })
}

/// Room for a header and the records in the topic's codec.
fn recompress(
    batch: &[u8],
    header: &mut BatchHeader,
    rules: &ValidationRules,
    workspace: &mut Workspace,
) -> Result<Vec<u8>, RecordError> {
    let compression = rules
        .compression
        .expect("only a topic with a codec of its own asks for this");
    let bytes_max = rules.batch_bytes_max;
    workspace.trim();
    let mut out = Vec::with_capacity(batch.len());
    out.resize(HEADER_BYTES, 0);
    let mut from = Decompressor::over(
        header.codec(),
        payload(batch, header)?,
        &rules.limits,
        &mut workspace.decoding,
    )?;
    let mut to = Compressor::new(compression, &mut out, &mut workspace.encoding);
    loop {
        let chunk = from.fill()?;
        if chunk.is_empty() {
            break;
        }
        // An uncompressed batch is one chunk as large as itself: the codec gets it in parts, so that
        // the limit is seen in time.
        let part = chunk.len().min(PART_BYTES);
        to.write(chunk.get(..part).expect("no longer than the chunk"));
        from.consume(part);
        if to.out_len() > bytes_max {
            return Err(RecordError::TooLarge {
                bytes: to.out_len(),
                bytes_max,
            });
        }
    }
    to.finish();
    if out.len() > bytes_max {
        return Err(RecordError::TooLarge {
            bytes: out.len(),
            bytes_max,
        });
    }
    header.attributes = header.attributes.with_codec(compression.codec());
    Ok(out)
}

const PART_BYTES: usize = 256 << 10;

/// Writes the header with the length and the checksum that follow from the bytes.
pub(crate) fn finish(batch: &mut [u8], header: &mut BatchHeader) {
    header.batch_length = i32::try_from(batch.len() - LENGTH_PREFIX_BYTES)
        .map(i32::cast_unsigned)
        .expect("batches are bounded far below the length field's reach");
    put_header(batch, header);
    header.crc = computed_crc(batch).expect("a batch is no shorter than its header");
    put_header(batch, header);
}

fn put_header(batch: &mut [u8], header: &BatchHeader) {
    *batch
        .first_chunk_mut()
        .expect("a batch is no shorter than its header") = header.encode();
}

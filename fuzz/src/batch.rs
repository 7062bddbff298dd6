//! Batches: rules made of a byte, and a checksum that fits.

use tailwater_record::{
    BatchHeader, Codec, Compression, HEADER_BYTES, LENGTH_PREFIX_BYTES, Limits, MAGIC,
    TimestampType, ValidationRules, Walk, computed_crc,
};

/// What decompression may cost: small, so that the fuzzer reaches it.
pub const LIMITS: Limits = Limits {
    decompressed_bytes_max: 1 << 20,
    record_bytes_max: 256 << 10,
    zstd_window_log_max: 21,
};

/// A workspace over these limits: an lz4 block of 4 MiB and what it is read from, snappy's and
/// gzip's buffers, and the one record that is put together.
pub const WORKSPACE_BYTES_MAX: usize = 12 << 20;

/// Rules made of a byte; the lowest bit is the checksum's.
pub fn rules(flags: u8) -> ValidationRules {
    let codec = usize::from(flags >> 4 & 7).checked_sub(1);
    ValidationRules {
        walk: if flags & 0x80 == 0 {
            Walk::Records
        } else {
            Walk::HeaderOnly
        },
        timestamp_type: if flags & 2 == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        },
        key_required: flags & 4 != 0,
        zstd_allowed: flags & 8 == 0,
        compression: codec
            .and_then(|index| Codec::ALL.get(index))
            .map(|codec| Compression::of(*codec)),
        limits: LIMITS,
        ..ValidationRules::default()
    }
}

/// Makes the bytes one batch of their length with the checksum of what they hold.
pub fn mend(batch: &mut [u8]) {
    if batch.len() < HEADER_BYTES {
        return;
    }
    let length = u32::try_from(batch.len() - LENGTH_PREFIX_BYTES).unwrap_or(u32::MAX);
    batch[..8].fill(0);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = MAGIC.cast_unsigned();
    if let Some(crc) = computed_crc(batch) {
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Gives each batch of a run the checksum of what it holds.
pub fn mend_run(mut run: &mut [u8]) {
    while let Ok(header) = BatchHeader::parse(run) {
        let Some((batch, rest)) = run.split_at_mut_checked(header.total_bytes()) else {
            break;
        };
        if let Some(crc) = computed_crc(batch) {
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        run = rest;
    }
}

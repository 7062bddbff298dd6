//! Validation of any bytes by any rules. The first byte makes the rules and says whether length and
//! checksum are set right. A batch that passes has the records that its header claims, and what a
//! rewrite makes of it passes too, with the same records.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::batch::{LIMITS, WORKSPACE_BYTES_MAX, mend, rules};
use tailwater_fuzz::memory::bounded;
use tailwater_record::{
    BatchHeader, RecordError, RecordStream, TimestampType, Walk, Workspace, batches, crc_is_valid,
    rewrite, validate,
};

const NOW_MS: i64 = 1_700_000_000_000;

/// How many records, and a sum over what they hold.
fn read(batch: &[u8], header: &BatchHeader) -> Result<(u32, u64), RecordError> {
    let mut workspace = Workspace::new();
    let mut stream = RecordStream::new(batch, header, &LIMITS, &mut workspace)?;
    let (mut count, mut sum) = (0, 0_u64);
    let mut mix = |byte: u8| sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    while let Some(record) = stream.next()? {
        count += 1;
        for part in [record.key, record.value].into_iter().flatten() {
            part.iter().copied().for_each(&mut mix);
        }
    }
    Ok((count, sum))
}

fuzz_target!(|input: &[u8]| {
    let Some((&flags, bytes)) = input.split_first() else {
        return;
    };
    let mut bytes = bytes.to_vec();
    if flags & 1 == 1 {
        mend(&mut bytes);
    }
    let _ = batches(&bytes).count();
    let rules = rules(flags);
    let batch = Bytes::from(bytes);
    let limit = WORKSPACE_BYTES_MAX + 2 * batch.len();
    let mut workspace = Workspace::new();
    let validated = bounded("validation", limit, || {
        validate(&batch, &rules, NOW_MS, &mut workspace)
    });
    let Ok(validated) = validated else {
        return;
    };
    assert!(crc_is_valid(&batch));
    assert_eq!(validated.header.total_bytes(), batch.len());
    let limit = limit + WORKSPACE_BYTES_MAX + rules.batch_bytes_max;
    let rewritten = bounded("a rewrite", limit, || {
        rewrite(&batch, &validated, &rules, &mut workspace)
    });
    let found = match read(&batch, &validated.header) {
        Ok(found) => found,
        // Checking holds no record, reading does.
        Err(RecordError::RecordTooLarge { .. }) => return,
        Err(error) => {
            assert_eq!(rules.walk, Walk::HeaderOnly, "validated, but {error}");
            return;
        }
    };
    assert_eq!(found.0, validated.record_count);
    let rewritten = match rewritten {
        Ok(rewritten) => rewritten,
        Err(error) => {
            assert!(matches!(error, RecordError::TooLarge { .. }), "{error}");
            return;
        }
    };
    assert!(crc_is_valid(&rewritten.batch));
    assert_eq!(BatchHeader::parse(&rewritten.batch), Ok(rewritten.header));
    assert_eq!(read(&rewritten.batch, &rewritten.header), Ok(found));
    if rules.timestamp_type == TimestampType::CreateTime && rules.walk == Walk::Records {
        let again = validate(&rewritten.batch, &rules, NOW_MS, &mut workspace);
        let zstd = matches!(again, Err(RecordError::CodecNotAllowed { .. }));
        assert!(again.is_ok() || zstd, "{again:?}");
    }
});

use super::*;
use crate::builder::{BatchBuilder, NewRecord};
use crate::error::{ErrorKind, RECORD_PROBLEMS_MAX};
use crate::header::{Attributes, HEADER_BYTES, LENGTH_PREFIX_BYTES, set_base_offset};
use crate::rewrite::{finish, rewrite};
use crate::varint::put_varlong;

const NOW: i64 = 1_700_000_000_000;

fn value(value: &[u8]) -> NewRecord<'_> {
    NewRecord {
        timestamp: NOW,
        key: None,
        value: Some(value),
        headers: &[],
    }
}

fn batch() -> BatchBuilder {
    BatchBuilder::new()
        .record(value(b"one"))
        .record(value(b"two"))
}

fn check(bytes: &[u8]) -> Result<Validated, RecordError> {
    validate(
        bytes,
        &ValidationRules::default(),
        NOW,
        &mut Workspace::new(),
    )
}

fn check_with(bytes: &[u8], rules: &ValidationRules) -> Result<Validated, RecordError> {
    validate(bytes, rules, NOW, &mut Workspace::new())
}

/// The batch with another header and a checksum that fits.
fn with_header(bytes: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut header = BatchHeader::parse(&bytes).unwrap();
    change(&mut header);
    finish(&mut bytes, &mut header);
    bytes
}

/// A batch of one record with these bytes after the header, and a checksum that fits.
fn with_records(records: &[u8]) -> Vec<u8> {
    let mut bytes = BatchBuilder::new().record(value(b"")).build().to_vec();
    bytes.truncate(HEADER_BYTES);
    bytes.extend_from_slice(records);
    with_header(&bytes, |_| {})
}

#[test]
fn a_good_batch_is_appended_as_it_came() {
    let valid = check(&batch().build()).unwrap();
    assert_eq!(valid.record_count, 2);
    assert_eq!(valid.rewrite, Rewrite::None);
    assert_eq!(
        (valid.max_timestamp, valid.offset_delta_of_max_timestamp),
        (NOW, Some(0))
    );
}

#[test]
fn nothing_and_parts_of_a_batch_are_refused() {
    assert_eq!(check(&[]), Err(RecordError::Empty));
    let bytes = batch().build();
    for end in 1..bytes.len() {
        let error = check(&bytes[..end]).unwrap_err();
        assert!(matches!(error, RecordError::Truncated { have, .. } if have == end));
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidRecord,
            "Kafka finds no batch there"
        );
    }
}

#[test]
fn more_than_one_batch_is_refused() {
    let one = batch().build();
    let two = [&one[..], &one[..]].concat();
    assert_eq!(
        check(&two),
        Err(RecordError::TrailingBytes { bytes: one.len() })
    );
    assert_eq!(check(&two).unwrap_err().kind(), ErrorKind::InvalidRecord);
}

#[test]
fn old_magic_is_an_invalid_record_and_unknown_magic_a_corrupt_message() {
    for (magic, kind) in [
        (0, ErrorKind::InvalidRecord),
        (1, ErrorKind::InvalidRecord),
        (3, ErrorKind::CorruptMessage),
        (0xff, ErrorKind::CorruptMessage),
    ] {
        let mut bytes = batch().build().to_vec();
        bytes[16] = magic;
        assert_eq!(check(&bytes).unwrap_err().kind(), kind, "magic {magic}");
    }
}

#[test]
fn impossible_lengths_are_refused() {
    for length in [i32::MIN, -1, 0, 13, 14, 48] {
        let mut bytes = batch().build().to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(check(&bytes), Err(RecordError::LengthImpossible { length }));
    }
    let mut bytes = batch().build().to_vec();
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let need = i32::MAX as usize + LENGTH_PREFIX_BYTES;
    assert_eq!(
        check(&bytes),
        Err(RecordError::Truncated {
            have: bytes.len(),
            need
        })
    );
}

#[test]
fn any_flipped_bit_under_the_checksum_is_noticed() {
    let good = batch().build();
    for at in 17..good.len() {
        let mut bytes = good.to_vec();
        bytes[at] ^= 1;
        let error = check(&bytes).unwrap_err();
        assert!(
            matches!(error, RecordError::ChecksumMismatch { .. }),
            "{at}: {error}"
        );
    }
}

#[test]
fn a_batch_over_max_message_bytes_is_refused() {
    let bytes = batch().build();
    let rules = |batch_bytes_max| ValidationRules {
        batch_bytes_max,
        ..Default::default()
    };
    assert!(check_with(&bytes, &rules(bytes.len())).is_ok());
    let error = check_with(&bytes, &rules(bytes.len() - 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
}

#[test]
fn zstd_is_refused_before_version_7() {
    let bytes = batch().compression(Compression::of(Codec::Zstd)).build();
    let rules = ValidationRules {
        zstd_allowed: false,
        ..Default::default()
    };
    assert_eq!(
        check_with(&bytes, &rules).unwrap_err().kind(),
        ErrorKind::UnsupportedCompressionType
    );
    assert!(check(&bytes).is_ok());
}

#[test]
fn codecs_that_do_not_exist_are_refused() {
    for id in 5..=7u8 {
        let mut bytes = batch().build().to_vec();
        bytes[22] = id;
        assert_eq!(check(&bytes), Err(RecordError::UnknownCodec { id }));
    }
}

#[test]
fn attribute_bits_that_a_producer_may_not_set_are_refused() {
    for bit in 6..16 {
        let attributes = Attributes::from_bits(1 << bit).unwrap();
        let bytes = with_header(&batch().build(), |header| header.attributes = attributes);
        assert_eq!(
            check(&bytes),
            Err(RecordError::AttributesNotAllowed {
                attributes: 1 << bit
            })
        );
    }
    assert_eq!(
        check(&batch().control(true).build()),
        Err(RecordError::ControlBatch)
    );
}

#[test]
fn a_transactional_batch_is_reported_and_left_to_the_broker() {
    let valid = check(&batch().producer(1, 0, 0).transactional(true).build()).unwrap();
    assert!(valid.header.attributes.is_transactional());
}

#[test]
fn the_base_offset_must_be_0() {
    let mut bytes = batch().build().to_vec();
    set_base_offset(&mut bytes, 1);
    assert_eq!(
        check(&bytes),
        Err(RecordError::BaseOffsetNotZero { base_offset: 1 })
    );
}

#[test]
fn record_count_and_last_offset_delta_must_agree() {
    for (record_count, last_offset_delta) in [
        (0, -1),
        (-1, -2),
        (2, 0),
        (2, 2),
        (1, 1),
        (i32::MIN, i32::MAX),
    ] {
        let bytes = with_header(&batch().build(), |header| {
            header.record_count = record_count;
            header.last_offset_delta = last_offset_delta;
        });
        assert_eq!(
            check(&bytes),
            Err(RecordError::CountMismatch {
                record_count,
                last_offset_delta
            })
        );
    }
}

#[test]
fn fewer_and_more_records_than_claimed_are_noticed() {
    let with_count = |count| {
        with_header(&batch().build(), |header| {
            header.record_count = count;
            header.last_offset_delta = count - 1;
        })
    };
    assert_eq!(
        check(&with_count(1)),
        Err(RecordError::BytesAfterRecords { record_count: 1 })
    );
    for count in [3, i32::MAX] {
        let error = check(&with_count(count)).unwrap_err();
        assert!(
            matches!(error, RecordError::MalformedRecord { index: 2, .. }),
            "{error}"
        );
    }
}

#[test]
fn producer_fields_must_go_together() {
    for (epoch, sequence) in [(0, -1), (-1, 0)] {
        let error = check(&batch().producer(7, epoch, sequence).build()).unwrap_err();
        assert!(matches!(
            error,
            RecordError::ProducerFields { producer_id: 7, .. }
        ));
    }
    assert!(check(&batch().producer(7, 0, 0).build()).is_ok());
    assert!(
        check(&batch().producer(-1, 5, 5).build()).is_ok(),
        "Kafka does not look at them then"
    );
}

#[test]
fn offset_deltas_count_from_0() {
    for codec in Codec::ALL {
        let good = batch().compression(Compression::of(codec)).build();
        assert!(check(&good).is_ok());
    }
    // The record: length, attributes, timestamp delta 0, offset delta 1 (zigzag 2), null, null, none.
    let bytes = with_records(&[12, 0, 0, 2, 1, 1, 0]);
    assert_eq!(
        check(&bytes),
        Err(RecordError::OffsetDelta {
            index: 0,
            offset_delta: 1
        })
    );
}

#[test]
fn garbage_under_a_right_checksum_is_an_invalid_record() {
    // Each a record of which something is wrong; varints are zigzag: 1 is -1, 2 is 1.
    let cases: [(&[u8], &str); 14] = [
        (&[], "no length"),
        (&[1], "negative length"),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0], "length of six bytes"),
        (&[0xff, 0xff, 0xff, 0xff, 0x7f, 0], "length beyond 32 bits"),
        (&[14, 0, 0, 0, 1, 1, 0], "length beyond the batch"),
        (&[10, 0, 0, 0, 1, 1, 0], "length within a field"),
        (&[14, 0, 0, 0, 1, 1, 0, 0], "byte after the last field"),
        (&[12, 0, 0, 0, 3, 1, 0], "key length -2"),
        (&[12, 0, 0, 0, 100, 1, 0], "key beyond the record"),
        (&[12, 0, 0, 0, 1, 100, 0], "value beyond the record"),
        (&[12, 0, 0, 0, 1, 1, 1], "header count -1"),
        (&[12, 0, 0, 0, 1, 1, 2], "header count beyond the record"),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], "header key null"),
        (
            &[16, 0, 0, 0, 1, 1, 2, 0, 6],
            "header value beyond the record",
        ),
    ];
    for (records, name) in cases {
        let error = check(&with_records(records)).unwrap_err();
        assert!(
            matches!(error, RecordError::MalformedRecord { index: 0, .. }),
            "{name}: {error}"
        );
        assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    }
    assert!(check(&with_records(&[12, 0, 0, 0, 1, 1, 0])).is_ok());
    assert!(
        check(&with_records(&[14, 0, 0x80, 0, 0, 1, 1, 0])).is_ok(),
        "a padded varint is Kafka's taste too"
    );
}

#[test]
fn garbage_under_a_right_checksum_does_not_decompress() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let garbage = with_records(&[0x5a; 100]);
        let bytes = with_header(&garbage, |header| {
            header.attributes = header.attributes.with_codec(codec)
        });
        let error = check(&bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRecord, "{codec}: {error}");
        assert!(
            matches!(error, RecordError::Decompress { .. }),
            "{codec}: {error}"
        );
    }
}

#[test]
fn timestamps_outside_the_window_are_refused_record_by_record() {
    let rules = ValidationRules {
        timestamp_before_max_ms: 10,
        timestamp_after_max_ms: 20,
        ..Default::default()
    };
    let at = |timestamp| NewRecord {
        timestamp,
        ..value(b"v")
    };
    let built = |timestamps: &[i64]| {
        timestamps
            .iter()
            .fold(BatchBuilder::new(), |b, t| b.record(at(*t)))
            .build()
    };
    assert!(check_with(&built(&[NOW - 10, NOW + 20, NO_TIMESTAMP]), &rules).is_ok());
    let error = check_with(&built(&[NOW, NOW - 11, NOW, NOW + 21]), &rules).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTimestamp);
    let indices: Vec<u32> = error
        .problems()
        .unwrap()
        .described()
        .iter()
        .map(|p| p.batch_index)
        .collect();
    assert_eq!(indices, [1, 3]);
    let broker = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules
    };
    assert!(
        check_with(&built(&[NOW - 11]), &broker).is_ok(),
        "the broker's time replaces it anyway"
    );
}

#[test]
fn extreme_timestamps_neither_panic_nor_pass() {
    let rules = ValidationRules {
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 0,
        ..Default::default()
    };
    for (base, delta) in [(i64::MAX, 1), (i64::MIN, -1), (i64::MAX, 0)] {
        let mut record = vec![0];
        put_varlong(&mut record, delta);
        record.extend_from_slice(&[0, 1, 1, 0]);
        let mut records = Vec::new();
        put_varlong(&mut records, record.len() as i64);
        records.extend_from_slice(&record);
        let bytes = with_header(&with_records(&records), |header| {
            header.base_timestamp = base
        });
        assert!(check_with(&bytes, &rules).is_err(), "{base} {delta}");
        assert!(validate(&bytes, &rules, i64::MIN, &mut Workspace::new()).is_err());
    }
}

#[test]
fn only_the_broker_sets_the_type_log_append_time() {
    let bytes = batch().timestamp_type(TimestampType::LogAppendTime).build();
    for timestamp_type in [TimestampType::CreateTime, TimestampType::LogAppendTime] {
        let rules = ValidationRules {
            timestamp_type,
            ..Default::default()
        };
        assert_eq!(
            check_with(&bytes, &rules).unwrap_err().kind(),
            ErrorKind::InvalidTimestamp
        );
    }
}

#[test]
fn a_wrong_greatest_timestamp_is_put_right() {
    let bytes = with_header(&batch().build(), |header| header.max_timestamp = NOW + 5);
    let valid = check(&bytes).unwrap();
    assert_eq!((valid.rewrite, valid.max_timestamp), (Rewrite::Header, NOW));
    let rules = ValidationRules::default();
    let rewritten = rewrite(&bytes.into(), &valid, &rules, &mut Workspace::new()).unwrap();
    assert_eq!(rewritten.batch, batch().build());
}

#[test]
fn records_without_any_timestamp_have_no_greatest_one() {
    let bytes = BatchBuilder::new()
        .record(NewRecord {
            timestamp: NO_TIMESTAMP,
            ..value(b"v")
        })
        .build();
    let valid = check(&bytes).unwrap();
    assert_eq!(
        (valid.max_timestamp, valid.offset_delta_of_max_timestamp),
        (NO_TIMESTAMP, None)
    );
    assert_eq!(valid.rewrite, Rewrite::None);
}

#[test]
fn described_problems_are_bounded_and_all_are_counted() {
    let count = RECORD_PROBLEMS_MAX + 10;
    let bytes = (0..count)
        .fold(BatchBuilder::new(), |b, _| b.record(value(b"v")))
        .build();
    let rules = ValidationRules {
        key_required: true,
        ..Default::default()
    };
    let error = check_with(&bytes, &rules).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRecord);
    let problems = error.problems().unwrap();
    assert_eq!(
        (problems.described().len(), problems.count() as usize),
        (RECORD_PROBLEMS_MAX, count)
    );
}

#[test]
fn with_header_only_records_are_not_looked_at_but_the_header_is() {
    let rules = ValidationRules {
        walk: Walk::HeaderOnly,
        ..Default::default()
    };
    let garbage = with_header(&with_records(&[0x5a; 100]), |header| {
        header.attributes = header.attributes.with_codec(Codec::Lz4);
    });
    let valid = check_with(&garbage, &rules).unwrap();
    assert_eq!(
        (valid.max_timestamp, valid.offset_delta_of_max_timestamp),
        (NOW, None)
    );
    let late = with_header(&garbage, |header| header.max_timestamp = NOW + 3_600_001);
    assert_eq!(
        check_with(&late, &rules).unwrap_err().kind(),
        ErrorKind::InvalidTimestamp
    );
    let mut flipped = garbage;
    flipped[80] ^= 1;
    assert_eq!(
        check_with(&flipped, &rules).unwrap_err().kind(),
        ErrorKind::CorruptMessage
    );
}

#[test]
fn a_batch_that_its_topic_s_codec_makes_too_large_is_refused() {
    let zeros = vec![0; 1 << 20];
    let bytes = BatchBuilder::new()
        .compression(Compression::of(Codec::Zstd))
        .record(value(&zeros))
        .build();
    let rules = ValidationRules {
        compression: Some(Compression::of(Codec::None)),
        batch_bytes_max: 300_000,
        ..Default::default()
    };
    let mut workspace = Workspace::new();
    let valid = validate(&bytes, &rules, NOW, &mut workspace).unwrap();
    let error = rewrite(&bytes, &valid, &rules, &mut workspace).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MessageTooLarge);
    assert!(
        matches!(error, RecordError::TooLarge { bytes, .. } if bytes < 400_000),
        "noticed on the way"
    );
}

//! Bytes that real clients wrote and what a real broker made of them; see `testdata/README.md`.

use bytes::Bytes;

use crate::*;

const T0: i64 = 1_700_000_000_000;

fn golden(name: &str) -> Bytes {
    let bytes: &'static [u8] = match name {
        "java-none" => include_bytes!("../testdata/java-none.bin"),
        "java-gzip" => include_bytes!("../testdata/java-gzip.bin"),
        "java-snappy" => include_bytes!("../testdata/java-snappy.bin"),
        "java-lz4" => include_bytes!("../testdata/java-lz4.bin"),
        "java-zstd" => include_bytes!("../testdata/java-zstd.bin"),
        "java-zstd-level-22" => include_bytes!("../testdata/java-zstd-level-22.bin"),
        "java-lz4-level-17" => include_bytes!("../testdata/java-lz4-level-17.bin"),
        "java-transactional" => include_bytes!("../testdata/java-transactional.bin"),
        "java-commit-marker" => include_bytes!("../testdata/java-commit-marker.bin"),
        "java-none-to-gzip" => include_bytes!("../testdata/java-none-to-gzip.bin"),
        "librdkafka-gzip" => include_bytes!("../testdata/librdkafka-gzip.bin"),
        "librdkafka-snappy" => include_bytes!("../testdata/librdkafka-snappy.bin"),
        "librdkafka-lz4" => include_bytes!("../testdata/librdkafka-lz4.bin"),
        "librdkafka-zstd" => include_bytes!("../testdata/librdkafka-zstd.bin"),
        _ => panic!("no such golden"),
    };
    Bytes::from_static(bytes)
}

fn java(codec: Codec) -> Bytes {
    golden(&format!("java-{codec}"))
}

fn log_append_time_header(codec: Codec) -> &'static [u8; HEADER_BYTES] {
    match codec {
        Codec::None => include_bytes!("../testdata/java-none-log-append-time.header"),
        Codec::Gzip => include_bytes!("../testdata/java-gzip-log-append-time.header"),
        Codec::Snappy => include_bytes!("../testdata/java-snappy-log-append-time.header"),
        Codec::Lz4 => include_bytes!("../testdata/java-lz4-log-append-time.header"),
        Codec::Zstd => include_bytes!("../testdata/java-zstd-log-append-time.header"),
    }
}

/// As the program that made the goldens makes them: nine parts of ten compress well, one does not.
fn filler(seed: i32, len: usize) -> Vec<u8> {
    let step = |x: i32| x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let mut x = step(seed);
    (0..len)
        .map(|i| {
            if (i / 1000) % 10 == 9 {
                x = step(x);
                (x >> 24) as u8
            } else {
                b'a' + (i % 7) as u8
            }
        })
        .collect()
}

type Owned = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn some(bytes: impl AsRef<[u8]>) -> Option<Vec<u8>> {
    Some(bytes.as_ref().to_vec())
}

/// The nine records of every `java-*.bin`.
fn java_records() -> Vec<Owned> {
    let headers = [
        ("twice", some("first")),
        ("twice", some("second")),
        ("null", None),
        ("", some("")),
    ];
    let headers = headers
        .map(|(key, value)| (key.as_bytes().to_vec(), value))
        .to_vec();
    vec![
        (T0, some("key"), some("value"), vec![]),
        (T0 + 5, None, some("no key"), vec![]),
        (T0 - 7, some("tombstone"), None, vec![]),
        (T0 + 5, some(""), some(""), vec![]),
        (T0 + 1, some("headers"), some("h"), headers),
        (T0 + 2, some("large"), some(filler(5, 70_000)), vec![]),
        (T0 + 3, some(filler(6, 9_000)), some(filler(7, 63)), vec![]),
        (T0 + 4, None, None, vec![]),
        (T0 + 4, some("last"), some(filler(8, 64)), vec![]),
    ]
}

fn owned(header: &BatchHeader, record: Record<'_>) -> Owned {
    let headers = record
        .headers
        .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
    let timestamp = header.base_timestamp + record.timestamp_delta;
    (
        timestamp,
        record.key.map(<[u8]>::to_vec),
        record.value.map(<[u8]>::to_vec),
        headers.collect(),
    )
}

fn read(batch: &[u8]) -> Vec<Owned> {
    let header = BatchHeader::parse(batch).unwrap();
    let mut workspace = Workspace::new();
    let mut stream = RecordStream::new(batch, &header, &Limits::default(), &mut workspace).unwrap();
    let mut records = Vec::new();
    while let Some(record) = stream.next().unwrap() {
        assert_eq!(record.offset_delta as usize, records.len());
        records.push(owned(&header, record));
    }
    records
}

fn rules() -> ValidationRules {
    ValidationRules::default()
}

#[test]
fn java_batches_of_every_codec_hold_the_same_records() {
    for codec in Codec::ALL {
        let batch = java(codec);
        let header = BatchHeader::parse(&batch).unwrap();
        assert!(crc_is_valid(&batch), "{codec}");
        assert_eq!(header.codec(), codec);
        assert_eq!(
            (
                header.base_offset,
                header.last_offset(),
                header.record_count
            ),
            (0, 8, 9)
        );
        assert_eq!(
            (
                header.producer_id,
                header.producer_epoch,
                header.base_sequence
            ),
            (4711, 3, 17)
        );
        assert_eq!((header.base_timestamp, header.max_timestamp), (T0, T0 + 5));
        assert_eq!(header.last_sequence(), 25);
        assert_eq!(read(&batch), java_records(), "{codec}");
    }
    for name in [
        "java-zstd-level-22",
        "java-lz4-level-17",
        "java-transactional",
    ] {
        assert_eq!(read(&golden(name)), java_records(), "{name}");
    }
}

#[test]
fn librdkafka_batches_of_every_codec_hold_their_lines() {
    let phrase = "the quick brown fox jumps over the lazy dog ".repeat(4);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let batch = golden(&format!("librdkafka-{codec}"));
        let valid = validate(&batch, &rules(), i64::MAX / 2, &mut Workspace::new()).unwrap();
        assert_eq!(
            (valid.record_count, valid.rewrite),
            (400, Rewrite::None),
            "{codec}"
        );
        let records = read(&batch);
        for (index, (_, key, value, headers)) in records.into_iter().enumerate() {
            assert_eq!(key, some("key"));
            assert_eq!(value, some(format!("line {index}: {phrase}")));
            let expected = ["1", "2"].map(|value| (b"a".to_vec(), some(value)));
            assert_eq!(headers, expected, "{codec}");
        }
    }
}

#[test]
fn the_builder_writes_java_s_bytes_where_nothing_is_compressed() {
    let records = java_records();
    let mut builder = BatchBuilder::new().producer(4711, 3, 17);
    for (timestamp, key, value, headers) in &records {
        let headers: Vec<Header<'_>> = headers
            .iter()
            .map(|(key, value)| Header {
                key,
                value: value.as_deref(),
            })
            .collect();
        builder.push(NewRecord {
            timestamp: *timestamp,
            key: key.as_deref(),
            value: value.as_deref(),
            headers: &headers,
        });
    }
    let batch = builder.build();
    assert_eq!(batch, java(Codec::None));
}

#[test]
fn java_batches_are_valid_and_need_no_rewriting() {
    let mut workspace = Workspace::new();
    for codec in Codec::ALL {
        let batch = java(codec);
        let valid = validate(&batch, &rules(), T0, &mut workspace).unwrap();
        assert_eq!(valid.rewrite, Rewrite::None, "{codec}");
        assert_eq!(
            (valid.max_timestamp, valid.offset_delta_of_max_timestamp),
            (T0 + 5, Some(1))
        );
        let rewritten = rewrite(&batch, &valid, &rules(), &mut workspace).unwrap();
        assert_eq!(
            rewritten.batch.as_ptr(),
            batch.as_ptr(),
            "the very same bytes"
        );
    }
    let valid = validate(&golden("java-transactional"), &rules(), T0, &mut workspace).unwrap();
    assert!(valid.header.attributes.is_transactional());
    let marker = golden("java-commit-marker");
    assert!(BatchHeader::parse(&marker).unwrap().attributes.is_control());
    assert!(crc_is_valid(&marker));
}

#[test]
fn log_append_time_makes_the_header_that_kafka_makes() {
    let rules = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        ..rules()
    };
    let mut workspace = Workspace::new();
    for codec in Codec::ALL {
        let batch = java(codec);
        let valid = validate(&batch, &rules, T0 + 123, &mut workspace).unwrap();
        assert_eq!(
            (valid.rewrite, valid.max_timestamp),
            (Rewrite::Header, T0 + 123)
        );
        let rewritten = rewrite(&batch, &valid, &rules, &mut workspace).unwrap();
        let mut bytes = rewritten.batch.to_vec();
        assert_eq!(BatchHeader::parse(&bytes).unwrap(), rewritten.header);
        set_base_offset(&mut bytes, 1000);
        set_leader_epoch(&mut bytes, 7);
        assert_eq!(
            &bytes[..HEADER_BYTES],
            log_append_time_header(codec),
            "{codec}"
        );
        assert_eq!(bytes[HEADER_BYTES..], batch[HEADER_BYTES..]);
        assert!(
            crc_is_valid(&bytes),
            "offset and epoch lie outside the checksum"
        );
    }
}

#[test]
fn unpacking_under_log_append_time_makes_the_batch_that_kafka_makes() {
    let rules = ValidationRules {
        timestamp_type: TimestampType::LogAppendTime,
        compression: Some(Compression::of(Codec::None)),
        ..rules()
    };
    let mut workspace = Workspace::new();
    let expected = include_bytes!("../testdata/java-gzip-to-none-log-append-time.header");
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let batch = java(codec);
        let valid = validate(&batch, &rules, T0 + 123, &mut workspace).unwrap();
        let mut bytes = rewrite(&batch, &valid, &rules, &mut workspace)
            .unwrap()
            .batch
            .to_vec();
        set_base_offset(&mut bytes, 1000);
        set_leader_epoch(&mut bytes, 7);
        assert_eq!(&bytes[..HEADER_BYTES], expected, "{codec}");
        assert_eq!(bytes[HEADER_BYTES..], java(Codec::None)[HEADER_BYTES..]);
    }
}

#[test]
fn every_codec_is_packed_into_every_other() {
    let mut workspace = Workspace::new();
    for from in Codec::ALL {
        for to in Codec::ALL.into_iter().filter(|to| *to != from) {
            let rules = ValidationRules {
                compression: Some(Compression::of(to)),
                ..rules()
            };
            let valid = validate(&java(from), &rules, T0, &mut workspace).unwrap();
            assert_eq!(valid.rewrite, Rewrite::Recompress);
            let rewritten = rewrite(&java(from), &valid, &rules, &mut workspace).unwrap();
            assert_eq!(rewritten.header.codec(), to);
            let again = validate(&rewritten.batch, &rules, T0, &mut workspace).unwrap();
            assert_eq!(again.rewrite, Rewrite::None);
            assert_eq!(again.header, rewritten.header);
            assert_eq!(read(&rewritten.batch), java_records(), "{from} to {to}");
        }
    }
}

#[test]
fn packing_gives_the_header_that_kafka_gives_but_for_length_and_checksum() {
    let rules = ValidationRules {
        compression: Some(Compression::of(Codec::Gzip)),
        ..rules()
    };
    let mut workspace = Workspace::new();
    let valid = validate(&java(Codec::None), &rules, T0 + 123, &mut workspace).unwrap();
    let ours = rewrite(&java(Codec::None), &valid, &rules, &mut workspace).unwrap();
    let kafka = BatchHeader::parse(&golden("java-none-to-gzip")).unwrap();
    let masked = BatchHeader {
        base_offset: kafka.base_offset,
        partition_leader_epoch: kafka.partition_leader_epoch,
        batch_length: kafka.batch_length,
        crc: kafka.crc,
        ..ours.header
    };
    assert_eq!(masked, kafka);
    assert_eq!(read(&ours.batch), read(&golden("java-none-to-gzip")));
}

/// Ours in the form of `java-errors.txt`.
fn described(rules: &ValidationRules, batch: &[u8]) -> String {
    let error = validate(batch, rules, T0, &mut Workspace::new()).unwrap_err();
    let problems = error.problems().unwrap();
    let exception = match error.kind() {
        ErrorKind::InvalidTimestamp => "InvalidTimestampException",
        ErrorKind::InvalidRecord => "InvalidRecordException",
        kind => panic!("{kind:?}"),
    };
    let mut text = format!("{exception}\n{}\n", problems.message("orders-3"));
    for problem in problems.described() {
        text += &format!("{} {}\n", problem.batch_index, problem.message("orders-3"));
    }
    text
}

#[test]
fn record_errors_are_worded_as_kafka_words_them() {
    let expected = include_str!("../testdata/java-errors.txt");
    let topic = |key_required, before, after| ValidationRules {
        key_required,
        timestamp_before_max_ms: before,
        timestamp_after_max_ms: after,
        ..rules()
    };
    for codec in Codec::ALL {
        let batch = java(codec);
        let text = format!(
            "# compacted\n{}# before 3 after 4\n{}# compacted before 7 after 4\n{}",
            described(&topic(true, i64::MAX, 3_600_000), &batch),
            described(&topic(false, 3, 4), &batch),
            described(&topic(true, 7, 4), &batch),
        );
        assert_eq!(text, expected, "{codec}");
    }
}

#[test]
fn timestamps_are_found_inside_a_batch() {
    let mut workspace = Workspace::new();
    for codec in Codec::ALL {
        let mut batch = java(codec).to_vec();
        set_base_offset(&mut batch, 100);
        let header = BatchHeader::parse(&batch).unwrap();
        let mut first = |timestamp, offset_min| {
            first_at_or_after(
                &batch,
                &header,
                timestamp,
                offset_min,
                &Limits::default(),
                &mut workspace,
            )
            .unwrap()
            .map(|found| (found.offset, found.timestamp))
        };
        assert_eq!(first(T0 - 100, 0), Some((100, T0)));
        assert_eq!(first(T0 + 3, 0), Some((101, T0 + 5)));
        assert_eq!(first(T0 + 3, 104), Some((106, T0 + 3)));
        assert_eq!(first(T0 + 5, 104), None);
        assert_eq!(first(T0 + 6, 0), None);
        assert_eq!(first(T0, 109), None);
        let max = max_timestamp(&batch, &header, &Limits::default(), &mut workspace).unwrap();
        assert_eq!(
            max,
            Some(TimestampedOffset {
                offset: 101,
                timestamp: T0 + 5
            })
        );
        let attributes = header
            .attributes
            .with_timestamp_type(TimestampType::LogAppendTime);
        set_max_timestamp_and_attributes(&mut batch, T0 + 50, attributes);
        let header = BatchHeader::parse(&batch).unwrap();
        let max = max_timestamp(&batch, &header, &Limits::default(), &mut workspace).unwrap();
        assert_eq!(
            max,
            Some(TimestampedOffset {
                offset: 100,
                timestamp: T0 + 50
            })
        );
    }
}

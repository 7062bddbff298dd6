//! What holds for all batches, and for all bytes that are none.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::*;

type Owned = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn bytes(len_max: usize) -> impl Strategy<Value = Vec<u8>> {
    // Both what compresses and what does not.
    prop_oneof![
        vec(any::<u8>(), 0..len_max),
        (any::<u8>(), 0..len_max).prop_map(|(byte, len)| vec![byte; len])
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let header = (bytes(20), option::of(bytes(20)));
    let timestamp = prop_oneof![-1..2_000_000_000_000i64, Just(NO_TIMESTAMP)];
    let value = prop_oneof![4 => bytes(100), 1 => bytes(100_000)];
    (
        timestamp,
        option::of(bytes(50)),
        option::of(value),
        vec(header, 0..4),
    )
}

fn codec() -> impl Strategy<Value = Codec> {
    (0..5usize).prop_map(|id| Codec::ALL[id])
}

fn built(codec: Codec, records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(Compression::of(codec));
    for (timestamp, key, value, headers) in records {
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
    builder.build().to_vec()
}

fn owned(header: &BatchHeader, record: Record<'_>) -> Owned {
    let headers = record
        .headers
        .map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
    let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
    (
        timestamp,
        record.key.map(<[u8]>::to_vec),
        record.value.map(<[u8]>::to_vec),
        headers.collect(),
    )
}

fn read(
    batch: &[u8],
    limits: &Limits,
    workspace: &mut Workspace,
) -> Result<Vec<Owned>, RecordError> {
    let header = BatchHeader::parse(batch)?;
    let mut stream = RecordStream::new(batch, &header, limits, workspace)?;
    let mut records = Vec::new();
    while let Some(record) = stream.next()? {
        records.push(owned(&header, record));
    }
    Ok(records)
}

fn rules() -> ValidationRules {
    ValidationRules {
        batch_bytes_max: usize::MAX,
        timestamp_after_max_ms: i64::MAX,
        ..Default::default()
    }
}

/// A batch whose checksum is right again after its bytes have been changed.
fn with_right_crc(batch: &mut [u8]) {
    if let Some(crc) = computed_crc(batch)
        && let Some(field) = batch.get_mut(17..21)
    {
        field.copy_from_slice(&crc.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_valid_and_comes_back(codec in codec(), records in vec(record(), 1..20)) {
        let batch = built(codec, &records);
        let mut workspace = Workspace::new();
        let valid = validate(&batch, &rules(), 0, &mut workspace).unwrap();
        prop_assert_eq!(valid.record_count as usize, records.len());
        prop_assert_eq!(valid.rewrite, Rewrite::None);
        let max = records.iter().map(|record| record.0).max().unwrap();
        prop_assert_eq!(valid.max_timestamp, max);
        prop_assert_eq!(read(&batch, &Limits::default(), &mut workspace).unwrap(), records.clone());
        if codec == Codec::None {
            let header = BatchHeader::parse(&batch).unwrap();
            let iter = RecordIter::new(&batch[HEADER_BYTES..], header.record_count);
            let plain: Vec<Owned> = iter.map(|record| owned(&header, record.unwrap())).collect();
            prop_assert_eq!(plain, records);
        }
    }

    #[test]
    fn records_survive_any_rewriting(
        from in codec(),
        to in codec(),
        broker_time in any::<bool>(),
        records in vec(record(), 1..10),
    ) {
        let batch = bytes::Bytes::from(built(from, &records));
        let timestamp_type = if broker_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let rules = ValidationRules { compression: Some(Compression::of(to)), timestamp_type, ..rules() };
        let mut workspace = Workspace::new();
        let valid = validate(&batch, &rules, 77, &mut workspace).unwrap();
        let rewritten = rewrite(&batch, &valid, &rules, &mut workspace).unwrap();
        prop_assert!(crc_is_valid(&rewritten.batch));
        prop_assert_eq!(BatchHeader::parse(&rewritten.batch).unwrap(), rewritten.header);
        prop_assert_eq!(rewritten.header.codec(), to);
        prop_assert_eq!(rewritten.header.max_timestamp, valid.max_timestamp);
        prop_assert_eq!(read(&rewritten.batch, &Limits::default(), &mut workspace).unwrap(), records);
    }

    #[test]
    fn changed_bytes_never_panic_and_cost_no_more_than_allowed(
        codec in codec(),
        records in vec(record(), 1..6),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in option::of(any::<prop::sample::Index>()),
    ) {
        let mut batch = built(codec, &records);
        for (at, byte) in changes {
            // Mostly behind the fields that would end the test at once.
            let at = 21 + at.index(batch.len() - 21);
            batch[at] = byte;
        }
        if let Some(cut) = cut {
            let len = HEADER_BYTES + cut.index(batch.len() - HEADER_BYTES + 1);
            batch.truncate(len);
            batch[8..12].copy_from_slice(&((len - LENGTH_PREFIX_BYTES) as u32).to_be_bytes());
        }
        with_right_crc(&mut batch);
        let limits = Limits { decompressed_bytes_max: 4 << 20, record_bytes_max: 1 << 20, zstd_window_log_max: 21 };
        let rules = ValidationRules { limits, ..rules() };
        let mut workspace = Workspace::new();
        let valid = validate(&batch, &rules, 0, &mut workspace);
        let read = read(&batch, &limits, &mut workspace);
        // Both walks agree on what is a record; checking knows more rules.
        if valid.is_ok() {
            let agrees = matches!(read, Ok(_) | Err(RecordError::RecordTooLarge { .. }));
            prop_assert!(agrees);
        }
        // Snappy: a block's whole output; zstd: twice a window and the context.
        prop_assert!(workspace.held_bytes() <= 16 << 20, "{}", workspace.held_bytes());
    }

    #[test]
    fn any_bytes_are_read_without_panic(codec in codec(), payload in vec(any::<u8>(), 0..300), count in any::<i32>()) {
        let _ = validate(&payload, &rules(), 0, &mut Workspace::new());
        for batch in batches(&payload) {
            let _ = batch;
        }
        for record in RecordIter::new(&payload, count) {
            let _ = record;
        }
        let mut batch = built(Codec::None, &[(0, None, None, vec![])]);
        batch.truncate(HEADER_BYTES);
        batch.extend_from_slice(&payload);
        let header = BatchHeader {
            batch_length: (batch.len() - LENGTH_PREFIX_BYTES) as u32,
            attributes: Attributes::default().with_codec(codec),
            record_count: count,
            last_offset_delta: count.wrapping_sub(1),
            ..BatchHeader::parse(&batch).unwrap()
        };
        batch[..HEADER_BYTES].copy_from_slice(&header.encode());
        with_right_crc(&mut batch);
        let _ = validate(&batch, &rules(), 0, &mut Workspace::new());
        let _ = read(&batch, &Limits::default(), &mut Workspace::new());
    }

    #[test]
    fn a_record_across_chunks_is_skimmed_as_it_is_read(
        codec in codec(),
        records in vec((bytes(70_000), bytes(70_000)), 1..4),
    ) {
        let records: Vec<Owned> = records.into_iter().map(|(key, value)| (5, Some(key), Some(value), vec![])).collect();
        let batch = built(codec, &records);
        let mut workspace = Workspace::new();
        prop_assert!(validate(&batch, &rules(), 5, &mut workspace).is_ok());
        prop_assert_eq!(read(&batch, &Limits::default(), &mut workspace).unwrap(), records);
    }
}

use std::sync::Arc;

use bytes::Bytes;

use super::*;

#[test]
fn a_key_that_ends_early_is_refused_and_one_of_an_unknown_kind_is_passed_over() {
    let key = Key::CurrentMember {
        group: Arc::from("group"),
        member: Arc::from("member"),
    };
    let bytes = key.encode();
    assert_eq!(Key::decode(&bytes), Ok(Some(key)));
    for len in 0..bytes.len() {
        assert!(Key::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(Key::decode(&[0, 9, 0, 1, b'g']), Ok(None));
}

#[test]
fn offsets_of_all_versions_are_read() {
    let offset = OffsetValue {
        offset: 7,
        leader_epoch: -1,
        metadata: Arc::from("m"),
        commit_ms: 8,
        expire_ms: None,
        topic: uuid::Uuid::nil(),
    };
    let tail = [&7i64.to_be_bytes()[..], b"\0\x01m", &8i64.to_be_bytes()].concat();
    for version in [0i16, 2] {
        let bytes = [&version.to_be_bytes()[..], &tail].concat();
        assert_eq!(OffsetValue::decode(&bytes), Ok(offset.clone()));
    }
    let first = [&[0, 1][..], &tail, &9i64.to_be_bytes()].concat();
    let expiring = OffsetValue {
        expire_ms: Some(9),
        ..offset.clone()
    };
    assert_eq!(OffsetValue::decode(&first), Ok(expiring.clone()));
    assert_eq!(expiring.encode(), Bytes::from(first));
    let third = [
        &[0, 3][..],
        &7i64.to_be_bytes(),
        &5i32.to_be_bytes(),
        b"\0\x01m",
        &8i64.to_be_bytes(),
    ]
    .concat();
    let with_epoch = OffsetValue {
        leader_epoch: 5,
        ..offset
    };
    assert_eq!(OffsetValue::decode(&third), Ok(with_epoch));
    assert_eq!(
        OffsetValue::decode(&[0, 5, 0]),
        Err(RecordError::Version { key: 1, version: 5 })
    );
}

#[test]
fn groups_of_all_versions_are_read() {
    let head = [
        &b"\0\x08consumer"[..],
        &3i32.to_be_bytes(),
        b"\0\x01p\0\x01l",
    ]
    .concat();
    let member = |version: i16| {
        let mut bytes = b"\0\x01l".to_vec();
        if version >= 3 {
            bytes.extend_from_slice(b"\xff\xff");
        }
        bytes.extend_from_slice(b"\0\x01c\0\x01h");
        if version >= 1 {
            bytes.extend_from_slice(&9i32.to_be_bytes());
        }
        bytes.extend_from_slice(&6i32.to_be_bytes());
        bytes.extend_from_slice(b"\0\0\0\x01s\0\0\0\x01a");
        bytes
    };
    for version in 0..=3i16 {
        let mut bytes = [&version.to_be_bytes()[..], &head].concat();
        if version >= 2 {
            bytes.extend_from_slice(&5i64.to_be_bytes());
        }
        bytes.extend_from_slice(&1i32.to_be_bytes());
        bytes.extend_from_slice(&member(version));
        let group = GroupValue::decode(&bytes).unwrap();
        assert_eq!(group.state_since_ms, if version >= 2 { 5 } else { -1 });
        let read = &group.members[0];
        assert_eq!(read.rebalance_timeout_ms, if version >= 1 { 9 } else { -1 });
        assert_eq!(
            (&read.subscription[..], &read.assignment[..]),
            (&b"s"[..], &b"a"[..])
        );
        for len in 0..bytes.len() {
            assert!(
                GroupValue::decode(&bytes[..len]).is_err(),
                "{len} of {version}"
            );
        }
        if version == 3 {
            assert_eq!(group.encode(), Bytes::from(bytes));
        }
    }
}

#[test]
fn a_count_that_lies_takes_no_memory() {
    let bytes = [
        &[0, 3][..],
        b"\0\0",
        &0i32.to_be_bytes(),
        b"\xff\xff\xff\xff",
        &0i64.to_be_bytes(),
        &i32::MAX.to_be_bytes(),
    ]
    .concat();
    assert!(matches!(
        GroupValue::decode(&bytes),
        Err(RecordError::Truncated { .. })
    ));
}

/// What a Kafka 4.3.0 wrote while a static classic member joined, committed and was removed, a
/// member of the new protocol subscribed by a regular expression, a classic one joined and left
/// beside it, and offsets and groups were deleted: a key and a value a line, in hexadecimal, with a
/// dash for a tombstone.
const WRITTEN_BY_KAFKA: &str = include_str!("kafka-4.3.0.txt");

fn unhex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn again(key: &Key, value: &[u8]) -> Bytes {
    match key {
        Key::Offset { .. } => OffsetValue::decode(value).unwrap().encode(),
        Key::Group { .. } => GroupValue::decode(value).unwrap().encode(),
        Key::ConsumerGroup { .. } => ConsumerGroupValue::decode(value).unwrap().encode(),
        Key::ConsumerPartitions { .. } => panic!("no longer written"),
        Key::ConsumerMember { .. } => ConsumerMemberValue::decode(value).unwrap().encode(),
        Key::TargetEpoch { .. } => TargetEpochValue::decode(value).unwrap().encode(),
        Key::TargetMember { .. } => TargetMemberValue::decode(value).unwrap().encode(),
        Key::CurrentMember { .. } => CurrentValue::decode(value).unwrap().encode(),
        Key::Regex { .. } => RegexValue::decode(value).unwrap().encode(),
    }
}

#[test]
fn what_kafka_wrote_is_read_and_written_again_byte_for_byte() {
    let mut kinds = std::collections::BTreeSet::new();
    for line in WRITTEN_BY_KAFKA.lines() {
        let (key, value) = line.split_once(' ').unwrap();
        let bytes = unhex(key);
        kinds.insert(bytes[1]);
        let key = Key::decode(&bytes).unwrap().unwrap();
        assert_eq!(key.encode(), bytes);
        if value != "-" {
            let value = unhex(value);
            assert_eq!(again(&key, &value), value, "{key:?}");
        }
    }
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 16].into());
}

#[test]
fn what_kafka_wrote_means_what_it_meant() {
    let find = |wanted: &Key| {
        let (_, value) = WRITTEN_BY_KAFKA
            .lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(key, value)| unhex(key) == wanted.encode() && *value != "-")
            .unwrap();
        unhex(value)
    };
    let group: Arc<str> = Arc::from("classic");
    let topic: Arc<str> = Arc::from("alpha");
    let offset = find(&Key::Offset {
        group: group.clone(),
        topic,
        partition: 0,
    });
    let offset = OffsetValue::decode(&offset).unwrap();
    assert_eq!((offset.offset, offset.leader_epoch), (3, 0));
    assert_eq!(&*offset.metadata, "some metadata é");
    assert!(!offset.topic.is_nil());
    let group = GroupValue::decode(&find(&Key::Group { group })).unwrap();
    assert_eq!((group.generation, group.members.len()), (0, 0));
}

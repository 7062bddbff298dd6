//! The skim against the API table, the codec, and what a real 4.3.0 broker was seen to do.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::generate::{self, body_of};
use super::shape::{Shape, Struct, Table};
use super::{TABLE, check, decoded_bytes_max};
use crate::api::ApiKey;
use crate::error::{Problem, WireError};
use crate::request::Request;
use crate::testing::{Numbers, encode_by_codec, header, mutate, rows};

fn problem(api: ApiKey, version: i16, body: &[u8]) -> Problem {
    match check(api, version, Bytes::copy_from_slice(body)) {
        Err(WireError::Malformed { problem, .. }) => problem,
        other => panic!("{api:?} {version}: {other:?}"),
    }
}

#[test]
fn each_api_and_version_that_is_served_has_a_shape_and_no_other() {
    let table = Table::parse(include_str!("messages.txt")).unwrap();
    assert!(table.rows().eq(rows()));
}

#[test]
fn shapes_are_flexible_from_the_version_on_that_the_table_says() {
    for (api, version) in rows() {
        let shape = TABLE.shape(api, version).unwrap();
        let Shape::Struct(Struct {
            tagged,
            nullable: false,
            ..
        }) = shape
        else {
            panic!("{api:?} {version} is no structure");
        };
        assert_eq!(
            tagged.is_some(),
            api.is_flexible(version),
            "{api:?} {version}"
        );
    }
}

#[test]
fn mistakes_in_the_text_are_named_with_their_line() {
    for (text, what) in [
        ("## 3 Produce", "no API that is served"),
        ("0-1 ()", "a shape before the first API"),
        ("## 3 Metadata\nx ()", "FIRST-LAST is missing"),
        (
            "## 3 Metadata\n0-1 (a:i32",
            "fields without a space between them",
        ),
        ("## 3 Metadata\n0-1 (:i32)", "a field without a name"),
        ("## 3 Metadata\n0-1 (a:i32)x", "something follows the shape"),
        ("## 3 Metadata\n0-1 (a:i33)", "an unknown type"),
        ("## 3 Metadata\n0-1 (a:[i32)", "an array without its end"),
        (
            "## 3 Metadata\n0-1 (a:[(b:i8)])",
            "an array whose structure's size is not known",
        ),
        (
            "## 3 Metadata\n0-1 (topics:[()])",
            "an array of elements that take nothing",
        ),
        (
            "## 3 Metadata\n0-1 (a:i8:i8)",
            "fields without a space between them",
        ),
        ("## 3 Metadata\n0-1 ()\n1-2 ()", "a version with two shapes"),
        ("## 3 Metadata\n0-1 (~{x=a:i8})", "a tag that is no number"),
    ] {
        let error = Table::parse(text).unwrap_err();
        assert_eq!(error.what, what, "{text}");
        assert_eq!(error.line, text.lines().count());
    }
}

#[test]
fn a_count_that_cannot_fit_is_refused_before_anything_is_allocated() {
    for count in [0x7fff_ffff_u32, 1, 1000] {
        assert_eq!(
            problem(ApiKey::Metadata, 1, &count.to_be_bytes()),
            Problem::CountTooLarge {
                count: count as usize,
                least_bytes: 2,
                remaining: 0
            }
        );
    }
    assert!(matches!(
        problem(ApiKey::Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        Problem::CountTooLarge { .. }
    ));
    assert!(matches!(
        problem(
            ApiKey::DescribeCluster,
            0,
            &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]
        ),
        Problem::CountTooLarge { least_bytes: 2, .. }
    ));
}

#[test]
fn a_count_is_refused_exactly_when_its_elements_cannot_fit() {
    // Two bytes are the least of a name, so that two names may be announced before four bytes.
    assert!(
        check(
            ApiKey::Metadata,
            1,
            Bytes::from_static(&[0, 0, 0, 2, 0, 0, 0, 0])
        )
        .is_ok()
    );
    for more in [3_u32, 4, 1000] {
        let body = [&more.to_be_bytes()[..], &[0; 4]].concat();
        let expected = Problem::CountTooLarge {
            count: more as usize,
            least_bytes: 2,
            remaining: 4,
        };
        assert_eq!(problem(ApiKey::Metadata, 1, &body), expected);
    }
}

#[test]
fn null_is_refused_where_it_cannot_be() {
    // As a 4.3.0 broker, which closes the connection.
    assert_eq!(
        problem(ApiKey::Metadata, 0, &[0xff; 4]),
        Problem::UnexpectedNull
    );
    assert_eq!(
        problem(ApiKey::ApiVersions, 3, &[0, 2, b'b', 0]),
        Problem::UnexpectedNull
    );
    assert_eq!(
        problem(ApiKey::Metadata, 1, &[0, 0, 0, 1, 0xff, 0xff]),
        Problem::UnexpectedNull
    );
    assert!(check(ApiKey::Metadata, 1, Bytes::from_static(&[0xff; 4])).is_ok());
}

#[test]
fn truncation_and_overlong_integers_and_strings_are_refused() {
    assert_eq!(
        problem(ApiKey::ApiVersions, 3, &[3, b'a']),
        Problem::Truncated {
            needed: 2,
            remaining: 1
        }
    );
    assert_eq!(
        problem(ApiKey::Metadata, 9, &[0x81, 0x80, 0x80, 0x80, 0x80, 0]),
        Problem::VarintTooLong
    );
    let mut long = vec![0x81, 0x80, 0x02];
    long.resize(40_000, b'a');
    assert_eq!(
        problem(ApiKey::ApiVersions, 3, &long),
        Problem::StringTooLong(32_768)
    );
}

/// What a real broker was seen to answer, and the codec alone would refuse.
#[test]
fn what_kafka_lets_pass_passes_in_its_plain_form() {
    let pass =
        |api, version, body: &[u8]| check(api, version, Bytes::copy_from_slice(body)).unwrap();
    // Bytes after the message.
    let request = Request::decode(
        &header(ApiKey::Metadata, 1),
        Bytes::from_static(b"\xff\xff\xff\xffxx"),
    );
    assert!(matches!(request, Ok(Request::Metadata(m)) if m.topics.is_none()));
    // A negative count for null.
    assert_eq!(
        &*pass(ApiKey::Metadata, 1, &[0xff, 0xff, 0xff, 0xfe]),
        &[0xff; 4]
    );
    // Invalid UTF-8.
    assert_eq!(
        &*pass(ApiKey::Metadata, 1, b"\0\0\0\x01\0\x02\xff\xfe"),
        "\0\0\0\x01\0\x06\u{fffd}\u{fffd}".as_bytes()
    );
    // Unknown tagged fields.
    assert_eq!(
        &*pass(ApiKey::Metadata, 9, b"\x01\0\0\0\x01\x63\x02ab"),
        b"\x01\0\0\0\0"
    );
    // A cursor's presence marker that is neither 1 nor -1.
    assert_eq!(
        &*pass(
            ApiKey::DescribeTopicPartitions,
            0,
            b"\x01\0\0\0\x0a\x05\x02a\0\0\0\0\0\0"
        ),
        b"\x01\0\0\0\x0a\x01\x02a\0\0\0\0\0\0"
    );
    assert_eq!(
        &*pass(ApiKey::DescribeTopicPartitions, 0, b"\x01\0\0\0\x0a\x80\0"),
        b"\x01\0\0\0\x0a\xff\0"
    );
    // A varint with bits beyond the 32nd.
    pass(ApiKey::Metadata, 9, b"\x81\x80\x80\x80\x70\0\0\0\0");
}

#[test]
fn a_plain_body_passes_without_a_copy() {
    let body = Bytes::from_static(b"\0\0\0\x01\0\x02ab");
    assert_eq!(
        check(ApiKey::Metadata, 1, body.clone()).unwrap().as_ptr(),
        body.as_ptr()
    );
}

#[test]
fn many_empty_names_are_refused_and_many_short_ones_are_not() {
    let names = |name: &[u8], count: u32| {
        let mut body = BytesMut::new();
        body.put_u32(count);
        for _ in 0..count {
            body.put_u16(name.len() as u16);
            body.put_slice(name);
        }
        body.freeze()
    };
    assert!(check(ApiKey::Metadata, 1, names(b"", 200)).is_ok());
    assert!(check(ApiKey::Metadata, 1, names(b"a", 1_000_000)).is_ok());
    let body = names(b"", 1_000_000);
    let limit = decoded_bytes_max(body.len());
    assert_eq!(
        problem(ApiKey::Metadata, 1, &body),
        Problem::DecodedTooLarge { limit }
    );
}

#[test]
fn each_request_comes_back_as_the_codec_encodes_it() {
    let mut numbers = Numbers(1);
    for (api, version) in rows() {
        for _ in 0..200 {
            let body = body_of(api, version, &mut numbers);
            let request =
                Request::decode(&header(api, version), Bytes::from(body.clone())).unwrap();
            if let Some(encoded) = encode_by_codec(&request, version) {
                assert_eq!(encoded, body, "{api:?} {version} {request:?}");
            }
        }
    }
}

/// Decodes, and holds what it allocates against the limit.
fn decode_within_bounds(api: ApiKey, version: i16, body: Bytes) {
    let limit = decoded_bytes_max(body.len()) as u64;
    let (header, skimmed) = (header(api, version), check(api, version, body.clone()));
    let mut decoded = None;
    let info =
        allocation_counter::measure(|| decoded = Some(Request::decode(&header, body.clone())));
    match decoded.unwrap() {
        // What it refuses, it refuses for less than what it accepts.
        Err(WireError::Malformed { .. }) => {}
        Err(error) => panic!("{api:?} {version} {body:?} passed the skim, but {error}"),
        Ok(_) => assert!(skimmed.is_ok(), "{api:?} {version} {body:?}: {skimmed:?}"),
    }
    assert!(
        info.bytes_total <= limit,
        "{api:?} {version}: {} bytes allocated for {}, above {limit}: {body:?}",
        info.bytes_total,
        body.len()
    );
}

#[test]
fn shapes_at_the_limit_allocate_within_it() {
    for (api, version) in rows() {
        let shape = TABLE.shape(api, version).unwrap();
        // Zeros are empty strings and arrays, so that an array of them is the densest there is.
        for byte in [0, 1, 2, 0xff] {
            for bytes in [0, 100, 10_000, 300_000] {
                decode_within_bounds(api, version, Bytes::from(vec![byte; bytes]));
            }
        }
        let dense = generate::dense(shape, 20_000);
        for shrink in 0..4 {
            let count = dense.len() >> shrink;
            decode_within_bounds(api, version, Bytes::copy_from_slice(&dense[..count]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_passes_the_skim_is_decoded_within_bounds(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        for (api, version) in rows() {
            let mut body = body_of(api, version, &mut numbers);
            mutate(&mut body, &mut numbers);
            decode_within_bounds(api, version, Bytes::from(body));
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_within_bounds(body in prop::collection::vec(any::<u8>(), 0..200)) {
        for (api, version) in rows() {
            decode_within_bounds(api, version, Bytes::from(body.clone()));
        }
    }

    #[test]
    fn a_rewritten_body_is_plain(seed in any::<u64>()) {
        let mut numbers = Numbers(seed);
        for (api, version) in rows() {
            let mut body = body_of(api, version, &mut numbers);
            mutate(&mut body, &mut numbers);
            if let Ok(plain) = check(api, version, Bytes::from(body)) {
                let again = check(api, version, plain.clone()).unwrap();
                prop_assert_eq!(again.as_ptr(), plain.as_ptr());
            }
        }
    }
}

//! Bodies of a shape, for tests.

use bytes::{BufMut, BytesMut};

use super::TABLE;
use super::shape::{Shape, Struct};
use crate::api::ApiKey;
use crate::primitives::Write;
use crate::testing::Numbers;

/// A plain body of a request, see [`body`].
pub(crate) fn body_of(api: ApiKey, version: i16, numbers: &mut Numbers) -> Vec<u8> {
    body(
        TABLE.shape(api, version).expect("a version that is served"),
        numbers,
    )
}

/// A plain body of `shape`: small counts, ASCII strings, and numbers of zeros and ones, so that a
/// boolean is encoded as it was read.
fn body(shape: &Shape, numbers: &mut Numbers) -> Vec<u8> {
    let mut out = BytesMut::new();
    put(shape, numbers, &mut out);
    out.to_vec()
}

fn put(shape: &Shape, numbers: &mut Numbers, out: &mut BytesMut) {
    match shape {
        Shape::Fixed(bytes) => {
            for _ in 0..*bytes {
                out.put_u8(numbers.below(2) as u8);
            }
        }
        Shape::Str { lengths, nullable } => {
            let text = "some-topic.name_1".get(..numbers.below(17));
            let null = *nullable && numbers.below(3) == 0;
            out.put_nullable_str(*lengths, text.filter(|_| !null));
        }
        Shape::Bytes { lengths, nullable } => {
            if *nullable && numbers.below(3) == 0 {
                out.put_null_array(*lengths);
            } else {
                let count = numbers.below(40);
                out.put_count(*lengths, count);
                out.put_bytes(numbers.next() as u8, count);
            }
        }
        Shape::Array(array) => {
            if array.nullable && numbers.below(3) == 0 {
                out.put_null_array(array.lengths);
                return;
            }
            let count = numbers.below(4);
            out.put_count(array.lengths, count);
            for _ in 0..count {
                put(&array.element, numbers, out);
            }
        }
        Shape::Struct(fields) => put_struct(fields, numbers, out),
    }
}

fn put_struct(fields: &Struct, numbers: &mut Numbers, out: &mut BytesMut) {
    if fields.nullable {
        if numbers.below(3) == 0 {
            out.put_i8(-1);
            return;
        }
        out.put_i8(1);
    }
    for field in &fields.fields {
        put(field, numbers, out);
    }
    let Some(known) = &fields.tagged else {
        return;
    };
    let some: Vec<_> = known.iter().filter(|_| numbers.below(2) == 0).collect();
    out.put_varint(some.len() as u32);
    for (tag, shape) in some {
        let mut value = BytesMut::new();
        put(shape, numbers, &mut value);
        out.put_varint(*tag);
        out.put_varint(value.len() as u32);
        out.put_slice(&value);
    }
}

/// A body whose first array holds as many of the smallest elements as fit into about `bytes`.
pub(super) fn dense(shape: &Shape, bytes: usize) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_dense(shape, bytes, &mut out);
    out.to_vec()
}

fn put_dense(shape: &Shape, bytes: usize, out: &mut BytesMut) {
    match shape {
        Shape::Fixed(count) => out.put_bytes(0, *count),
        Shape::Str { lengths, .. } => out.put_str(*lengths, ""),
        Shape::Bytes { lengths, .. } => out.put_count(*lengths, 0),
        Shape::Array(array) => {
            let count = bytes / array.element_bytes_min;
            out.put_count(array.lengths, count);
            for _ in 0..count {
                put_dense(&array.element, 0, out);
            }
        }
        Shape::Struct(fields) => {
            if fields.nullable {
                out.put_i8(1);
            }
            for field in &fields.fields {
                put_dense(field, bytes, out);
            }
            if fields.tagged.is_some() {
                out.put_u8(0);
            }
        }
    }
}

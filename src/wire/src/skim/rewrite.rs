//! A body that was walked, written anew in its plain form.
//!
//! Strings become UTF-8, every null the one null that the codec knows, and unknown tagged fields
//! are left out. At most three times the body's bytes, and only for bodies which no client sends
//! unless it is newer than we are, or strange.

use bytes::{BufMut, Bytes, BytesMut};

use super::shape::{Shape, Struct};
use crate::primitives::{Reader, Write};

const WALKED: &str = "the walk let it pass";

/// The plain form of a body that the walk let pass.
pub(super) fn plain(shape: &Shape, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len());
    put(shape, &mut Reader::new(body, usize::MAX), &mut out);
    out.freeze()
}

fn put(shape: &Shape, reader: &mut Reader<'_>, out: &mut BytesMut) {
    match shape {
        Shape::Fixed(bytes) => out.put_slice(reader.take(*bytes).expect(WALKED)),
        Shape::Str { lengths, .. } => {
            let text = reader.nullable_str(*lengths).expect(WALKED);
            out.put_nullable_str(*lengths, text.as_deref());
        }
        Shape::Bytes { lengths, .. } => match reader.nullable_bytes(*lengths).expect(WALKED) {
            None => out.put_null_array(*lengths),
            Some(bytes) => {
                out.put_count(*lengths, bytes.len());
                out.put_slice(bytes);
            }
        },
        Shape::Array(array) => {
            let count = reader.nullable_count(array.lengths, array.element_bytes_min, 0);
            match count.expect(WALKED) {
                None => out.put_null_array(array.lengths),
                Some(count) => {
                    out.put_count(array.lengths, count);
                    for _ in 0..count {
                        put(&array.element, reader, out);
                    }
                }
            }
        }
        Shape::Struct(fields) => put_struct(fields, reader, out),
    }
}

fn put_struct(fields: &Struct, reader: &mut Reader<'_>, out: &mut BytesMut) {
    if fields.nullable {
        if reader.i8().expect(WALKED) < 0 {
            out.put_i8(-1);
            return;
        }
        out.put_i8(1);
    }
    for field in &fields.fields {
        put(field, reader, out);
    }
    if let Some(known) = &fields.tagged {
        put_tagged(known, reader, out);
    }
}

fn put_tagged(known: &[(u32, Shape)], reader: &mut Reader<'_>, out: &mut BytesMut) {
    let mut count = 0;
    let mut tags = BytesMut::new();
    let read = reader.tagged(|reader, tag| {
        let Some((_, shape)) = known.iter().find(|(known, _)| *known == tag) else {
            return Ok(false);
        };
        let mut value = BytesMut::new();
        put(shape, reader, &mut value);
        count += 1;
        tags.put_varint(tag);
        tags.put_varint(u32::try_from(value.len()).expect("a body's lengths fit 31 bits"));
        tags.put_slice(&value);
        Ok(true)
    });
    read.expect(WALKED);
    out.put_varint(count);
    out.put_slice(&tags);
}

//! The walk: is a body of its shape, and is it plain?

use super::shape::{Array, Shape, Struct};
use crate::error::{Problem, WireError};
use crate::primitives::{Lengths, Reader};

/// Walks a body. False if it is to be written anew before the codec sees it.
pub(super) fn is_plain(shape: &Shape, reader: &mut Reader<'_>) -> Result<bool, WireError> {
    match shape {
        Shape::Fixed(bytes) => reader.take(*bytes).map(|_| true),
        Shape::Str { lengths, nullable } => str_is_plain(reader, *lengths, *nullable),
        Shape::Bytes { lengths, nullable } => {
            let (start, before) = (reader.at(), reader.rest());
            match reader.nullable_bytes(*lengths)? {
                Some(_) => Ok(true),
                None if *nullable => Ok(null_is_plain(before, *lengths, 4)),
                None => Err(Problem::UnexpectedNull.at(start)),
            }
        }
        Shape::Array(array) => array_is_plain(array, reader),
        Shape::Struct(fields) => struct_is_plain(fields, reader),
    }
}

fn str_is_plain(
    reader: &mut Reader<'_>,
    lengths: Lengths,
    nullable: bool,
) -> Result<bool, WireError> {
    let (start, before) = (reader.at(), reader.rest());
    match reader.nullable_str_bytes(lengths)? {
        Some(bytes) => {
            let plain = std::str::from_utf8(bytes).is_ok();
            if !plain {
                // Each byte may become the three of a replacement character, in a buffer that grows.
                reader.charge(8 * bytes.len())?;
            }
            Ok(plain)
        }
        None if nullable => Ok(null_is_plain(before, lengths, 2)),
        None => Err(Problem::UnexpectedNull.at(start)),
    }
}

/// Whether the null that `bytes` begin with, a length of `length_bytes` unless it is compact, is
/// the one that the codec knows.
fn null_is_plain(bytes: &[u8], lengths: Lengths, length_bytes: usize) -> bool {
    match lengths {
        Lengths::Fixed => bytes.iter().take(length_bytes).all(|byte| *byte == 0xff),
        Lengths::Compact => true,
    }
}

fn array_is_plain(array: &Array, reader: &mut Reader<'_>) -> Result<bool, WireError> {
    let (start, before) = (reader.at(), reader.rest());
    let count =
        reader.nullable_count(array.lengths, array.element_bytes_min, array.element_bytes)?;
    let Some(count) = count else {
        return if array.nullable {
            Ok(null_is_plain(before, array.lengths, 4))
        } else {
            Err(Problem::UnexpectedNull.at(start))
        };
    };
    if let Some(bytes) = array.element.bytes_fixed() {
        // No overflow: the count fits the body by now.
        return reader.take(count * bytes).map(|_| true);
    }
    let mut plain = true;
    for _ in 0..count {
        plain &= is_plain(&array.element, reader)?;
    }
    Ok(plain)
}

fn struct_is_plain(fields: &Struct, reader: &mut Reader<'_>) -> Result<bool, WireError> {
    let mut plain = true;
    if fields.nullable {
        let marker = reader.i8()?;
        plain &= matches!(marker, 1 | -1);
        if marker < 0 {
            return Ok(plain);
        }
    }
    for field in &fields.fields {
        plain &= is_plain(field, reader)?;
    }
    if let Some(known) = &fields.tagged {
        reader.tagged(|reader, tag| {
            let Some((_, shape)) = known.iter().find(|(known, _)| *known == tag) else {
                plain = false;
                return Ok(false);
            };
            plain &= is_plain(shape, reader)?;
            Ok(true)
        })?;
    }
    Ok(plain)
}

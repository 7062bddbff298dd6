//! Kafka's variable-length integers: 7 bits a byte, least first, zigzag for signed ones.
//!
//! Padded encodings (`80 00` for 0) are accepted as Kafka accepts them; bits beyond the type's width are
//! not, though Kafka drops them: what one reader drops another may not.

/// Most bytes of a 32-bit varint.
pub(crate) const VARINT_BYTES_MAX: usize = 5;
/// Most bytes of a 64-bit varint.
pub(crate) const VARLONG_BYTES_MAX: usize = 10;

/// Takes a signed 32-bit varint off the front. `None`: `input` ends in it, or it is too large.
#[inline]
pub(crate) fn take_varint(input: &mut &[u8]) -> Option<i32> {
    // Lengths and deltas are nearly always this short.
    if let Some((&byte, rest)) = input.split_first()
        && byte < 0x80
    {
        *input = rest;
        return Some(unzigzag32(u32::from(byte)));
    }
    let raw = take_raw(input, VARINT_BYTES_MAX)?;
    u32::try_from(raw).ok().map(unzigzag32)
}

/// Takes a signed 64-bit varint off the front. `None`: `input` ends in it, or it is too large.
#[inline]
pub(crate) fn take_varlong(input: &mut &[u8]) -> Option<i64> {
    if let Some((&byte, rest)) = input.split_first()
        && byte < 0x80
    {
        *input = rest;
        return Some(unzigzag64(u64::from(byte)));
    }
    take_raw(input, VARLONG_BYTES_MAX).map(unzigzag64)
}

fn take_raw(input: &mut &[u8], bytes_max: usize) -> Option<u64> {
    let mut value = 0u64;
    for (index, &byte) in input.iter().take(bytes_max).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * index as u32;
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            *input = input.get(index + 1..)?;
            return Some(value);
        }
    }
    None
}

fn unzigzag32(raw: u32) -> i32 {
    (raw >> 1) as i32 ^ -((raw & 1) as i32)
}

fn unzigzag64(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// Appends a signed varint; 32-bit ones have the same bytes as their 64-bit equals.
pub(crate) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// How many bytes [`put_varlong`] appends.
pub(crate) fn varlong_bytes(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (raw | 1).leading_zeros() as usize).div_ceil(7)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        put_varlong(&mut out, value);
        out
    }

    #[test]
    fn values_have_the_bytes_that_kafka_gives_them() {
        let cases: [(i64, &[u8]); 8] = [
            (0, &[0]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (
                i64::MIN,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            ),
        ];
        for (value, bytes) in cases {
            assert_eq!(put(value), bytes);
            assert_eq!(varlong_bytes(value), bytes.len());
        }
    }

    #[test]
    fn every_width_comes_back() {
        for shift in 0..64 {
            for value in [
                1i64 << shift,
                (1i64 << shift).wrapping_sub(1),
                (1i64 << shift).wrapping_neg(),
            ] {
                let bytes = put(value);
                assert_eq!(bytes.len(), varlong_bytes(value));
                let mut input = &bytes[..];
                assert_eq!(take_varlong(&mut input), Some(value));
                assert!(input.is_empty());
                let mut input = &bytes[..];
                assert_eq!(
                    take_varint(&mut input).map(i64::from),
                    i32::try_from(value).ok().map(i64::from)
                );
            }
        }
    }

    #[test]
    fn bits_beyond_the_width_and_cut_off_bytes_are_refused() {
        let all = [0xff; 9];
        assert_eq!(take_varlong(&mut &[&all[..], &[0x02]].concat()[..]), None);
        assert_eq!(
            take_varlong(&mut &[&all[..], &[0x80, 0x00]].concat()[..]),
            None
        );
        assert_eq!(take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..]), None);
        assert_eq!(
            take_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]),
            None
        );
        for end in 0..9 {
            assert_eq!(take_varlong(&mut &all[..end]), None);
        }
    }
}

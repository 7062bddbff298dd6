//! Frames: a length of four bytes, then as many bytes. Who reads them, and into what memory, is
//! the server's business.

use crate::error::WireError;

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;

/// A frame's length from the four bytes before it: positive and at most `request_bytes_max`.
pub fn parse_length(
    prefix: [u8; LENGTH_BYTES],
    request_bytes_max: usize,
) -> Result<usize, WireError> {
    let got = i32::from_be_bytes(prefix);
    match usize::try_from(got) {
        Err(_) | Ok(0) => Err(WireError::FrameLengthNotPositive { got }),
        Ok(bytes) if bytes > request_bytes_max => Err(WireError::FrameTooLarge {
            got: bytes,
            limit: request_bytes_max,
        }),
        Ok(bytes) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_are_not_positive_or_exceed_the_limit_are_refused() {
        for got in [0, -1, i32::MIN] {
            let error = WireError::FrameLengthNotPositive { got };
            assert_eq!(parse_length(got.to_be_bytes(), 100), Err(error));
        }
        assert_eq!(parse_length(100_i32.to_be_bytes(), 100), Ok(100));
        let error = WireError::FrameTooLarge {
            got: 101,
            limit: 100,
        };
        assert_eq!(parse_length(101_i32.to_be_bytes(), 100), Err(error));
        // What a TLS client says first.
        assert!(parse_length([0x16, 3, 1, 2], 100 << 20).is_err());
    }
}

//! Frames: a length of four bytes, then as many bytes. Pure state, no I/O.
//!
//! The connection reads into [`FrameReader::space`], says how much with
//! [`FrameReader::handle_read`], and takes what has become whole with [`FrameReader::poll`]. The
//! reader announces a frame's size once, before it allocates for it, so that the caller may
//! reserve that much of its memory first.
//!
//! A frame that fits what is read ahead is a slice of that buffer, which lives as long as one of
//! its frames does. A larger one has an allocation of its own; what of it came with the read-ahead,
//! at most [`READ_AHEAD_BYTES`], is moved there once.

use bytes::{Bytes, BytesMut};

use crate::error::WireError;

/// Bytes of the length before each frame.
pub const LENGTH_BYTES: usize = 4;

/// What a connection reads ahead: many small frames come with one read, and an idle connection
/// holds no more than this.
pub const READ_AHEAD_BYTES: usize = 8 * 1024;

/// Below this much free space the read-ahead buffer is replaced rather than filled to its end.
const SPACE_BYTES_MIN: usize = 1024;

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

/// What [`FrameReader::poll`] came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing is whole: read more.
    NeedBytes,
    /// The next frame's length is known; said once for each frame, before memory for it is
    /// allocated. The caller reserves, then goes on polling and reading.
    Announced {
        /// Bytes of the frame without its length.
        frame_bytes: usize,
    },
    /// A frame, without its length.
    Frame(Bytes),
}

/// Cuts one connection's bytes into frames.
#[derive(Debug)]
pub struct FrameReader {
    /// Initialised throughout; the first `filled` bytes have been read from the socket.
    buffer: BytesMut,
    filled: usize,
    /// The announced frame's length; its prefix has been taken off the buffer.
    frame_bytes: Option<usize>,
    request_bytes_max: usize,
}

impl FrameReader {
    /// A reader that refuses frames longer than `request_bytes_max`.
    pub fn new(request_bytes_max: usize) -> Self {
        FrameReader {
            buffer: BytesMut::new(),
            filled: 0,
            frame_bytes: None,
            request_bytes_max,
        }
    }

    /// Where the next bytes of the connection are to be read to: never empty.
    ///
    /// Allocates: for an announced frame that does not fit the read-ahead buffer exactly what it
    /// takes, so that it is read into its final place and its memory is its own; otherwise
    /// [`READ_AHEAD_BYTES`].
    pub fn space(&mut self) -> &mut [u8] {
        let wanted = match self.frame_bytes {
            Some(frame_bytes) => {
                assert!(
                    self.filled < frame_bytes,
                    "a whole frame is to be polled first"
                );
                frame_bytes
            }
            None => self.filled + SPACE_BYTES_MIN,
        };
        if self.buffer.len() < wanted {
            self.replace_buffer(wanted.max(READ_AHEAD_BYTES));
        }
        self.buffer
            .get_mut(self.filled..)
            .expect("what is filled is part of the buffer")
    }

    /// Says that the first `count` bytes of [`FrameReader::space`] now hold the connection's bytes.
    pub fn handle_read(&mut self, count: usize) {
        assert!(
            count <= self.buffer.len() - self.filled,
            "more was read than there was space"
        );
        self.filled += count;
    }

    /// What has become whole. To be called until it says [`Progress::NeedBytes`]; after an error
    /// the connection is to be closed.
    pub fn poll(&mut self) -> Result<Progress, WireError> {
        let Some(frame_bytes) = self.frame_bytes else {
            return self.poll_length();
        };
        if self.filled < frame_bytes {
            return Ok(Progress::NeedBytes);
        }
        let frame = self.take(frame_bytes);
        self.frame_bytes = None;
        if self.filled == 0 && self.buffer.len() < SPACE_BYTES_MIN {
            // Nothing read ahead stays behind: let go, so that the frame alone holds its memory.
            self.buffer = BytesMut::new();
        }
        Ok(Progress::Frame(frame))
    }

    /// Memory held for bytes that no frame has been made of yet.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.len()
    }

    fn poll_length(&mut self) -> Result<Progress, WireError> {
        if self.filled < LENGTH_BYTES {
            return Ok(Progress::NeedBytes);
        }
        let prefix = self.take(LENGTH_BYTES);
        let prefix = prefix.first_chunk().expect("four bytes were taken");
        let frame_bytes = parse_length(*prefix, self.request_bytes_max)?;
        self.frame_bytes = Some(frame_bytes);
        Ok(Progress::Announced { frame_bytes })
    }

    /// Takes `count` bytes that have been read off the front, without a copy.
    fn take(&mut self, count: usize) -> Bytes {
        assert!(count <= self.filled);
        self.filled -= count;
        self.buffer.split_to(count).freeze()
    }

    /// Moves what has been read into a buffer of `bytes`. What moves is less than a read-ahead.
    fn replace_buffer(&mut self, bytes: usize) {
        let mut buffer = BytesMut::zeroed(bytes);
        if let (Some(to), Some(from)) = (
            buffer.get_mut(..self.filled),
            self.buffer.get(..self.filled),
        ) {
            to.copy_from_slice(from);
        }
        self.buffer = buffer;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Gives `bytes` to the reader in pieces of at most `step`, and collects what it says.
    fn feed(
        reader: &mut FrameReader,
        mut bytes: &[u8],
        step: usize,
    ) -> Result<Vec<Bytes>, WireError> {
        let mut frames = Vec::new();
        let mut announced = None;
        loop {
            match reader.poll()? {
                Progress::Announced { frame_bytes } => {
                    assert_eq!(announced.replace(frame_bytes), None, "announced twice");
                }
                Progress::Frame(frame) => {
                    assert_eq!(announced.take(), Some(frame.len()), "not announced");
                    frames.push(frame);
                }
                Progress::NeedBytes if bytes.is_empty() => return Ok(frames),
                Progress::NeedBytes => {
                    let space = reader.space();
                    let count = step.min(space.len()).min(bytes.len());
                    space[..count].copy_from_slice(&bytes[..count]);
                    reader.handle_read(count);
                    bytes = &bytes[count..];
                }
            }
        }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn lengths_that_are_not_positive_or_exceed_the_limit_are_refused() {
        for got in [0, -1, i32::MIN] {
            let error = WireError::FrameLengthNotPositive { got };
            assert_eq!(parse_length(got.to_be_bytes(), 100), Err(error.clone()));
            assert_eq!(
                feed(&mut FrameReader::new(100), &got.to_be_bytes(), 4),
                Err(error)
            );
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

    #[test]
    fn memory_for_a_large_frame_is_its_own_and_taken_after_the_announcement() {
        let mut reader = FrameReader::new(10 << 20);
        reader.space()[..4].copy_from_slice(&(1_i32 << 20).to_be_bytes());
        reader.handle_read(4);
        assert_eq!(
            reader.poll(),
            Ok(Progress::Announced {
                frame_bytes: 1 << 20
            })
        );
        assert!(reader.buffer_bytes() <= READ_AHEAD_BYTES);
        assert_eq!(reader.poll(), Ok(Progress::NeedBytes));
        assert_eq!(reader.space().len(), 1 << 20);
        reader.handle_read(1 << 20);
        assert!(matches!(reader.poll(), Ok(Progress::Frame(frame)) if frame.len() == 1 << 20));
        assert_eq!(
            reader.buffer_bytes(),
            0,
            "nothing holds the frame's memory but the frame"
        );
    }

    #[test]
    fn small_frames_of_one_read_are_cut_without_a_copy() {
        let mut bytes = framed(b"one");
        bytes.extend(framed(b"three"));
        let mut reader = FrameReader::new(100);
        let frames = feed(&mut reader, &bytes, usize::MAX).unwrap();
        assert_eq!(frames, [&b"one"[..], b"three"]);
        assert_eq!(
            frames[1].as_ptr() as usize - frames[0].as_ptr() as usize,
            3 + LENGTH_BYTES
        );
    }

    #[test]
    fn an_idle_reader_holds_no_more_than_its_read_ahead() {
        let mut reader = FrameReader::new(1 << 20);
        for payload in [1, 100, 5_000, READ_AHEAD_BYTES, 100_000, 7] {
            feed(&mut reader, &framed(&vec![1; payload]), usize::MAX).unwrap();
            assert!(reader.buffer_bytes() <= READ_AHEAD_BYTES);
        }
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_they_are_split(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20_000), 0..8),
            step in 1_usize..30_000,
        ) {
            let bytes: Vec<u8> = payloads.iter().flat_map(|payload| framed(payload)).collect();
            let frames = feed(&mut FrameReader::new(20_000), &bytes, step).unwrap();
            prop_assert_eq!(frames, payloads);
        }
    }
}

//! For the fuzz targets alone: the frame reader over a stream cut anywhere. Nothing here is part of
//! the program.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::connection::{ByteSource, Control, FrameReader, scratch};
use crate::limits::READ_STEP_BYTES;
use crate::request_memory::RequestMemory;

/// A stream's chunks, one read each, then its end.
struct Chunks(RefCell<VecDeque<Bytes>>);

impl ByteSource for Chunks {
    fn poll_read(&self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut chunks = self.0.borrow_mut();
        let Some(chunk) = chunks.front_mut() else {
            return Poll::Ready(Ok(0));
        };
        let count = chunk.len().min(into.len());
        let (to, _) = into.split_at_mut(count);
        to.copy_from_slice(&chunk.split_to(count));
        if chunk.is_empty() {
            chunks.pop_front();
        }
        Poll::Ready(Ok(count))
    }
}

/// The frames of a stream that comes in these chunks, none of them empty, and why there are no
/// more. At the end all memory has been given back.
pub async fn frames(
    chunks: Vec<Bytes>,
    frame_bytes_max: usize,
    memory_bytes: u64,
) -> (Vec<Bytes>, Option<String>) {
    let source = Chunks(RefCell::new(chunks.into()));
    let memory = RequestMemory::new(memory_bytes);
    let control = Rc::new(Control::new());
    let mut reader = FrameReader::new(source, memory.clone(), scratch(), frame_bytes_max, control);
    let mut frames = Vec::new();
    let ended = loop {
        match reader.next().await {
            Ok(Some(frame)) => {
                let held = memory_bytes - memory.available();
                let bytes = frame.bytes.len() as u64;
                // And what has been read ahead of the next.
                let most = bytes + READ_STEP_BYTES as u64;
                assert!((bytes..=most).contains(&held), "{held} for {bytes}");
                frames.push(frame.bytes);
            }
            Ok(None) => break None,
            Err(error) => break Some(error.to_string()),
        }
    };
    assert_eq!(memory.available(), memory_bytes, "all of it given back");
    (frames, ended)
}

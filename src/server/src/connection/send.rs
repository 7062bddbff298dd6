//! Replies to the socket: vectored, never copied, and bounded in time.

use std::io;

use bytes::Bytes;
use tailwater_shards::{Stream, timeout};

use super::in_flight::Reply;
use crate::limits::{SEND_STEP_BYTES, SEND_STEP_MAX};

/// Why replies could not be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("the peer took less than {SEND_STEP_BYTES} bytes in {SEND_STEP_MAX:?}")]
    TooSlow,
    #[error("writing failed: {0}")]
    Io(#[from] io::Error),
}

/// Sends `replies` in order: in one go when they are small, else in steps whose progress is
/// watched.
pub(crate) async fn send(stream: &Stream, replies: &[Reply]) -> Result<(), SendError> {
    let mut step: Vec<Bytes> = Vec::with_capacity(replies.len());
    let mut step_bytes = 0;
    let pieces = replies
        .iter()
        .filter_map(|reply| reply.answer.as_ref())
        .flat_map(|a| &a.pieces);
    for piece in pieces {
        let mut piece = piece.clone();
        while step_bytes + piece.len() > SEND_STEP_BYTES {
            step.push(piece.split_to(SEND_STEP_BYTES - step_bytes));
            send_step(stream, &step).await?;
            step.clear();
            step_bytes = 0;
        }
        step_bytes += piece.len();
        if !piece.is_empty() {
            step.push(piece);
        }
    }
    if step.is_empty() {
        Ok(())
    } else {
        send_step(stream, &step).await
    }
}

async fn send_step(stream: &Stream, step: &[Bytes]) -> Result<(), SendError> {
    match timeout(SEND_STEP_MAX, stream.write_vectored_all(step)).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(SendError::TooSlow),
    }
}

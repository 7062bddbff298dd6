//! Reads of the past that are tried again when they fail.
//!
//! A start takes a block that cannot be read for damage or for a torn tail, which costs what the
//! block held. An error that goes away must not cost anything.
#![deny(clippy::indexing_slicing)]

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tailwater_shards::{File, IoClass, sleep};

/// Before the second try and the third.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];

/// How many more pauses are made for one file. Once there are none left, a read that fails is not
/// tried again: a file full of bad blocks holds a start up for a second or so.
pub(crate) struct Patience(u32);

impl Default for Patience {
    fn default() -> Self {
        Self(32)
    }
}

impl Patience {
    /// Reads aligned blocks, up to three times.
    pub(crate) async fn read(
        &mut self,
        file: &File,
        path: &Path,
        position: u64,
        len: usize,
    ) -> io::Result<Bytes> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let error = match file.read(IoClass::Maintenance, position, len).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            tracing::warn!(%error, path = %path.display(), position, "a read failed");
            let (Some(pause), Some(left)) = (pauses.next(), self.0.checked_sub(1)) else {
                return Err(error);
            };
            self.0 = left;
            sleep(pause).await;
        }
    }
}

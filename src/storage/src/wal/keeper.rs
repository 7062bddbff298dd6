//! Keeps a WAL file ready: zeroes new ones and rewrites the headers of freed ones, in the
//! background, so that a switch of files costs no commit anything.

use std::rc::Rc;

use tailwater_shards::{dir, fatal};

use super::Wal;
use super::file::{WalFile, WalName};
use super::ring::Prepare;
use crate::error::StorageError;

impl Wal {
    pub(super) async fn keep_ring(self: Rc<Self>) {
        while !self.stopping.get() {
            let asked = self.keep.notified();
            let next = self.ring.borrow_mut().prepare();
            match next {
                Prepare::Nothing => asked.await,
                other => {
                    let grows = matches!(other, Prepare::Create { .. });
                    match self.prepare_file(other).await {
                        Ok(()) => {}
                        Err(error) if grows && error.is_no_space() => {
                            tracing::warn!(%error, "no room for another WAL file");
                            self.ring.borrow_mut().not_prepared();
                        }
                        Err(error) => fatal(&format!("the WAL ring cannot be kept: {error}")),
                    }
                    self.work.notify_one();
                    self.keep.notify_one();
                }
            }
        }
    }

    async fn prepare_file(&self, next: Prepare) -> Result<(), StorageError> {
        let file = match next {
            Prepare::Nothing => return Ok(()),
            Prepare::Recycle { file, start_lsn } => {
                file.write_header(self.cluster_id, start_lsn).await?;
                file
            }
            Prepare::Create {
                seq,
                bytes,
                start_lsn,
            } => {
                let name = WalName {
                    generation: self.generation,
                    shard: self.shard,
                    seq,
                };
                WalFile::create(&self.dir, name, self.cluster_id, bytes, start_lsn).await?
            }
            Prepare::Remove(file) => {
                file.close().await;
                dir::remove_file(&file.path)
                    .await
                    .map_err(StorageError::io("cannot remove", &file.path))?;
                return dir::sync(&self.dir)
                    .await
                    .map_err(StorageError::io("cannot sync", &self.dir));
            }
        };
        self.ring.borrow_mut().prepared(file);
        Ok(())
    }
}

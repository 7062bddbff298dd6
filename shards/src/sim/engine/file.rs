//! The simulated engine: files.

use std::io;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use super::Shard;
use crate::buf::SharedBuf;
use crate::sim::disk::{Fd, Op, Output};

/// An open file; clones share the descriptor.
#[derive(Clone)]
pub(crate) struct File {
    descriptor: Rc<Descriptor>,
}

struct Descriptor {
    shard: Shard,
    fd: Fd,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.shard.shared.world(|world| world.disk.close(self.fd));
    }
}

fn unexpected(output: &Output) -> ! {
    unreachable!("the disk answered another question: {output:?}")
}

impl File {
    pub(crate) async fn open(path: &Path, create_new: bool, write: bool) -> io::Result<File> {
        let shard = Shard::current();
        let op = Op::Open {
            path: path.to_owned(),
            create_new,
            write,
        };
        match shard.submit(op).await? {
            Output::Fd(fd) => Ok(File {
                descriptor: Rc::new(Descriptor { shard, fd }),
            }),
            other => unexpected(&other),
        }
    }

    async fn submit(&self, op: Op) -> io::Result<Output> {
        self.descriptor.shard.submit(op).await
    }

    async fn done(&self, op: Op) -> io::Result<()> {
        match self.submit(op).await? {
            Output::Done => Ok(()),
            other => unexpected(&other),
        }
    }

    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        self.descriptor
            .shard
            .shared
            .world(|world| world.disk.try_lock(self.descriptor.fd))
    }

    pub(crate) async fn write(&self, pos: u64, buf: &SharedBuf) -> io::Result<()> {
        let fd = self.descriptor.fd;
        self.done(Op::Write {
            fd,
            pos,
            data: buf.bytes(),
            then_sync: false,
        })
        .await
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        let covers = self.descriptor.shard.shared.world(|world| world.disk.seq());
        self.done(Op::Sync {
            fd: self.descriptor.fd,
            covers,
            only: false,
        })
        .await
    }

    pub(crate) async fn write_durable(
        &self,
        pos: u64,
        buf: &SharedBuf,
        written: impl FnOnce(),
    ) -> io::Result<()> {
        let fd = self.descriptor.fd;
        self.done(Op::Write {
            fd,
            pos,
            data: buf.bytes(),
            then_sync: true,
        })
        .await
        .inspect(|()| written())
    }

    pub(crate) async fn read(&self, pos: u64, len: usize) -> io::Result<Bytes> {
        match self
            .submit(Op::Read {
                fd: self.descriptor.fd,
                pos,
                len,
            })
            .await?
        {
            Output::Bytes(bytes) => Ok(bytes),
            other => unexpected(&other),
        }
    }

    pub(crate) async fn size(&self) -> io::Result<u64> {
        match self
            .submit(Op::Size {
                fd: self.descriptor.fd,
            })
            .await?
        {
            Output::Number(bytes) => Ok(bytes),
            other => unexpected(&other),
        }
    }

    pub(crate) async fn truncate(&self, len: u64) -> io::Result<()> {
        self.done(Op::Truncate {
            fd: self.descriptor.fd,
            bytes: len,
        })
        .await
    }

    pub(crate) async fn preallocate(&self, len: u64) -> io::Result<()> {
        self.done(Op::Preallocate {
            fd: self.descriptor.fd,
            bytes: len,
        })
        .await
    }

    pub(crate) async fn close(self) {}
}

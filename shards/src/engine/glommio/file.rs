//! The glommio engine: files.

use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::buf::SharedBuf;

#[derive(Clone)]
pub(crate) struct File {}

impl File {
    pub(crate) async fn open(_path: &Path, _create_new: bool, _write: bool) -> io::Result<File> {
        unimplemented!()
    }
    pub(crate) fn try_lock(&self) -> io::Result<bool> {
        unimplemented!()
    }
    pub(crate) async fn write(&self, _pos: u64, _buf: &SharedBuf) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) async fn sync(&self) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) async fn write_durable(&self, _pos: u64, _buf: &SharedBuf) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) async fn read(&self, _pos: u64, _len: usize) -> io::Result<Bytes> {
        unimplemented!()
    }
    pub(crate) async fn size(&self) -> io::Result<u64> {
        unimplemented!()
    }
    pub(crate) async fn truncate(&self, _len: u64) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) async fn preallocate(&self, _len: u64) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) async fn close(self) {}
}

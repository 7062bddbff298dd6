//! The glommio engine: sockets.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;

pub(crate) struct Listener {}

impl Listener {
    pub(crate) fn bind(_addr: SocketAddr) -> io::Result<Listener> {
        unimplemented!()
    }
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        unimplemented!()
    }
    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        unimplemented!()
    }
}

pub(crate) struct Accepted {}

impl Accepted {
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        unimplemented!()
    }
    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        unimplemented!()
    }
}

pub(crate) struct Stream {}

impl Stream {
    pub(crate) async fn connect(_addr: SocketAddr) -> io::Result<Stream> {
        unimplemented!()
    }
    pub(crate) fn poll_read(
        &self,
        _cx: &mut Context<'_>,
        _buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        unimplemented!()
    }
    pub(crate) async fn write_vectored_all(&self, _bufs: &[Bytes]) -> io::Result<()> {
        unimplemented!()
    }
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        unimplemented!()
    }
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        unimplemented!()
    }
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        unimplemented!()
    }
}

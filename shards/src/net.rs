//! TCP sockets.
//!
//! A socket that was accepted belongs to no shard until one takes it: [`Accepted`] may be sent
//! to any. From then on the [`Stream`] stays on that shard. Invariant: whatever is dropped is
//! closed.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::context;
use crate::engine::EngineHandle;
use crate::engine::glommio::net as glommio;
use crate::engine::uring::net as uring;
use crate::sim::engine::net as sim;

/// A listening socket of the current shard.
pub struct Listener {
    inner: ListenerInner,
}

enum ListenerInner {
    Glommio(glommio::Listener),
    Uring(uring::Listener),
    Sim(sim::Listener),
}

impl Listener {
    /// Listens at `addr`; port 0 takes a free one. An address that is in use is an error, as
    /// the port is not shared (no SO_REUSEPORT).
    pub fn bind(addr: SocketAddr) -> io::Result<Listener> {
        let inner = match &context::current().engine {
            EngineHandle::Glommio(_) => ListenerInner::Glommio(glommio::Listener::bind(addr)?),
            EngineHandle::Uring(shard) => ListenerInner::Uring(uring::Listener::bind(shard, addr)?),
            EngineHandle::Sim(_) => ListenerInner::Sim(sim::Listener::bind(addr)?),
        };
        Ok(Listener { inner })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            ListenerInner::Glommio(listener) => listener.local_addr(),
            ListenerInner::Uring(listener) => listener.local_addr(),
            ListenerInner::Sim(listener) => listener.local_addr(),
        }
    }

    /// Waits for the next connection. An error is of that connection, or of a want of
    /// descriptors (EMFILE, ENFILE), which lasts: the listener goes on, but wait before the
    /// next call. A dropped future loses no connection.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let inner = match &self.inner {
            ListenerInner::Glommio(listener) => AcceptedInner::Glommio(listener.accept().await?),
            ListenerInner::Uring(listener) => AcceptedInner::Uring(listener.accept().await?),
            ListenerInner::Sim(listener) => AcceptedInner::Sim(listener.accept().await?),
        };
        Ok(Accepted { inner })
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// An accepted socket that no shard has taken yet. Closed when dropped.
pub struct Accepted {
    inner: AcceptedInner,
}

enum AcceptedInner {
    Glommio(glommio::Accepted),
    Uring(uring::Accepted),
    Sim(sim::Accepted),
}

impl Accepted {
    /// Who is at the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            AcceptedInner::Glommio(accepted) => accepted.peer_addr(),
            AcceptedInner::Uring(accepted) => accepted.peer_addr(),
            AcceptedInner::Sim(accepted) => accepted.peer_addr(),
        }
    }

    /// Gives it to the current shard.
    pub fn into_stream(self) -> io::Result<Stream> {
        let inner = match self.inner {
            AcceptedInner::Glommio(accepted) => StreamInner::Glommio(accepted.into_stream()?),
            AcceptedInner::Uring(accepted) => StreamInner::Uring(accepted.into_stream()?),
            AcceptedInner::Sim(accepted) => StreamInner::Sim(accepted.into_stream()?),
        };
        Ok(Stream { inner })
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").finish_non_exhaustive()
    }
}

/// A connection of the current shard. One read and one write may be in progress at once; of
/// two reads, or two writes, one would be forgotten.
pub struct Stream {
    inner: StreamInner,
}

enum StreamInner {
    Glommio(glommio::Stream),
    Uring(uring::Stream),
    Sim(sim::Stream),
}

macro_rules! dispatch {
    ($self:expr, $stream:ident => $call:expr) => {
        match &$self.inner {
            StreamInner::Glommio($stream) => $call,
            StreamInner::Uring($stream) => $call,
            StreamInner::Sim($stream) => $call,
        }
    };
}

impl Stream {
    /// Connects to `addr`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Stream> {
        let inner = match &context::current().engine {
            EngineHandle::Glommio(_) => StreamInner::Glommio(glommio::Stream::connect(addr).await?),
            EngineHandle::Uring(shard) => {
                StreamInner::Uring(uring::Stream::connect(shard, addr).await?)
            }
            EngineHandle::Sim(_) => StreamInner::Sim(sim::Stream::connect(addr).await?),
        };
        Ok(Stream { inner })
    }

    /// Reads what is there, at least one byte, waiting for it; 0 when the peer has closed its
    /// side (or `buf` is empty).
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read(cx, buf)).await
    }

    /// As [`Stream::read`].
    pub fn poll_read(&self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        dispatch!(self, stream => stream.poll_read(cx, buf))
    }

    /// Sends all of `bufs`, in order and without a copy of ours, waiting for room as needed.
    /// After an error, or when the future is dropped midway, some may have been sent: the
    /// connection is of no more use.
    pub async fn write_vectored_all(&self, bufs: &[Bytes]) -> io::Result<()> {
        dispatch!(self, stream => stream.write_vectored_all(bufs).await)
    }

    /// Sends some of `bufs`, at least one byte, waiting for room; 0 when there are none. While it
    /// waits nothing is sent, so the next call may bring other buffers, and a future around it
    /// may be dropped.
    pub fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[Bytes],
    ) -> Poll<io::Result<usize>> {
        dispatch!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    /// Bytes that have been written and that the peer has not taken yet (over a real network:
    /// its machine has not acknowledged).
    pub fn unsent_bytes(&self) -> io::Result<usize> {
        dispatch!(self, stream => stream.unsent_bytes())
    }

    /// Who is at the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        dispatch!(self, stream => stream.peer_addr())
    }

    /// This end's address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        dispatch!(self, stream => stream.local_addr())
    }

    /// Ends both directions at once. A read in progress returns 0, a write fails.
    pub fn shutdown(&self) -> io::Result<()> {
        dispatch!(self, stream => stream.shutdown())
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

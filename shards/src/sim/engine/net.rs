//! The simulated engine: sockets.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::Shard;
use crate::sim::net::{ConnId, Side};
use crate::sim::world::Shared;

pub(crate) struct Listener {
    shared: Arc<Shared>,
    id: u64,
}

impl Listener {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Listener> {
        let shard = Shard::current();
        let id = shard
            .shared
            .world(|world| world.net_listen(shard.process(), addr))?;
        Ok(Listener {
            shared: shard.shared,
            id,
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.world(|world| world.net_listens_at(self.id))
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        let accept = |cx: &mut Context<'_>| {
            self.shared
                .world(|world| world.net_accept(self.id, cx.waker()))
        };
        let conn = poll_fn(accept).await?;
        Ok(Accepted {
            socket: Socket {
                shared: Arc::clone(&self.shared),
                conn,
                side: 1,
            },
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.world(|world| world.net_unlisten(self.id));
    }
}

/// One end of a connection, closed when dropped.
struct Socket {
    shared: Arc<Shared>,
    conn: ConnId,
    side: Side,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.shared
            .world(|world| world.net_close(self.conn, self.side));
    }
}

impl Socket {
    fn addr(&self, side: Side) -> io::Result<SocketAddr> {
        self.shared.world(|world| world.net_addr(self.conn, side))
    }
}

pub(crate) struct Accepted {
    socket: Socket,
}

impl Accepted {
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.addr(1 - self.socket.side)
    }

    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        Ok(Stream {
            socket: self.socket,
        })
    }
}

pub(crate) struct Stream {
    socket: Socket,
}

/// A connection being opened, given up when dropped.
struct Connecting {
    shared: Arc<Shared>,
    conn: Option<ConnId>,
}

impl Drop for Connecting {
    fn drop(&mut self) {
        if let Some(conn) = self.conn {
            self.shared.world(|world| world.net_connect_dropped(conn));
        }
    }
}

impl Stream {
    pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Stream> {
        let shard = Shard::current();
        let conn = shard
            .shared
            .world(|world| world.net_connect(shard.process(), addr));
        let mut connecting = Connecting {
            shared: Arc::clone(&shard.shared),
            conn: Some(conn),
        };
        let answered = |cx: &mut Context<'_>| {
            shard
                .shared
                .world(|world| world.net_connected(conn, cx.waker()))
        };
        poll_fn(answered).await?;
        connecting.conn = None;
        Ok(Stream {
            socket: Socket {
                shared: Arc::clone(&shard.shared),
                conn,
                side: 0,
            },
        })
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let Socket { shared, conn, side } = &self.socket;
        shared.world(|world| world.net_read(*conn, *side, cx.waker(), buf))
    }

    pub(crate) async fn write_vectored_all(&self, bufs: &[Bytes]) -> io::Result<()> {
        let Socket { shared, conn, side } = &self.socket;
        for buf in bufs {
            let mut sent = 0;
            while sent < buf.len() {
                let rest = &buf[sent..];
                let write = |cx: &mut Context<'_>| {
                    shared.world(|world| world.net_write(*conn, *side, cx.waker(), rest))
                };
                sent += poll_fn(write).await?;
            }
        }
        Ok(())
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[Bytes],
    ) -> Poll<io::Result<usize>> {
        let Socket { shared, conn, side } = &self.socket;
        let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        shared.world(|world| world.net_write(*conn, *side, cx.waker(), first))
    }

    pub(crate) fn unsent_bytes(&self) -> io::Result<usize> {
        let Socket { shared, conn, side } = &self.socket;
        Ok(shared.world(|world| world.net_unread(*conn, *side)))
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.addr(1 - self.socket.side)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.addr(self.socket.side)
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        self.socket
            .shared
            .world(|world| world.net_shutdown(self.socket.conn, self.socket.side));
        Ok(())
    }
}

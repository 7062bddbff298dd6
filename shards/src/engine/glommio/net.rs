//! TCP sockets by glommio, with vectored writes of our own.
//!
//! Reads and waits for readiness are glommio's; data is sent by `sendmsg` on the descriptor,
//! which glommio lacks. Invariant: the `RefCell` around its stream is borrowed within one poll
//! only, so that a read and a write may be in progress at once (it keeps a source for each).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, sockopt};

use super::{Shard, TaskHandle};
use crate::engine::sockets::{self, Unsent};
use crate::sync::Notify;
use crate::task::{CatchPanic, TaskPanicked};

/// What is sent by the call that waits for room: small, as it is outside the vectored path.
const WAITING_PIECE_BYTES: usize = 4096;

/// Sockets that have been accepted and wait to be asked for; then the kernel's backlog fills.
const ACCEPTED_MAX: usize = 16;

pub(crate) struct Listener {
    local: SocketAddr,
    accepted: Rc<AcceptedQueue>,
    /// Accepts while the listener is there.
    _acceptor: TaskHandle<Result<(), TaskPanicked>>,
}

/// Between the acceptor and those who call `accept`. An accept that is cancelled in the ring
/// may succeed all the same, and its socket would be lost; so none is before the end.
#[derive(Default)]
struct AcceptedQueue {
    queue: RefCell<VecDeque<io::Result<Accepted>>>,
    filled: Notify,
    emptied: Notify,
}

impl Listener {
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Listener> {
        // Not by glommio, which sets SO_REUSEPORT.
        let (socket, local) = sockets::listen(addr, SocketFlags::empty())?;
        // SAFETY: the descriptor is a listening TCP socket, and ours alone until it is given
        // away here.
        let listener = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
        let accepted = Rc::new(AcceptedQueue::default());
        let acceptor = accept_all(listener, Rc::clone(&accepted));
        Ok(Listener {
            local,
            accepted,
            _acceptor: Shard::current().spawn("accept", CatchPanic::new("accept", acceptor)),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let filled = self.accepted.filled.notified();
            let next = self.accepted.queue.borrow_mut().pop_front();
            if let Some(next) = next {
                self.accepted.emptied.notify_one();
                return next;
            }
            filled.await;
        }
    }
}

/// Accepts for as long as it is polled; an error waits to be taken like a socket.
async fn accept_all(listener: TcpListener, accepted: Rc<AcceptedQueue>) {
    loop {
        while accepted.queue.borrow().len() >= ACCEPTED_MAX {
            accepted.emptied.notified().await;
        }
        let next = accept_one(&listener).await;
        let failed = next.is_err();
        accepted.queue.borrow_mut().push_back(next);
        accepted.filled.notify_one();
        // An error that lasts (no descriptors left) is told once for each call of `accept`.
        while failed && !accepted.queue.borrow().is_empty() {
            accepted.emptied.notified().await;
        }
    }
}

async fn accept_one(listener: &TcpListener) -> io::Result<Accepted> {
    let accepted = listener.shared_accept().await?;
    // It neither closes what is dropped nor gives its descriptor away; bound it does both.
    let bound = accepted.bind_to_executor();
    // SAFETY: `bound` holds the descriptor open until the end of this function.
    let fd = unsafe { BorrowedFd::borrow_raw(bound.as_raw_fd()) };
    let socket = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
    Ok(Accepted { socket })
}

pub(crate) struct Accepted {
    socket: OwnedFd,
}

impl Accepted {
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        sockets::peer_addr(self.socket.as_fd())
    }

    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        sockopt::set_tcp_nodelay(&self.socket, true)?;
        // SAFETY: the descriptor is a connected TCP socket, and ours alone until it is given
        // away here.
        let stream = unsafe { TcpStream::from_raw_fd(self.socket.into_raw_fd()) };
        Ok(Stream::new(stream))
    }
}

pub(crate) struct Stream {
    stream: RefCell<TcpStream>,
}

impl Stream {
    fn new(stream: TcpStream) -> Stream {
        Stream {
            stream: RefCell::new(stream),
        }
    }

    pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Stream> {
        let stream = Stream::new(TcpStream::connect(addr).await?);
        stream.with_fd(|fd| sockopt::set_tcp_nodelay(fd, true))?;
        Ok(stream)
    }

    fn with_fd<R>(&self, f: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
        let stream = self.stream.borrow();
        // SAFETY: the stream, borrowed here, holds the descriptor open while `f` runs.
        let fd = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
        f(fd)
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf)
    }

    pub(crate) async fn write_vectored_all(&self, bufs: &[Bytes]) -> io::Result<()> {
        let mut left = Unsent::new(bufs);
        while let Some(piece) = left.first() {
            match self.with_fd(|fd| left.send(fd)) {
                Ok(sent) => left.advance(sent),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let piece = &piece[..piece.len().min(WAITING_PIECE_BYTES)];
                    let sent = poll_fn(|cx| {
                        Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, piece)
                    })
                    .await?;
                    left.advance(sent);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[Bytes],
    ) -> Poll<io::Result<usize>> {
        let left = Unsent::new(bufs);
        let Some(piece) = left.first() else {
            return Poll::Ready(Ok(0));
        };
        loop {
            return match self.with_fd(|fd| left.send(fd)) {
                Ok(sent) => Poll::Ready(Ok(sent)),
                Err(Errno::INTR) => continue,
                // What waits is only whether there is room: nothing is sent before it is polled
                // again, so what comes then need not lie where it lay.
                Err(Errno::AGAIN) => {
                    let piece = &piece[..piece.len().min(WAITING_PIECE_BYTES)];
                    Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, piece)
                }
                Err(errno) => Poll::Ready(Err(errno.into())),
            };
        }
    }

    pub(crate) fn unsent_bytes(&self) -> io::Result<usize> {
        self.with_fd(sockets::unsent_bytes)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.with_fd(sockets::peer_addr)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with_fd(sockets::local_addr)
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        self.with_fd(|fd| Ok(rustix::net::shutdown(fd, Shutdown::Both)?))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A poll in the ring still holds the socket when the descriptor is closed; the peer
        // need not wait for it. Fails when the peer was first.
        drop(self.shutdown());
    }
}

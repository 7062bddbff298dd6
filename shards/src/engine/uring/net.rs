//! TCP sockets. What is there is taken, and what there is room for is sent, by a system call that
//! does not wait; the ring is asked when there is something, or room, again.
//!
//! So nothing of a caller's is ever in the kernel's hands, and whatever is dropped loses nothing: a
//! connection that comes while an accept is given up stays in the listener's backlog.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use io_uring::opcode;
use io_uring::types::Fd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, SocketFlags, sockopt};

use super::Shard;
use super::ring::{Holds, Operation, Ring};
use crate::context;
use crate::engine::EngineHandle;
use crate::engine::sockets::{self, Unsent};
use crate::task::yield_now;

const READABLE: u32 = libc::POLLIN as u32;
const WRITABLE: u32 = libc::POLLOUT as u32;

/// A socket, and what is asked of the ring about it.
struct Socket {
    fd: Rc<OwnedFd>,
    ring: Rc<Ring>,
}

impl Socket {
    fn wait(&self, events: u32) -> Operation {
        let poll = opcode::PollAdd::new(Fd(self.fd.as_raw_fd()), events).build();
        self.ring.begin(poll, Holds::Socket(Rc::clone(&self.fd)))
    }

    /// Ready when it may be tried again; an error of the socket is told by the call that follows.
    async fn until(&self, events: u32) {
        drop(self.wait(events).end().await);
    }
}

/// The wait of one direction of a stream. It belongs to the stream, not to the future that began
/// it: the next one goes on with it.
#[derive(Default)]
struct Wait {
    operation: RefCell<Option<Operation>>,
}

impl Wait {
    fn poll(&self, socket: &Socket, events: u32, cx: &mut Context<'_>) -> Poll<()> {
        let mut operation = self.operation.borrow_mut();
        let waiting = operation.get_or_insert_with(|| socket.wait(events));
        let (_result, held) = ready!(waiting.poll(cx));
        *operation = None;
        drop(held);
        Poll::Ready(())
    }

    fn is_on(&self) -> bool {
        self.operation.borrow().is_some()
    }
}

/// Connections that are taken without waiting in between. Then everybody else has a turn: who
/// connects as fast as this core can accept would keep the shard in one poll for as long as he likes.
const ACCEPTS_IN_A_ROW: u32 = 16;

pub(crate) struct Listener {
    socket: Socket,
    local: SocketAddr,
    /// Taken since it was last waited.
    in_a_row: Cell<u32>,
}

impl Listener {
    pub(crate) fn bind(shard: &Shard, addr: SocketAddr) -> io::Result<Listener> {
        let (fd, local) = sockets::listen(addr, SocketFlags::NONBLOCK)?;
        let ring = Rc::clone(&shard.inner.ring);
        let fd = Rc::new(fd);
        Ok(Listener {
            socket: Socket { fd, ring },
            local,
            in_a_row: Cell::new(0),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        if self.in_a_row.get() >= ACCEPTS_IN_A_ROW {
            // Before one is taken: given up here, it loses nothing, and the next one does not wait.
            self.in_a_row.set(0);
            yield_now().await;
        }
        loop {
            match rustix::net::accept_with(&self.socket.fd, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    self.in_a_row.set(self.in_a_row.get() + 1);
                    return Ok(Accepted { socket });
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.socket.until(READABLE).await;
                    self.in_a_row.set(0);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

pub(crate) struct Accepted {
    socket: OwnedFd,
}

impl Accepted {
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        sockets::peer_addr(self.socket.as_fd())
    }

    pub(crate) fn into_stream(self) -> io::Result<Stream> {
        let ring = context::with(|context| match &context.engine {
            EngineHandle::Uring(shard) => Rc::clone(&shard.inner.ring),
            _ => unreachable!("the shards of a process have one engine"),
        });
        Stream::new(self.socket, ring)
    }
}

pub(crate) struct Stream {
    socket: Socket,
    reads: Wait,
    writes: Wait,
    /// The last read took all there was: the next asks the ring first.
    is_drained: Cell<bool>,
}

impl Stream {
    fn new(socket: OwnedFd, ring: Rc<Ring>) -> io::Result<Stream> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        let fd = Rc::new(socket);
        Ok(Stream {
            socket: Socket { fd, ring },
            reads: Wait::default(),
            writes: Wait::default(),
            is_drained: Cell::new(false),
        })
    }

    pub(crate) async fn connect(shard: &Shard, addr: SocketAddr) -> io::Result<Stream> {
        let fd = Rc::new(sockets::tcp(addr, SocketFlags::NONBLOCK)?);
        let ring = Rc::clone(&shard.inner.ring);
        match rustix::net::connect(&fd, &addr) {
            // Interrupted, it goes on all the same.
            Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let socket = Socket { fd, ring };
        socket.until(WRITABLE).await;
        sockopt::socket_error(&socket.fd)??;
        sockopt::set_tcp_nodelay(&socket.fd, true)?;
        Ok(Stream {
            socket,
            reads: Wait::default(),
            writes: Wait::default(),
            is_drained: Cell::new(false),
        })
    }

    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if self.is_drained.get() || self.reads.is_on() {
                ready!(self.reads.poll(&self.socket, READABLE, cx));
                self.is_drained.set(false);
            }
            match rustix::net::recv(&self.socket.fd, &mut *buf, RecvFlags::DONTWAIT) {
                Ok((count, _)) => {
                    self.is_drained.set(count < buf.len());
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.is_drained.set(true),
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    pub(crate) async fn write_vectored_all(&self, bufs: &[Bytes]) -> io::Result<()> {
        let mut left = Unsent::new(bufs);
        while left.first().is_some() {
            let sent = poll_fn(|cx| self.poll_send(cx, &left)).await?;
            left.advance(sent);
        }
        Ok(())
    }

    pub(crate) fn poll_write_vectored(
        &self,
        cx: &mut Context<'_>,
        bufs: &[Bytes],
    ) -> Poll<io::Result<usize>> {
        let left = Unsent::new(bufs);
        if left.first().is_none() {
            return Poll::Ready(Ok(0));
        }
        self.poll_send(cx, &left)
    }

    fn poll_send(&self, cx: &mut Context<'_>, left: &Unsent<'_>) -> Poll<io::Result<usize>> {
        loop {
            if self.writes.is_on() {
                ready!(self.writes.poll(&self.socket, WRITABLE, cx));
            }
            match left.send(self.socket.fd.as_fd()) {
                Ok(sent) => return Poll::Ready(Ok(sent)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => ready!(self.writes.poll(&self.socket, WRITABLE, cx)),
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    pub(crate) fn unsent_bytes(&self) -> io::Result<usize> {
        sockets::unsent_bytes(self.socket.fd.as_fd())
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        sockets::peer_addr(self.socket.fd.as_fd())
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        sockets::local_addr(self.socket.fd.as_fd())
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.socket.fd, Shutdown::Both)?)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A poll in the ring still holds the socket when the descriptor is closed; the peer need
        // not wait for it. Fails when the peer was first.
        drop(self.shutdown());
    }
}

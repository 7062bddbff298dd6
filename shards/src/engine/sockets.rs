//! TCP sockets as system calls, for the engines that have a kernel.

use std::ffi::c_int;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use bytes::Bytes;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, ipproto, sockopt,
};

/// Connections that wait to be accepted; the kernel refuses more (and caps this at
/// net.core.somaxconn).
const BACKLOG: i32 = 1024;

/// Slices that one `sendmsg` takes (UIO_MAXIOV).
const SLICES_MAX: usize = 1024;

/// Slices that are gathered on the stack; more are gathered in a vector.
const SLICES_ON_STACK: usize = 32;

/// Asks a socket for the bytes that its peer has not acknowledged (linux/sockios.h, SIOCOUTQ).
const TIOCOUTQ: rustix::ioctl::Opcode = 0x5411;

/// A TCP socket for an end at `addr`.
pub(crate) fn tcp(addr: SocketAddr, flags: SocketFlags) -> io::Result<OwnedFd> {
    let family = match addr {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = flags | SocketFlags::CLOEXEC;
    let tcp = Some(ipproto::TCP);
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        tcp,
    )?)
}

/// A socket that listens at `addr`, without SO_REUSEPORT: a second process on the same port would
/// take half of the connections instead of being told.
pub(crate) fn listen(addr: SocketAddr, flags: SocketFlags) -> io::Result<(OwnedFd, SocketAddr)> {
    let socket = tcp(addr, flags)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &addr)?;
    rustix::net::listen(&socket, BACKLOG)?;
    let local = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, local))
}

pub(crate) fn peer_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    // None is a socket without a name, which TCP does not have.
    let addr = rustix::net::getpeername(fd)?.ok_or(io::ErrorKind::NotConnected)?;
    Ok(SocketAddr::try_from(addr)?)
}

pub(crate) fn local_addr(fd: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(rustix::net::getsockname(fd)?)?)
}

pub(crate) fn unsent_bytes(fd: BorrowedFd<'_>) -> io::Result<usize> {
    // SAFETY: the opcode (SIOCOUTQ) writes one int, which is what the getter has room for.
    let ask = unsafe { rustix::ioctl::Getter::<TIOCOUTQ, c_int>::new() };
    // SAFETY: it changes nothing, and the descriptor is a TCP socket.
    let count = unsafe { rustix::ioctl::ioctl(fd, ask) }?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// What of a list of buffers is still to be sent. Never begins with an empty slice.
pub(crate) struct Unsent<'a> {
    bufs: &'a [Bytes],
    /// Bytes of the first buffer that have been sent.
    sent: usize,
}

impl<'a> Unsent<'a> {
    pub(crate) fn new(bufs: &'a [Bytes]) -> Unsent<'a> {
        let mut unsent = Unsent { bufs, sent: 0 };
        unsent.advance(0);
        unsent
    }

    /// What is left of the first buffer, None when all has been sent.
    pub(crate) fn first(&self) -> Option<&'a [u8]> {
        self.bufs.first().map(|buf| &buf[self.sent..])
    }

    /// Takes off `count` bytes, and empty buffers behind them.
    pub(crate) fn advance(&mut self, mut count: usize) {
        while let Some((first, rest)) = self.bufs.split_first() {
            let left = first.len() - self.sent;
            if count < left {
                self.sent += count;
                return;
            }
            count -= left;
            self.bufs = rest;
            self.sent = 0;
        }
        assert_eq!(count, 0, "more was sent than there was");
    }

    /// Sends as much as there is room for, without waiting.
    pub(crate) fn send(&self, fd: BorrowedFd<'_>) -> rustix::io::Result<usize> {
        let count = self.bufs.len().min(SLICES_MAX);
        if count <= SLICES_ON_STACK {
            let mut slices = [IoSlice::new(&[]); SLICES_ON_STACK];
            for (slice, bytes) in slices.iter_mut().zip(self.slices()) {
                *slice = IoSlice::new(bytes);
            }
            send(fd, &slices[..count])
        } else {
            let slices: Vec<_> = self.slices().take(count).map(IoSlice::new).collect();
            send(fd, &slices)
        }
    }

    fn slices(&self) -> impl Iterator<Item = &'a [u8]> {
        let rest = self.bufs.iter().skip(1);
        self.first().into_iter().chain(rest.map(|buf| &buf[..]))
    }
}

fn send(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> rustix::io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(fd, slices, &mut SendAncillaryBuffer::default(), flags)
}

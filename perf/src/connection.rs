//! One non-blocking connection of a client: whole frames in and out.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, ensure};

/// Room for answers at the begin; an answer that needs more gets it.
const INBOX_BYTES: usize = 64 << 10;
/// No answer is longer: an answer that claims to be is not Kafka's protocol.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A socket, and the bytes of answers not yet taken.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    inbox: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Connection {
    /// Connects; from then on nothing blocks.
    pub(crate) fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(addr).with_context(|| format!("nobody answers at {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self::of(stream))
    }

    /// Of a socket that does not block.
    pub(crate) fn of(stream: TcpStream) -> Self {
        Self {
            stream,
            inbox: vec![0; INBOX_BYTES],
            begin: 0,
            end: 0,
        }
    }

    /// Writes as much of `bytes` as the socket takes, which may be nothing.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<usize> {
        match self.stream.write(bytes) {
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error).context("writing to the broker"),
        }
    }

    /// Reads once; false when nothing was there.
    pub(crate) fn fill(&mut self) -> anyhow::Result<bool> {
        self.make_room()?;
        match self.stream.read(&mut self.inbox[self.end..]) {
            Ok(0) => anyhow::bail!("the other side closed the connection"),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("reading from the broker"),
        }
    }

    /// The next frame, without its length, if all of it is there.
    pub(crate) fn take(&mut self) -> Option<&[u8]> {
        let length = self.length()?;
        let begin = self.begin + 4;
        if self.end < begin + length {
            return None;
        }
        self.begin = begin + length;
        Some(&self.inbox[begin..begin + length])
    }

    fn length(&self) -> Option<usize> {
        let prefix = self.inbox[self.begin..self.end].first_chunk::<4>()?;
        Some(u32::from_be_bytes(*prefix) as usize)
    }

    fn make_room(&mut self) -> anyhow::Result<()> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
        let wanted = self.length().map_or(4096, |length| 4 + length);
        ensure!(wanted <= ANSWER_BYTES_MAX, "a frame of {wanted} bytes");
        // A frame that is there as a whole is taken before more is read, so there is always room to
        // gain: behind the end, by moving, or by growing.
        if self.begin + wanted > self.inbox.len() || self.end == self.inbox.len() {
            self.inbox.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            let least = wanted.max(self.end + 1).next_power_of_two();
            if least > self.inbox.len() {
                self.inbox.resize(least, 0);
            }
        }
        Ok(())
    }
}

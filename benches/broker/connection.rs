//! One connection of a client, blocking or busily looking.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::frames::CORRELATION_AT;

/// How a client waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// In the kernel: what it costs to be woken is part of the figure.
    Block,
    /// It looks again and again, on a core of its own: the figure is the broker's alone.
    Spin,
}

const ANSWER_MAX: Duration = Duration::from_secs(60);

pub struct Connection {
    pub stream: TcpStream,
    wait: Wait,
    inbox: Vec<u8>,
    /// Where the answers not yet taken begin and end in the inbox.
    begin: usize,
    end: usize,
    correlation: i32,
}

impl Connection {
    pub fn open(addr: SocketAddr, wait: Wait) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(wait == Wait::Spin)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self {
            stream,
            wait,
            inbox: vec![0; 64 << 10],
            begin: 0,
            end: 0,
            correlation: 0,
        })
    }

    /// Sends a frame under a correlation id of its own.
    pub fn send(&mut self, frame: &mut [u8]) -> io::Result<()> {
        self.correlation = self.correlation.wrapping_add(1);
        let id = self.correlation.to_be_bytes();
        frame[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&id);
        let mut rest: &[u8] = frame;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next answer, correlation id first; waits for it.
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        let mut looking_since = None;
        let mut looks = 0_u32;
        while self.whole().is_none() {
            match self.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.wait == Wait::Spin => {
                    looks = looks.wrapping_add(1);
                    let since = *looking_since.get_or_insert_with(Instant::now);
                    if looks.is_multiple_of(1 << 20) && since.elapsed() > ANSWER_MAX {
                        return Err(ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.take().expect("it is whole"))
    }

    /// Sends and waits.
    pub fn call(&mut self, mut frame: Vec<u8>) -> io::Result<&[u8]> {
        self.send(&mut frame)?;
        self.receive()
    }

    /// Reads once. `WouldBlock` when nothing is there.
    pub fn fill(&mut self) -> io::Result<()> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
        let wanted = self.wanted();
        if self.begin + wanted > self.inbox.len() {
            self.inbox.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
            self.inbox.resize(self.inbox.len().max(wanted), 0);
        }
        match self.stream.read(&mut self.inbox[self.end..])? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// The next answer if all of it is there.
    pub fn take(&mut self) -> Option<&[u8]> {
        let bytes = self.whole()?;
        let begin = self.begin + 4;
        self.begin = begin + bytes;
        Some(&self.inbox[begin..begin + bytes])
    }

    fn size(&self) -> Option<usize> {
        let prefix = self.inbox[self.begin..self.end].first_chunk::<4>()?;
        Some(usize::try_from(i32::from_be_bytes(*prefix)).expect("a size"))
    }

    fn whole(&self) -> Option<usize> {
        self.size().filter(|size| self.end - self.begin >= 4 + size)
    }

    /// The room that the next answer needs.
    fn wanted(&self) -> usize {
        self.size().map_or(4096, |size| 4 + size)
    }
}

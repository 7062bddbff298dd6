//! The kinds of hostile connections, and what one of each does in its turn.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::frames::{self, HOSTILE, LARGE, Numbers};

/// How a kind of connection behaves.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What the connection of that number has to send, once or again and again.
    pub(crate) script: fn(u64) -> Vec<u8>,
    /// Its turn. An error is the end of the connection, by the broker.
    pub(crate) act: fn(&mut Member) -> io::Result<Acted>,
}

/// What came of a turn.
#[derive(Debug, Default)]
pub(crate) struct Acted {
    pub(crate) sent: usize,
    pub(crate) received: usize,
    /// It goes by itself.
    pub(crate) leaves: bool,
}

/// One hostile connection.
pub(crate) struct Member {
    stream: TcpStream,
    script: Vec<u8>,
    /// Bytes of the script that have been sent.
    at: usize,
    turns: u32,
    numbers: Numbers,
}

impl Member {
    pub(crate) fn new(stream: TcpStream, number: u64, script: Vec<u8>) -> Self {
        Self {
            stream,
            script,
            at: 0,
            turns: 0,
            numbers: Numbers(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        }
    }

    /// Sends of the script what the socket takes, at most `most` bytes.
    fn send(&mut self, most: usize) -> io::Result<usize> {
        let end = self.script.len().min(self.at.saturating_add(most));
        if self.at == end {
            return Ok(0);
        }
        let sent = none_if_full(self.stream.write(&self.script[self.at..end]))?.unwrap_or(0);
        self.at += sent;
        Ok(sent)
    }

    /// As [`Member::send`], from the start again at the end.
    fn send_again(&mut self, most: usize) -> io::Result<usize> {
        if self.at == self.script.len() {
            self.at = 0;
        }
        self.send(most)
    }

    /// Reads at most `most` bytes; an error at the end of the stream.
    fn read(&mut self, most: usize) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        let most = most.min(bytes.len());
        match none_if_full(self.stream.read(&mut bytes[..most]))? {
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(count) => Ok(count),
            None => Ok(0),
        }
    }

    /// Whether the broker has closed it: nothing is read.
    fn is_there(&self) -> io::Result<()> {
        match none_if_full(self.stream.peek(&mut [0]))? {
            Some(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// `None` where nothing moves: full, empty, or not connected yet.
fn none_if_full(moved: io::Result<usize>) -> io::Result<Option<usize>> {
    match moved {
        Ok(count) => Ok(Some(count)),
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected => Ok(None),
            _ => Err(error),
        },
    }
}

/// All of them.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        name: "slow readers, a byte a turn",
        script: |number| large_fetches(number, 4),
        act: |member| {
            let sent = member.send_again(usize::MAX)?;
            Ok(acted(sent, member.read(1)?))
        },
    },
    Kind {
        name: "pipelining, never reading",
        script: |number| large_fetches(number, 20),
        act: |member| {
            member.is_there()?;
            Ok(acted(member.send_again(usize::MAX)?, 0))
        },
    },
    Kind {
        name: "metadata of all, never reading",
        script: |_| frames::metadata().repeat(200),
        act: |member| {
            member.is_there()?;
            Ok(acted(member.send_again(usize::MAX)?, 0))
        },
    },
    Kind {
        name: "slow writers, a byte a turn",
        script: |_| frames::produce(HOSTILE, 0, &frames::batch(&[1; 20_000], None)),
        act: |member| Ok(acted(member.send_again(1)?, member.read(64)?)),
    },
    Kind {
        name: "half open, 0 to 3 bytes",
        script: |number| vec![0; usize::try_from(number % 4).unwrap_or(0)],
        act: |member| Ok(acted(member.send(3)?, member.read(64)?)),
    },
    Kind {
        name: "giant frames, cut short",
        script: giant,
        act: |member| Ok(acted(member.send(usize::MAX)?, member.read(64)?)),
    },
    Kind {
        name: "tiny frames by the thousand",
        script: |_| frames::api_versions().repeat(1000),
        act: |member| {
            let sent = member.send_again(2000)?;
            Ok(acted(sent, member.read(usize::MAX)?))
        },
    },
    Kind {
        name: "random bytes",
        script: |_| Vec::new(),
        act: |member| {
            let count = member.numbers.below(300) + 1;
            member.script = member.numbers.bytes(count);
            member.at = 0;
            let sent = member.send(usize::MAX)?;
            Ok(acted(sent, member.read(usize::MAX)?))
        },
    },
    Kind {
        name: "garbage batches",
        script: garbage,
        act: |member| {
            let sent = member.send_again(4000)?;
            Ok(acted(sent, member.read(usize::MAX)?))
        },
    },
    Kind {
        name: "flood of connects",
        script: |_| Vec::new(),
        act: |member| {
            member.turns += 1;
            Ok(Acted {
                leaves: member.turns > 2,
                ..Acted::default()
            })
        },
    },
];

fn acted(sent: usize, received: usize) -> Acted {
    Acted {
        sent,
        received,
        leaves: false,
    }
}

fn large_fetches(number: u64, count: u64) -> Vec<u8> {
    let fetch = |ask: u64| {
        let offset = i64::try_from((number * 7 + ask * 3) % 20).unwrap_or(0);
        frames::fetch(LARGE, i32::from(number % 2 == 1), offset, 0)
    };
    (0..count).flat_map(fetch).collect()
}

/// A length that no request has, or one that is allowed and little of it.
fn giant(number: u64) -> Vec<u8> {
    let lengths = [100 << 20, i32::MAX, -1, 10 << 20, 1 << 20];
    let length = lengths[usize::try_from(number % 5).unwrap_or(0)];
    let sent = [1, 5_000, 20_000, 100_000][usize::try_from(number % 4).unwrap_or(0)];
    [&length.to_be_bytes()[..], &vec![0; sent]].concat()
}

/// Batches with a wrong checksum, of a wrong magic, cut short.
fn garbage(number: u64) -> Vec<u8> {
    let mut batch = frames::batch(&[3; 1000], None);
    match number % 3 {
        0 => batch[17] ^= 1,
        1 => batch[16] = 9,
        _ => batch.truncate(900),
    }
    frames::produce(HOSTILE, i32::from(number % 2 == 1), &batch)
}

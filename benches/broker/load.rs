//! Load from one thread: some connections, each with so many requests in flight, in a closed loop
//! or at a fixed rate.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use std::collections::VecDeque;

use rustix::event::epoll;

use crate::answers;
use crate::connection::{Connection, Wait};
use crate::stats::Times;

/// One connection's share: the request it repeats.
pub struct Load {
    pub addr: SocketAddr,
    /// One connection for each; each repeats its frame.
    pub frames: Vec<Vec<u8>>,
    /// Requests in flight on each connection.
    pub depth: usize,
    pub wait: Wait,
}

/// What came of it.
pub struct Outcome {
    pub times: Times,
    pub took: Duration,
}

impl Outcome {
    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }
}

struct Member {
    connection: Connection,
    frame: Vec<u8>,
    /// When each request in flight was sent, or was due.
    sent: VecDeque<Instant>,
}

impl Load {
    /// Closed loop over one connection, `count` requests; the first `warm_up` do not count.
    pub fn one_by_one(&self, warm_up: usize, count: usize) -> Times {
        let mut connection = Connection::open(self.addr, self.wait).expect("it listens");
        let mut frame = self.frames[0].clone();
        let mut times = Times::default();
        for index in 0..warm_up + count {
            let began = Instant::now();
            connection.send(&mut frame).expect("it takes the request");
            let answer = connection.receive().expect("it answers");
            if index >= warm_up {
                times.push(began.elapsed());
            }
            answers::produced(answer);
        }
        times
    }

    /// Closed loop over all connections for `lasting`, after `warm_up`.
    pub fn closed(&self, warm_up: Duration, lasting: Duration) -> Outcome {
        let mut members = self.members();
        let epoll = register(&members);
        for member in &mut members {
            for _ in 0..self.depth {
                member.send(Instant::now());
            }
        }
        let begin = Instant::now() + warm_up;
        let end = begin + lasting;
        let mut times = Times::default();
        loop {
            let now = Instant::now();
            if now >= end {
                return Outcome {
                    times,
                    took: lasting,
                };
            }
            self.wait_ready(&epoll, &mut members, |member, sent| {
                let now = Instant::now();
                if now >= begin && now < end {
                    times.push(now - sent);
                }
                member.send(now);
            });
        }
    }

    /// `rate` requests a second over all connections in turn for `lasting`, sent when they are
    /// due whatever is still unanswered; a time counts from when its request was due.
    pub fn open(&self, rate: u32, warm_up: Duration, lasting: Duration) -> Outcome {
        assert!(
            self.wait == Wait::Spin,
            "a client that sleeps would be late by itself"
        );
        let mut members = self.members();
        let epoll = register(&members);
        let (start, gap) = (Instant::now(), Duration::from_secs(1) / rate);
        let begin = start + warm_up;
        let end = begin + lasting;
        let (mut times, mut due, mut turn, mut unanswered) = (Times::default(), start, 0, 0_usize);
        loop {
            let now = Instant::now();
            while due <= now && due < end {
                let count = members.len();
                members[turn % count].send(due);
                (turn, due, unanswered) = (turn + 1, due + gap, unanswered + 1);
            }
            if unanswered == 0 && due >= end {
                return Outcome {
                    times,
                    took: lasting,
                };
            }
            self.wait_ready(&epoll, &mut members, |_, sent| {
                unanswered -= 1;
                if sent >= begin {
                    times.push(sent.elapsed());
                }
            });
        }
    }

    fn members(&self) -> Vec<Member> {
        let member = |frame: &Vec<u8>| {
            let connection = Connection::open(self.addr, self.wait).expect("it listens");
            connection.stream.set_nonblocking(true).expect("a socket");
            Member {
                connection,
                frame: frame.clone(),
                sent: VecDeque::new(),
            }
        };
        self.frames.iter().map(member).collect()
    }

    /// Waits until some connection can be read, and gives each whole answer to `answered`.
    fn wait_ready(
        &self,
        epoll: &rustix::fd::OwnedFd,
        members: &mut [Member],
        mut answered: impl FnMut(&mut Member, Instant),
    ) {
        let mut events = [const { std::mem::MaybeUninit::<epoll::Event>::uninit() }; 64];
        let tick = match self.wait {
            Wait::Spin => rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            Wait::Block => rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            },
        };
        let (ready, _) =
            epoll::wait(epoll, events.as_mut_slice(), Some(&tick)).expect("an epoll set");
        for event in ready {
            let index = usize::try_from(event.data.u64()).expect("an index");
            let member = &mut members[index];
            match member.connection.fill() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("connection {index}: {error}"),
            }
            while let Some(answer) = member.connection.take() {
                answers::produced(answer);
                let sent = member.sent.pop_front().expect("an answer to a request");
                answered(member, sent);
            }
        }
    }
}

impl Member {
    fn send(&mut self, at: Instant) {
        self.sent.push_back(at);
        self.connection
            .send(&mut self.frame)
            .expect("it takes the request");
    }
}

fn register(members: &[Member]) -> rustix::fd::OwnedFd {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll set");
    for (index, member) in members.iter().enumerate() {
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(
            &set,
            member.connection.stream.as_fd(),
            data,
            epoll::EventFlags::IN,
        )
        .expect("a socket can be watched");
    }
    set
}

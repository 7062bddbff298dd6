//! The hostile crowd: one thread for each kind, which looks after all connections of its kind in
//! turn and never waits for one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use rustix::process::setpriority_process;
use rustix::thread::gettid;

use crate::kinds::{KINDS, Kind, Member};

/// Between two rounds over a kind's connections.
const ROUND: Duration = Duration::from_millis(20);
/// Connections that a kind opens in one round, so that the crowd's own work leaves the client that
/// behaves some of the processor.
const OPENED_PER_ROUND: usize = 40;
/// Local addresses of a kind, so that no limit for each address is met.
const ADDRESSES: usize = 50;

/// What one kind has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counted {
    /// Connections that were made.
    pub(crate) opened: u64,
    /// Connections that the broker closed.
    pub(crate) closed: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    /// Most connections at a time.
    pub(crate) most: usize,
}

/// The running crowd.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    kinds: Vec<(&'static str, JoinHandle<Counted>)>,
}

impl Crowd {
    /// So many connections at a time, divided among all kinds whose names hold `only`.
    pub(crate) fn start(broker: SocketAddr, connections: usize, only: &str, nice: i32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let chosen = || KINDS.iter().filter(|kind| kind.name.contains(only));
        let each = connections.div_ceil(chosen().count().max(1));
        let start = |(index, kind): (usize, &'static Kind)| {
            let stop = Arc::clone(&stop);
            let run = move || {
                // Of this thread alone, as Linux has it. Refused, the run goes on as it is.
                let _ = setpriority_process(Some(gettid()), nice);
                Kindred::new(kind, index, broker).run(each, &stop)
            };
            (kind.name, thread::spawn(run))
        };
        let kinds = chosen().enumerate().map(start).collect();
        Self { stop, kinds }
    }

    /// Everybody leaves; what each kind has done.
    pub(crate) fn stop(self) -> Vec<(&'static str, Counted)> {
        self.stop.store(true, Ordering::Relaxed);
        let join = |(name, thread): (&'static str, JoinHandle<Counted>)| {
            (name, thread.join().unwrap_or_default())
        };
        self.kinds.into_iter().map(join).collect()
    }
}

/// The connections of one kind.
struct Kindred {
    kind: &'static Kind,
    index: usize,
    broker: SocketAddr,
    members: Vec<Member>,
    counted: Counted,
}

impl Kindred {
    fn new(kind: &'static Kind, index: usize, broker: SocketAddr) -> Self {
        Self {
            kind,
            index,
            broker,
            members: Vec::new(),
            counted: Counted::default(),
        }
    }

    fn run(mut self, connections: usize, stop: &AtomicBool) -> Counted {
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            for _ in 0..OPENED_PER_ROUND {
                if self.members.len() >= connections || self.open().is_err() {
                    break;
                }
            }
            self.counted.most = self.counted.most.max(self.members.len());
            let (kind, counted) = (self.kind, &mut self.counted);
            self.members.retain_mut(|member| match (kind.act)(member) {
                Ok(acted) => {
                    counted.sent_bytes += acted.sent as u64;
                    counted.received_bytes += acted.received as u64;
                    !acted.leaves
                }
                Err(_) => {
                    counted.closed += 1;
                    false
                }
            });
            thread::sleep(ROUND.saturating_sub(began.elapsed()).max(ROUND / 4));
        }
        self.counted
    }

    fn open(&mut self) -> io::Result<()> {
        let number = self.counted.opened;
        let stream = connect(self.broker, self.index, number)?;
        self.counted.opened += 1;
        self.members
            .push(Member::new(stream, number, (self.kind.script)(number)));
        Ok(())
    }
}

/// A connection, under way at least, from one of the kind's addresses. It ends by a reset, so
/// that floods leave no ports in TIME_WAIT.
fn connect(broker: SocketAddr, kind: usize, number: u64) -> io::Result<TcpStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let tcp = Some(ipproto::TCP);
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, tcp)?;
    sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    let (third, last) = (kind + 1, number % ADDRESSES as u64 + 1);
    let octet = |number: usize| u8::try_from(number % 256).unwrap_or(0);
    let from = Ipv4Addr::new(127, 0, octet(third), octet(last as usize));
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    match rustix::net::connect(&socket, &broker) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}

//! `discard`: a broker that keeps nothing. It speaks as much of the protocol as a producer needs, says
//! that every batch was taken, and drops it: what a client reaches against it is the client's ceiling.
//!
//! One thread. Nothing is stored but the names of topics and how many records each partition was sent.

mod answers;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use bytes::Bytes;

use crate::clock;
use crate::connection::Connection;
use crate::machine;
use crate::poller::{Poller, Wait};
use answers::Topics;

/// How a sink runs.
#[derive(Clone, Debug)]
pub(crate) struct SinkPlan {
    pub(crate) listen: SocketAddr,
    pub(crate) cpu: Option<usize>,
    pub(crate) wait: Wait,
    /// For tests of the generator.
    pub(crate) stall: Option<Stall>,
}

/// It stands still once, so long after its first produce request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) after_ns: u64,
    pub(crate) lasting_ns: u64,
}

/// What a sink that stalls has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    /// When it stood still.
    pub(crate) stalled: Option<(u64, u64)>,
    /// Of each record: its stamp, and when its request was answered.
    pub(crate) answered: Vec<(u64, u64)>,
}

/// A running sink; ends when dropped.
pub(crate) struct Sink {
    pub(crate) addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<anyhow::Result<Witness>>>,
}

impl Sink {
    /// Starts one.
    pub(crate) fn start(plan: SinkPlan) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(plan.listen)
            .with_context(|| format!("listening on {}", plan.listen))?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = move || {
            plan.cpu.map_or(Ok(()), machine::pin)?;
            Server::new(listener, addr, &plan)?.run(&stopped)
        };
        Ok(Self {
            addr,
            stop,
            thread: Some(std::thread::spawn(work)),
        })
    }

    /// Ends it and says what it has seen.
    #[cfg(test)]
    pub(crate) fn stop(mut self) -> anyhow::Result<Witness> {
        self.end()
    }

    /// Serves until the process ends.
    pub(crate) fn serve(mut self) -> anyhow::Result<()> {
        let thread = self.thread.take().context("it runs")?;
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow::anyhow!("the sink panicked")))
            .map(drop)
    }

    fn end(&mut self) -> anyhow::Result<Witness> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(anyhow::anyhow!("the sink panicked"))),
            None => Ok(Witness::default()),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // Who wants to know how it ended calls `stop`.
        let _ = self.end();
    }
}

/// A client's connection.
struct Client {
    connection: Connection,
    /// Answers that the socket has not taken yet; nothing more is read before it has.
    outbox: Vec<u8>,
}

struct Server {
    listener: TcpListener,
    poller: Poller,
    clients: BTreeMap<usize, Client>,
    next_number: usize,
    topics: Topics,
    stall: Option<Stall>,
    first_produce_ns: Option<u64>,
    witness: Witness,
}

/// The listener's number among the sockets.
const LISTENER: usize = 0;
/// Looks at its flag this often when nothing comes.
const LOOK_NS: u64 = 50_000_000;
/// Enough for epoll to be used whatever the plan.
const MANY: usize = 1 << 10;

impl Server {
    fn new(listener: TcpListener, addr: SocketAddr, plan: &SinkPlan) -> anyhow::Result<Self> {
        let poller = Poller::new(plan.wait, MANY)?;
        poller.add(listener.as_fd(), LISTENER)?;
        Ok(Self {
            listener,
            poller,
            clients: BTreeMap::new(),
            next_number: LISTENER + 1,
            topics: Topics::new(addr),
            stall: plan.stall,
            first_produce_ns: None,
            witness: Witness::default(),
        })
    }

    fn run(mut self, stop: &AtomicBool) -> anyhow::Result<Witness> {
        while !stop.load(Ordering::Relaxed) {
            let count = self.poller.ready(clock::now_ns() + LOOK_NS)?.len();
            for at in 0..count {
                match self.poller.nth(at) {
                    LISTENER => self.accept()?,
                    number => self.serve(number)?,
                }
            }
        }
        Ok(self.witness)
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            self.poller.add(stream.as_fd(), self.next_number)?;
            let client = Client {
                connection: Connection::of(stream),
                outbox: Vec::new(),
            };
            self.clients.insert(self.next_number, client);
            self.next_number += 1;
        }
        Ok(())
    }

    /// A client that breaks off, or speaks what the sink does not, is let go.
    fn serve(&mut self, number: usize) -> anyhow::Result<()> {
        let Some(mut client) = self.clients.remove(&number) else {
            return Ok(());
        };
        match self.converse(&mut client) {
            Ok(()) => {
                let blocked = !client.outbox.is_empty();
                self.poller
                    .blocked(&client.connection.stream, number, blocked)?;
                self.clients.insert(number, client);
            }
            Err(_) => drop(client),
        }
        Ok(())
    }

    fn converse(&mut self, client: &mut Client) -> anyhow::Result<()> {
        flush(client)?;
        while client.outbox.is_empty() && client.connection.fill()? {
            while let Some(frame) = client.connection.take() {
                let frame = Bytes::copy_from_slice(frame);
                let witness = self.stall.map(|_| &mut self.witness.answered);
                let produced = self.topics.answer(frame, &mut client.outbox, witness)?;
                if produced {
                    self.stall_when_due();
                }
            }
            flush(client)?;
        }
        Ok(())
    }

    fn stall_when_due(&mut self) {
        let Some(stall) = self.stall else { return };
        let now_ns = clock::now_ns();
        let first_ns = *self.first_produce_ns.get_or_insert(now_ns);
        if self.witness.stalled.is_none() && now_ns >= first_ns + stall.after_ns {
            while clock::now_ns() < now_ns + stall.lasting_ns {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            self.witness.stalled = Some((now_ns, clock::now_ns()));
        }
    }
}

fn flush(client: &mut Client) -> anyhow::Result<()> {
    let Client { connection, outbox } = client;
    let mut written = 0;
    while written < outbox.len() {
        match connection.write(&outbox[written..])? {
            0 => break,
            count => written += count,
        }
    }
    outbox.drain(..written);
    Ok(())
}

#[cfg(test)]
mod validation;

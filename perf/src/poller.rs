//! Which of a thread's sockets have something, asked by spinning or by sleeping.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::Context;
use rustix::event::{Timespec, epoll};
use serde::{Deserialize, Serialize};

use crate::clock::{self, SECOND_NS};

/// How a thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wait {
    /// It looks again and again, on a core of its own: the figure is the other side's alone.
    Spin,
    /// In the kernel: what it costs to be woken is part of the figure.
    Park,
}

/// So few sockets are each read instead of asking epoll about them first.
const READ_ALL_MAX: usize = 2;
const EVENTS: usize = 256;
/// A thread that sleeps looks around this often whatever happens.
const SLEEP_NS_MAX: u64 = SECOND_NS / 10;

/// The sockets of one thread, by number.
pub(crate) struct Poller {
    epoll: Option<OwnedFd>,
    wait: Wait,
    sockets: usize,
    ready: Vec<usize>,
}

fn epoll_failed(error: rustix::io::Errno) -> anyhow::Error {
    anyhow::Error::from(error).context("epoll")
}

impl Poller {
    /// None yet; there will be `sockets`.
    pub(crate) fn new(wait: Wait, sockets: usize) -> anyhow::Result<Self> {
        let by_reading = wait == Wait::Spin && sockets <= READ_ALL_MAX;
        let epoll = match by_reading {
            true => None,
            false => Some(epoll::create(epoll::CreateFlags::CLOEXEC).map_err(epoll_failed)?),
        };
        Ok(Self {
            epoll,
            wait,
            sockets,
            ready: Vec::with_capacity(EVENTS.max(sockets)),
        })
    }

    /// Watches a socket for answers.
    pub(crate) fn add(&self, socket: impl AsFd, number: usize) -> anyhow::Result<()> {
        let Some(epoll) = &self.epoll else {
            return Ok(());
        };
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(epoll, socket, data, epoll::EventFlags::IN).map_err(epoll_failed)
    }

    /// Whether a socket is watched for room, too: what was to be sent did not fit.
    pub(crate) fn blocked(
        &self,
        socket: impl AsFd,
        number: usize,
        blocked: bool,
    ) -> anyhow::Result<()> {
        let Some(epoll) = &self.epoll else {
            return Ok(());
        };
        let data = epoll::EventData::new_u64(number as u64);
        let room = if blocked {
            epoll::EventFlags::OUT
        } else {
            epoll::EventFlags::empty()
        };
        epoll::modify(epoll, socket, data, epoll::EventFlags::IN | room).map_err(epoll_failed)
    }

    /// The sockets to look at now. Sleeps until there is one or it is `until_ns`, if it may sleep.
    pub(crate) fn ready(&mut self, until_ns: u64) -> anyhow::Result<&[usize]> {
        self.ready.clear();
        let Some(epoll) = &self.epoll else {
            self.ready.extend(0..self.sockets);
            return Ok(&self.ready);
        };
        let sleep_ns = match self.wait {
            Wait::Spin => 0,
            Wait::Park => until_ns.saturating_sub(clock::now_ns()).min(SLEEP_NS_MAX),
        };
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(sleep_ns)?,
        };
        let mut events = [const { MaybeUninit::<epoll::Event>::uninit() }; EVENTS];
        match epoll::wait(epoll, events.as_mut_slice(), Some(&timeout)) {
            Ok((found, _)) => {
                for event in found {
                    let number = usize::try_from(event.data.u64());
                    self.ready.push(number.context("a socket's number")?);
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(epoll_failed(error)),
        }
        Ok(&self.ready)
    }

    /// One of those that [`Poller::ready`] found last.
    pub(crate) fn nth(&self, at: usize) -> usize {
        self.ready[at]
    }
}

//! The ring, and the slab of operations that the kernel has.
//!
//! Invariants:
//! - what an operation points at (a buffer, a path, a descriptor) is held by its entry in the slab
//!   ([`Holds`]), which goes when the kernel's last word on it has been read, and not before: also
//!   when the future that began it is gone;
//! - an entry's number carries a generation, so that a cancellation which comes late never meets
//!   the entry's next owner;
//! - nothing here is borrowed while a waker or a destructor runs: each may come back.
//!
//! Bounds: an entry for each future or socket that waits, so as many as those. What does not fit
//! the submission queue waits in `backlog` for the next look. Completions that do not fit their
//! queue are kept by the kernel (IORING_FEAT_NODROP), and it is entered to have them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use glommio::io::DmaBuffer;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use slab::Slab;

use super::file::OpenFile;
use super::queue::Bell;
use crate::buf::SharedBuf;
use crate::counters::{Counter, count};
use crate::engine::host;

/// How long the end of a shard waits for what the kernel still has of it.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// A read or write that takes longer than any device does when it is not busy: the kernel may have
/// given it to a worker.
const SILENT_NANOS: u64 = 300_000;

/// The poll of the eventfd by which other threads wake the shard.
const BELL: u64 = u64::MAX;

/// Completions in which nobody has an interest: those of cancellations.
const NOBODY: u64 = u64::MAX - 1;

/// What the kernel uses of ours until an operation is done.
#[expect(dead_code, reason = "the kernel reads it, and dropping ends it")]
pub(super) enum Holds {
    /// A socket that is waited for.
    Socket(Rc<OwnedFd>),
    /// A file, and what is read into.
    Read(Rc<OpenFile>, DmaBuffer),
    /// A file, and what is written from.
    Write(Rc<OpenFile>, SharedBuf),
    /// A file that is synced.
    Sync(Rc<OpenFile>),
    /// The path of a file that is opened. What comes of it is a descriptor.
    Open(CString),
}

impl Holds {
    /// Whether giving up is better than waiting for the end: it comes when a peer wants.
    fn may_be_cancelled(&self) -> bool {
        matches!(self, Holds::Socket(_))
    }

    fn is_of_a_file(&self) -> bool {
        !matches!(self, Holds::Socket(_))
    }

    /// The kernel leaves it to a worker, always. Others only if they would have to wait.
    fn is_for_a_worker(&self) -> bool {
        matches!(self, Holds::Sync(_) | Holds::Open(_))
    }

    /// The operation is done, and nobody waits for it.
    fn forget(self, result: i32) {
        if let Holds::Open(_) = self
            && result >= 0
        {
            // SAFETY: the kernel has just made this descriptor, and told nobody else of it.
            drop(unsafe { OwnedFd::from_raw_fd(result) });
        }
    }
}

/// The operations on files that the kernel has.
#[derive(Default)]
struct FilesUnderWay {
    all: Cell<usize>,
    for_workers: Cell<usize>,
    /// When the last one ended, or the first one began.
    moved_nanos: Cell<u64>,
}

impl FilesUnderWay {
    fn begins(&self, holds: &Holds) {
        if !holds.is_of_a_file() {
            return;
        }
        if self.all.get() == 0 {
            self.moved_nanos.set(host::now_nanos());
        }
        self.all.set(self.all.get() + 1);
        let by_worker = usize::from(holds.is_for_a_worker());
        self.for_workers.set(self.for_workers.get() + by_worker);
    }

    fn ends(&self, holds: &Holds) {
        if !holds.is_of_a_file() {
            return;
        }
        self.moved_nanos.set(host::now_nanos());
        self.all.set(self.all.get() - 1);
        let by_worker = usize::from(holds.is_for_a_worker());
        self.for_workers.set(self.for_workers.get() - by_worker);
    }

    fn need_a_worker(&self, now_nanos: u64) -> bool {
        self.for_workers.get() > 0
            || self.all.get() > 0 && now_nanos > self.moved_nanos.get() + SILENT_NANOS
    }
}

enum State {
    /// The kernel has it; who is woken, once somebody has asked.
    Waits(Option<Waker>),
    /// The kernel has it, and its future is gone.
    Abandoned,
    /// Nobody has taken the result yet.
    Done(i32),
}

struct Entry {
    generation: u32,
    state: State,
    holds: Holds,
}

/// See the module.
pub(super) struct Ring {
    uring: RefCell<IoUring>,
    entries: RefCell<Slab<Entry>>,
    next_generation: Cell<u32>,
    backlog: RefCell<VecDeque<squeue::Entry>>,
    /// Something was put into the submission queue, or could not be, since the last enter.
    has_submissions: Cell<bool>,
    /// Completions on their way to `complete`; kept for its memory.
    batch: RefCell<Vec<(u64, i32, u32)>>,
    files: FilesUnderWay,
    bell: Arc<Bell>,
    /// The bell as a waker.
    ringer: Waker,
}

impl Ring {
    /// Made on the shard's thread, which alone may use it.
    pub(super) fn new(uring: IoUring) -> io::Result<Rc<Ring>> {
        let bell = Bell::new()?;
        let ring = Ring {
            uring: RefCell::new(uring),
            entries: RefCell::default(),
            next_generation: Cell::new(0),
            backlog: RefCell::default(),
            has_submissions: Cell::new(false),
            batch: RefCell::default(),
            files: FilesUnderWay::default(),
            ringer: Waker::from(Arc::clone(&bell)),
            bell,
        };
        ring.hear_the_bell();
        Ok(Rc::new(ring))
    }

    /// Rings the shard out of its sleep.
    pub(super) fn bell(&self) -> &Waker {
        &self.ringer
    }

    fn hear_the_bell(&self) {
        let eventfd = Fd(self.bell.eventfd().as_raw_fd());
        let poll = opcode::PollAdd::new(eventfd, libc::POLLIN as u32).multi(true);
        self.push(poll.build().user_data(BELL));
    }

    /// Operations that the kernel has, or whose results nobody has taken.
    #[cfg(test)]
    pub(super) fn operations(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Whether one of the kernel's workers may need a processor for us.
    pub(super) fn needs_a_worker(&self, now_nanos: u64) -> bool {
        self.files.need_a_worker(now_nanos)
    }

    /// Begins an operation. What `entry` points at is held by `holds`, or by nobody but the kernel.
    pub(super) fn begin(self: &Rc<Self>, entry: squeue::Entry, holds: Holds) -> Operation {
        self.files.begins(&holds);
        let generation = self.next_generation.get();
        // The two highest numbers stand for no entry.
        self.next_generation.set((generation + 1) % (u32::MAX - 1));
        let index = self.entries.borrow_mut().insert(Entry {
            generation,
            state: State::Waits(None),
            holds,
        });
        let index = u32::try_from(index).expect("fewer operations than fit the memory");
        let number = u64::from(generation) << 32 | u64::from(index);
        self.push(entry.user_data(number));
        Operation {
            ring: Rc::clone(self),
            number,
            is_taken: false,
        }
    }

    fn push(&self, entry: squeue::Entry) {
        self.has_submissions.set(true);
        let mut backlog = self.backlog.borrow_mut();
        if !backlog.is_empty() || !self.submit_later(&entry) {
            backlog.push_back(entry);
        }
    }

    /// Puts it into the submission queue; false if that is full.
    fn submit_later(&self, entry: &squeue::Entry) -> bool {
        let mut uring = self.uring.borrow_mut();
        let mut queue = uring.submission();
        // SAFETY: all that the entry points at is held in the slab until the kernel is done.
        unsafe { queue.push(entry) }.is_ok()
    }

    fn submit_backlog(&self) {
        let mut backlog = self.backlog.borrow_mut();
        while let Some(entry) = backlog.front() {
            if !self.submit_later(entry) {
                break;
            }
            backlog.pop_front();
        }
    }

    /// Whether to enter the kernel although there is no time to wait: something is to be
    /// submitted, or it has work that it does only when it is entered.
    pub(super) fn needs_the_kernel(&self) -> bool {
        if self.has_submissions.get() {
            return true;
        }
        let mut uring = self.uring.borrow_mut();
        let queue = uring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    pub(super) fn has_completions(&self) -> bool {
        !self.uring.borrow_mut().completion().is_empty()
    }

    pub(super) fn enter_without_waiting(&self) {
        self.enter(|uring| uring.submit());
    }

    /// Waits for a completion, for `timeout` at most.
    pub(super) fn enter_and_wait(&self, timeout: Option<Duration>) {
        // All that was begun has to be with the kernel before anybody sleeps: what is waited for
        // may be among it.
        self.submit_backlog();
        while !self.backlog.borrow().is_empty() {
            let before = self.backlog.borrow().len();
            self.enter_without_waiting();
            self.submit_backlog();
            if self.backlog.borrow().len() == before {
                // It takes nothing before its completions are taken, and there are some then.
                return;
            }
        }
        self.enter(|uring| {
            let timespec = timeout.map(Timespec::from);
            let args = SubmitArgs::new();
            let args = match &timespec {
                Some(timespec) => args.timespec(timespec),
                None => args,
            };
            uring.submitter().submit_with_args(1, &args)
        });
    }

    fn enter(&self, call: impl FnOnce(&IoUring) -> io::Result<usize>) {
        self.submit_backlog();
        count(Counter::RingEnters);
        let entered = call(&self.uring.borrow());
        let is_left = {
            let mut uring = self.uring.borrow_mut();
            !uring.submission().is_empty() || !self.backlog.borrow().is_empty()
        };
        self.has_submissions.set(is_left);
        match entered.map_err(|error| error.raw_os_error()) {
            Ok(_) => {}
            // The time is over; a signal; completions are to be taken first; memory is short for a
            // moment. What was not submitted is so at the next look.
            Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => {}
            Err(errno) => {
                let error = errno.map(io::Error::from_raw_os_error);
                host::fatal(&format!("io_uring fails: {error:?}"));
            }
        }
    }

    /// Takes what the kernel has completed, and wakes whom it concerns.
    pub(super) fn reap(&self) {
        let mut batch = {
            let mut uring = self.uring.borrow_mut();
            let completions = uring.completion();
            if completions.is_empty() {
                return;
            }
            let mut batch = self.batch.take();
            batch
                .extend(completions.map(|entry: cqueue::Entry| {
                    (entry.user_data(), entry.result(), entry.flags())
                }));
            batch
        };
        for (number, result, flags) in batch.drain(..) {
            match number {
                NOBODY => {}
                BELL if cqueue::more(flags) => {}
                BELL => self.hear_the_bell(),
                number => self.complete(number, result),
            }
        }
        self.batch.replace(batch);
    }

    fn complete(&self, number: u64, result: i32) {
        let index = index_of(number);
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(index).filter(|entry| is(entry, number));
        let entry = entry.expect("an operation is completed once");
        self.files.ends(&entry.holds);
        match std::mem::replace(&mut entry.state, State::Done(result)) {
            State::Waits(waker) => {
                drop(entries);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            State::Abandoned => {
                let entry = entries.remove(index);
                drop(entries);
                entry.holds.forget(result);
            }
            State::Done(_) => unreachable!("an operation is completed once"),
        }
    }

    /// Asks the kernel to give the operation up. It completes all the same, one way or the other.
    fn cancel(&self, number: u64) {
        let cancel = opcode::AsyncCancel::new(number).build();
        self.push(cancel.user_data(NOBODY));
    }

    /// Waits until the kernel has nothing of ours but the bell, for [`DRAIN_MAX`] at most. Whether
    /// it has nothing.
    pub(super) fn drain(&self) -> bool {
        let began = Instant::now();
        loop {
            self.reap();
            if self.entries.borrow().is_empty() {
                return true;
            }
            let left = DRAIN_MAX.saturating_sub(began.elapsed());
            if left.is_zero() {
                return false;
            }
            self.enter_and_wait(Some(left));
        }
    }
}

fn index_of(number: u64) -> usize {
    (number & u64::from(u32::MAX)) as usize
}

fn is(entry: &Entry, number: u64) -> bool {
    u64::from(entry.generation) == number >> 32
}

/// An operation that was begun. Dropped before its end, it leaves what it holds to the ring until
/// the kernel is done; a wait for a socket is given up then.
pub(super) struct Operation {
    ring: Rc<Ring>,
    number: u64,
    is_taken: bool,
}

impl Operation {
    /// The kernel's answer, and what the operation held.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(i32, Holds)> {
        assert!(!self.is_taken, "polled after its end");
        let index = index_of(self.number);
        let mut entries = self.ring.entries.borrow_mut();
        let entry = &mut entries[index];
        match &mut entry.state {
            State::Done(result) => {
                let result = *result;
                let entry = entries.remove(index);
                self.is_taken = true;
                Poll::Ready((result, entry.holds))
            }
            State::Waits(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            State::Waits(waker) => {
                let old = waker.replace(cx.waker().clone());
                drop(entries);
                drop(old);
                Poll::Pending
            }
            State::Abandoned => unreachable!("its owner is here"),
        }
    }

    /// As [`Operation::poll`].
    pub(super) async fn end(mut self) -> (i32, Holds) {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let index = index_of(self.number);
        let mut entries = self.ring.entries.borrow_mut();
        let entry = &mut entries[index];
        match std::mem::replace(&mut entry.state, State::Abandoned) {
            State::Done(result) => {
                let entry = entries.remove(index);
                drop(entries);
                entry.holds.forget(result);
            }
            State::Waits(waker) => {
                let is_to_end = entry.holds.may_be_cancelled();
                drop(entries);
                drop(waker);
                if is_to_end {
                    self.ring.cancel(self.number);
                }
            }
            State::Abandoned => unreachable!("its owner was here"),
        }
    }
}

/// The kernel's answer as a result: a count, or what went wrong.
pub(super) fn answer(result: i32) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(result.wrapping_neg()))
}

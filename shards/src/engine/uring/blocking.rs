//! The thread for calls that would hold up the loop: names, lengths, and closing files (the last
//! close of a file without a name frees its blocks).
//!
//! Invariants: the calls of one shard run in order. A call runs also when nobody waits for it any
//! more. The thread is started by the first call, and runs on any processor of the process.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use rustix::thread::CpuSet;

use crate::context;

/// How long the end of a shard waits for calls that were given up.
const END_MAX: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce() + Send>;

/// See the module.
pub(crate) struct Blocking {
    /// What the process may run on; the shard itself is pinned.
    cpus: CpuSet,
    state: RefCell<State>,
}

enum State {
    Idle,
    /// Bounded by what calls: a task has one call under way, and a file is closed once.
    Started(Sender<Job>),
    Ended,
}

/// Where a call's result is put.
struct Answer<R> {
    result: Option<R>,
    waker: Option<Waker>,
}

impl Blocking {
    pub(super) fn new(cpus: CpuSet) -> Blocking {
        Blocking {
            cpus,
            state: RefCell::new(State::Idle),
        }
    }

    /// Runs `call`, which does not panic, on the thread.
    pub(crate) async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce() -> R + Send + 'static,
    ) -> io::Result<R> {
        let answer = Arc::new(Mutex::new(Answer {
            result: None,
            waker: None,
        }));
        let told = Arc::clone(&answer);
        self.send(Box::new(move || {
            let result = call();
            let waker = {
                let mut answer = told.lock().unwrap_or_else(PoisonError::into_inner);
                answer.result = Some(result);
                answer.waker.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }))?;
        Ok(poll_fn(move |cx| {
            let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
            match answer.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    answer.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await)
    }

    /// Drops `what` on the thread; here when there is none.
    pub(super) fn drop_there(&self, what: impl Send + 'static) {
        // A job that cannot be sent is dropped, and with it what it holds.
        drop(self.send(Box::new(move || drop(what))));
    }

    fn send(&self, job: Job) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if let State::Idle = *state {
            *state = State::Started(self.start()?);
        }
        let ended = || io::Error::other("the shard has ended");
        match &*state {
            State::Started(jobs) => jobs.send(job).map_err(|_| ended()),
            State::Idle | State::Ended => Err(ended()),
        }
    }

    fn start(&self) -> io::Result<Sender<Job>> {
        let (sender, jobs) = channel::<Job>();
        let cpus = self.cpus;
        let id = context::try_current().map_or(0, |context| context.id.0);
        thread::Builder::new()
            .name(format!("shard-{id}-calls"))
            .spawn(move || {
                // It began with the shard's own processor; staying there is no mistake.
                let _moved = rustix::thread::sched_setaffinity(None, &cpus);
                jobs.into_iter().for_each(|job| job());
            })?;
        Ok(sender)
    }

    /// Waits, not for long, until what has been called is done, and takes no more.
    pub(super) fn end(&self) {
        let State::Started(jobs) = self.state.replace(State::Ended) else {
            return;
        };
        let (done, is_done) = channel();
        let last: Job = Box::new(move || done.send(()).unwrap_or_default());
        if jobs.send(last).is_ok() && is_done.recv_timeout(END_MAX).is_err() {
            tracing::debug!("a call on the disk goes on after its shard's end");
        }
    }
}

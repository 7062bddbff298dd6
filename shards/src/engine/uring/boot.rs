//! A shard's thread as an executor of ours.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::Arc;

use io_uring::{IoUring, Probe, opcode};
use rustix::thread::CpuSet;

use super::blocking::Blocking;
use super::pass::Spinning;
use super::queue::Queue;
use super::ring::Ring;
use super::timers::Timers;
use super::{Inner, Shard};
use crate::boot::{BootError, Poll, RunConfig};
use crate::buf::home::Home;
use crate::context::{self, ShardContext, ShardId};
use crate::cpus::usable_cpus;
use crate::engine::stall::StallWatch;
use crate::engine::threads::{ShardThread, ThreadEngine};
use crate::engine::{EngineHandle, host, probe};
use crate::task::CatchPanic;

/// Operations that are handed to the kernel at once; more wait for the next look.
const SUBMISSIONS: u32 = 256;

/// Completions that it may have ready at once; it keeps further ones itself.
const COMPLETIONS: u32 = 2048;

/// See [`ThreadEngine`].
pub(crate) enum Uring {}

/// What all shards know of the machine.
pub(crate) struct Prepared {
    /// What the process may run on.
    usable: Vec<usize>,
}

impl ThreadEngine for Uring {
    type Prepared = Prepared;

    fn prepare(_: &RunConfig) -> Result<Prepared, BootError> {
        probe_ring()?;
        Ok(Prepared {
            usable: usable_cpus().map_err(BootError::Cpus)?,
        })
    }

    fn live<F, Fut>(thread: &ShardThread, prepared: Arc<Prepared>, main: F) -> Result<(), String>
    where
        F: Fn(ShardId) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let shard = Shard::here(thread, &prepared).map_err(|error| {
            if error.raw_os_error() == Some(libc::ENOMEM) {
                BootError::LockedMemoryUsedUp.to_string()
            } else {
                error.to_string()
            }
        })?;
        let engine = EngineHandle::Uring(shard.clone());
        let figures = thread.figures.clone();
        let context = ShardContext::new(thread.id, thread.shard_count, engine, figures);
        // A panic that comes out of the loop leaves all as it is: the kernel may still write to
        // what is ours.
        let kept = ManuallyDrop::new(shard.clone());
        let _entered = context::enter(context);
        if !thread.stands() {
            drop(ManuallyDrop::into_inner(kept));
            return Ok(());
        }
        let result = shard.run(thread.id, main);
        if shard.end() {
            drop(ManuallyDrop::into_inner(kept));
        }
        result
    }
}

impl Shard {
    /// For the thread that this is called on, which is pinned.
    fn here(thread: &ShardThread, prepared: &Prepared) -> io::Result<Shard> {
        host::begin();
        let own = set_of([thread.cpu]);
        rustix::thread::sched_setaffinity(None, &own)?;
        let uring = make_ring().map_err(|refused| refused.error)?;
        let spins = thread.poll != Poll::Park;
        let shares_with_workers = spins && bind_workers(&uring, thread.cpu);
        Ok(Shard {
            inner: Rc::new(Inner {
                queue: Queue::here(),
                alive: RefCell::default(),
                ring: Ring::new(uring)?,
                timers: Timers::default(),
                after_look: RefCell::default(),
                blocking: Rc::new(Blocking::new(set_of(prepared.usable.iter().copied()))),
                home: Home::here(),
                watch: StallWatch::new(thread.figures.work.adding()),
                poll: thread.poll,
                spinning: Spinning::default(),
                shares_with_workers,
            }),
        })
    }

    /// Runs `main` to its end.
    fn run<F, Fut>(&self, id: ShardId, main: F) -> Result<(), String>
    where
        F: Fn(ShardId) -> Fut + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let home = Arc::clone(self.home());
        self.spawn("home", async move {
            loop {
                std::future::poll_fn(|cx| home.poll_due(cx)).await;
                home.free();
            }
        })
        .detach();
        let ended = Rc::new(Cell::new(None));
        let tells = Rc::clone(&ended);
        let main = CatchPanic::new("main", async move { main(id).await });
        self.spawn("main", async move { tells.set(Some(main.await)) })
            .detach();
        let is_over = || {
            let result = ended.take();
            let is_some = result.is_some();
            ended.set(result);
            is_some
        };
        self.run_until(is_over);
        let result = ended.take().expect("it runs until there is one");
        result.map_err(|panicked| panicked.message)
    }
}

fn set_of(cpus: impl IntoIterator<Item = usize>) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.into_iter().for_each(|cpu| set.set(cpu));
    set
}

/// Keeps the kernel's workers for this shard on its own processor, where it makes room for them: on
/// another one they wait for whoever spins there, for some milliseconds at worst. False if the kernel
/// does not do that.
fn bind_workers(uring: &IoUring, cpu: usize) -> bool {
    // SAFETY: a set of processors is an array of bits; all zero is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the function looks at the bounds of the set itself.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    let bound = uring.submitter().register_iowq_aff(&set);
    if let Err(error) = &bound {
        tracing::debug!(%error, "the ring's workers stay where the kernel puts them");
    }
    bound.is_ok()
}

/// Why there is no ring: what was asked for and is missing, if that is it.
struct Refused {
    missing: Option<&'static str>,
    error: io::Error,
}

/// A ring for this thread alone. Completions are worked on when the thread enters the kernel; on
/// kernels before 6.1, whenever it does for any reason.
fn make_ring() -> Result<IoUring, Refused> {
    let einval = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS);
    builder.setup_submit_all();
    builder.setup_taskrun_flag();
    let mut deferred = builder.clone();
    deferred.setup_single_issuer().setup_defer_taskrun();
    match deferred.build(SUBMISSIONS) {
        Err(error) if einval(&error) => {}
        made => {
            return made.map_err(|error| Refused {
                missing: None,
                error,
            });
        }
    }
    builder.setup_coop_taskrun();
    builder.build(SUBMISSIONS).map_err(|error| Refused {
        missing: einval(&error).then_some("IORING_SETUP_COOP_TASKRUN"),
        error,
    })
}

/// Whether this kernel's rings do all that is asked of them here.
pub(crate) fn probe_ring() -> Result<(), BootError> {
    let lacks = |missing| BootError::UringLacks {
        missing,
        release: probe::release(),
    };
    let uring = match make_ring() {
        Ok(uring) => uring,
        Err(Refused {
            missing: Some(missing),
            ..
        }) => return Err(lacks(missing)),
        Err(refused) => {
            return Err(match refused.error.raw_os_error() {
                Some(libc::ENOMEM) => BootError::LockedMemoryUsedUp,
                _ => BootError::IoUringFails(refused.error),
            });
        }
    };
    if !uring.params().is_feature_ext_arg() {
        return Err(lacks("IORING_FEAT_EXT_ARG"));
    }
    if !uring.params().is_feature_nodrop() {
        return Err(lacks("IORING_FEAT_NODROP"));
    }
    let mut probe = Probe::new();
    let probed = uring.submitter().register_probe(&mut probe);
    probed.map_err(BootError::IoUringFails)?;
    let needed = [
        (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
        (opcode::AsyncCancel::CODE, "IORING_OP_ASYNC_CANCEL"),
        (opcode::OpenAt::CODE, "IORING_OP_OPENAT"),
        (opcode::Read::CODE, "IORING_OP_READ"),
        (opcode::Write::CODE, "IORING_OP_WRITE"),
        (opcode::Fsync::CODE, "IORING_OP_FSYNC"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, missing)) => Err(lacks(missing)),
        None => Ok(()),
    }
}

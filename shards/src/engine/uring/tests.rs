//! What the facade cannot show: cancellation, and what the ring holds.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;
use io_uring::opcode;
use io_uring::types::Fd;

use super::Shard;
use super::pass::Spinning;
use super::ring::Holds;
use crate::engine::EngineHandle;
use crate::{DmaBuf, Engine, File, IoClass, OpenOptions, RunConfig};
use crate::{context, run, sleep, spawn, usable_cpus, yield_now};

const CREATE: OpenOptions = OpenOptions {
    create_new: true,
    write: true,
};

/// Runs `test` on a shard.
fn on_a_shard<F: Future<Output = ()> + 'static>(test: fn() -> F) {
    let cpus = usable_cpus().unwrap();
    let mut config = RunConfig::new(cpus[..1].to_vec());
    config.engine = Engine::Uring;
    run(config, move |_| test()).unwrap().join().unwrap();
}

fn this_shard() -> Shard {
    context::with(|context| match &context.engine {
        EngineHandle::Uring(shard) => shard.clone(),
        _ => unreachable!("this is a test of that engine"),
    })
}

fn operations() -> usize {
    this_shard().inner.ring.operations()
}

/// Waits until the kernel has nothing of ours.
async fn settled() {
    while operations() > 0 {
        sleep(Duration::from_micros(100)).await;
    }
}

/// A directory on the disk that the build is on.
fn scratch() -> tempfile::TempDir {
    let test = std::env::current_exe().unwrap();
    tempfile::tempdir_in(test.parent().unwrap()).unwrap()
}

/// A socket that never has anything to read.
fn silent() -> Rc<OwnedFd> {
    let (fd, _addr) = crate::engine::sockets::listen(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        rustix::net::SocketFlags::NONBLOCK,
    )
    .unwrap();
    Rc::new(fd)
}

fn wait_for(fd: &Rc<OwnedFd>, events: i16) -> super::ring::Operation {
    let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), u32::from(events.unsigned_abs())).build();
    let ring = &this_shard().inner.ring;
    ring.begin(poll, Holds::Socket(Rc::clone(fd)))
}

#[test]
fn a_wait_that_is_given_up_is_cancelled_and_lets_its_socket_go() {
    on_a_shard(|| async {
        let socket = silent();
        for round in 0..50 {
            let mut wait = Box::pin(wait_for(&socket, libc::POLLIN).end());
            assert!(poll!(&mut wait).is_pending());
            if round % 2 == 0 {
                // In the kernel, or not yet submitted.
                yield_now().await;
            }
            drop(wait);
            settled().await;
            assert_eq!(Rc::strong_count(&socket), 1);
        }
    });
}

#[test]
fn a_cancellation_that_comes_late_meets_nobody() {
    on_a_shard(|| async {
        let flags = rustix::event::EventfdFlags::NONBLOCK;
        let ready = Rc::new(rustix::event::eventfd(0, flags).unwrap());
        let silent = silent();
        for _ in 0..200 {
            let ring = Rc::clone(&this_shard().inner.ring);
            // Completed in the kernel, then given up, and only then read here.
            let completes = wait_for(&ready, libc::POLLOUT);
            ring.enter_without_waiting();
            drop(completes);
            ring.reap();
            assert_eq!(ring.operations(), 0);
            // Takes its place, before the cancellation is submitted.
            let mut next = Box::pin(wait_for(&silent, libc::POLLIN).end());
            for _ in 0..3 {
                yield_now().await;
            }
            assert!(poll!(&mut next).is_pending(), "cancelled for another");
            drop(next);
            settled().await;
        }
    });
}

#[test]
fn more_operations_than_fit_the_queues_all_complete() {
    on_a_shard(|| async {
        let socket = silent();
        let waits = (0..5000).map(|_| wait_for(&socket, libc::POLLIN).end());
        let waits = spawn("waits", join_all(waits.collect::<Vec<_>>()));
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(operations(), 5000);
        rustix::net::shutdown(&socket, rustix::net::Shutdown::Both).unwrap();
        assert_eq!(waits.await.unwrap().len(), 5000);
        assert_eq!(operations(), 0);
    });
}

#[test]
fn what_is_read_into_is_kept_until_the_kernel_is_done() {
    on_a_shard(|| async {
        let dir = scratch();
        let file = File::open(&dir.path().join("log"), CREATE).await.unwrap();
        let buf = DmaBuf::zeroed(1 << 20).freeze();
        file.write(IoClass::Commit, 0, &buf).await.unwrap();
        for _ in 0..20 {
            let mut read = Box::pin(file.read(IoClass::ColdRead, 0, 1 << 20));
            assert!(poll!(&mut read).is_pending());
            drop(read);
            assert_eq!(operations(), 1, "the kernel has it");
            settled().await;
        }
        let mut write = Box::pin(file.write(IoClass::Commit, 0, &buf));
        assert!(poll!(&mut write).is_pending());
        drop(write);
        assert_eq!(buf.strong_refs(), 2, "the ring has one");
        settled().await;
        assert_eq!(buf.strong_refs(), 1);
    });
}

#[test]
fn an_open_that_is_given_up_leaves_no_descriptor() {
    on_a_shard(|| async {
        let dir = scratch();
        let path = dir.path().join("log");
        for round in 0..20 {
            let path = path.with_extension(round.to_string());
            let mut open = Box::pin(File::open(&path, CREATE));
            assert!(poll!(&mut open).is_pending());
            drop(open);
        }
        settled().await;
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let names = open.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        assert_eq!(names.filter(|name| name.starts_with(dir.path())).count(), 0);
    });
}

#[test]
fn looking_on_stops_when_it_is_in_vain_and_begins_again_when_it_is_not() {
    let spin = Duration::from_micros(50);
    let spinning = Spinning::default();
    assert_eq!(spinning.budget(spin), 50_000);
    for _ in 0..100 {
        spinning.came_after(10_000_000, spin);
    }
    assert_eq!(spinning.budget(spin), 0);
    let needed = (1..).find(|_| {
        spinning.came_after(10_000, spin);
        spinning.budget(spin) > 0
    });
    assert!(needed.unwrap() < 20, "a few short gaps make up for it");
}

#[test]
fn what_did_not_fit_the_queue_is_submitted_before_the_shard_sleeps() {
    // No timer is set here, so nothing but the last of them can wake the shard.
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        on_a_shard(|| async {
            let nobody = silent();
            let others: Vec<_> = (0..1_000)
                .map(|_| wait_for(&nobody, libc::POLLIN))
                .collect();
            let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
            drop(far);
            let (result, _) = wait_for(&Rc::new(OwnedFd::from(near)), libc::POLLIN)
                .end()
                .await;
            assert!(result > 0);
            drop(others);
        });
        done.send(()).unwrap();
    });
    let waited = is_done.recv_timeout(Duration::from_secs(20));
    waited.expect("it slept upon what was never submitted");
}

#[test]
fn a_flood_of_connections_leaves_turns_to_others() {
    on_a_shard(|| async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = crate::Listener::bind(any).unwrap();
        let addr = listener.local_addr().unwrap();
        let flood: Vec<_> = (0..64)
            .map(|_| std::net::TcpStream::connect(addr).unwrap())
            .collect();
        let turns = Rc::new(Cell::new(0));
        let counts = Rc::clone(&turns);
        let other = spawn("other", async move {
            loop {
                counts.set(counts.get() + 1);
                yield_now().await;
            }
        });
        for _ in &flood {
            listener.accept().await.unwrap();
        }
        assert!(turns.get() >= 3, "{} turns", turns.get());
        drop(other);
    });
}

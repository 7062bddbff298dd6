//! What is looked at when the client that behaves waits too long for an answer: whether its request
//! lies unread, whether the answer lies unsent, what the broker has counted and whether its shards
//! work. Told at once, for when the run has failed it is too late to look.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::broker::Tells;
use crate::scheduler::Share;

/// No answer for so long is told.
const STALL: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Stalls that are told, so that a broken run does not fill the screen.
const TOLD_MAX: usize = 4;

/// A connection of the client that behaves, and since when it waits for an answer.
pub(crate) struct Waits {
    name: String,
    local: SocketAddr,
    since: Mutex<Option<Instant>>,
}

impl Waits {
    pub(crate) fn new(name: String, local: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            name,
            local,
            since: Mutex::default(),
        })
    }

    /// Runs a call; meanwhile its connection waits.
    pub(crate) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let done = call();
        self.set(None);
        done
    }

    fn set(&self, since: Option<Instant>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at all connections until it is dropped.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn start(tells: Tells, all: Vec<Arc<Waits>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            // Each stall once: by when it began.
            let mut told: Vec<(usize, Instant)> = Vec::new();
            while !stopped.load(Ordering::Relaxed) && told.len() < TOLD_MAX {
                for (index, waits) in all.iter().enumerate() {
                    let Some(since) = waits.since() else { continue };
                    if since.elapsed() >= STALL && !told.contains(&(index, since)) {
                        told.push((index, since));
                        tell(&tells, waits, since);
                    }
                }
                thread::park_timeout(LOOK);
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn tell(tells: &Tells, waits: &Waits, since: Instant) {
    let shards = || Share::of(tells.process(), "shard-");
    let before = shards();
    thread::sleep(Duration::from_secs(1));
    let ran = shards().since(before);
    println!(
        "\nNO ANSWER for {:.0} s: {} at {}",
        since.elapsed().as_secs_f64(),
        waits.name,
        waits.local
    );
    println!("the broker's shards in a second of it: {ran}");
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    for socket in queues(&sockets, waits.local.port()) {
        println!("{socket}");
    }
    let counters = tells.counters().unwrap_or_else(|failure| failure);
    println!("counted by the broker: {counters}");
    println!("it is still waited for: {}", waits.since() == Some(since));
}

/// Both ends of the connection of a client's port, as `/proc/net/tcp` lists them.
fn queues(listed: &str, port: u16) -> Vec<String> {
    let port_of = |address: &str| {
        let (_, port) = address.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    };
    let bytes = |hex: &str| u64::from_str_radix(hex, 16).ok();
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (port_of(words.next()?)?, port_of(words.next()?)?);
        let (state, queued) = (words.next()?, words.next()?);
        let (unsent, unread) = queued.split_once(':')?;
        let end = match (local == port, remote == port) {
            (true, _) => "the client's end",
            (false, true) => "the broker's end",
            (false, false) => return None,
        };
        let (unsent, unread) = (bytes(unsent)?, bytes(unread)?);
        let state = if state == "01" { "established" } else { state };
        Some(format!(
            "{end}: {state}, {unsent} bytes not taken by the other, {unread} bytes not read"
        ))
    };
    listed.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_connection_and_no_other() {
        let listed = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:2384 0100007F:A001 01 00000000:000000B4 00:00000000 00000000     0        0 2 1
   2: 0100007F:A001 0100007F:2384 01 00000010:00000000 00:00000000 00000000     0        0 3 1
   3: 0100007F:2384 0100007F:A002 01 00000000:00000000 00:00000000 00000000     0        0 4 1
";
        assert_eq!(
            queues(listed, 0xa001),
            [
                "the broker's end: established, 0 bytes not taken by the other, 180 bytes not read",
                "the client's end: established, 16 bytes not taken by the other, 0 bytes not read",
            ]
        );
    }
}

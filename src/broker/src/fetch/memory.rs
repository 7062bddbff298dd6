//! The memory that fetched records, and other large replies, may hold between the log and the
//! socket.
//!
//! Owns one shard's budget for it, and who waits for some. It must not know connections: whoever
//! sends a reply keeps its [`HeldReply`] until the last byte has left, and shrinks it when it has
//! copied what is left to memory of exactly that size.
//!
//! A fetch reserves right before it reads, and holds nothing while it parks or waits. What it then
//! keeps is counted by allocation: a slice keeps the whole commit or chunk that it lies in.
//!
//! Readers that keep up and readers that lag (what was sent to them before has not been taken)
//! have a half each, first come, first served: who does not read cannot take the memory of who
//! does. At the bound a fetch waits, which is counted; whoever waits gives up by being dropped.
//! Who keeps up waits only if there is something to read for it, and no batch as small as
//! [`FETCH_BYTES_FREE`]: so a crowd in the line does not hold up those who read little.
//! Invariant: nobody waits while holding a part, so those who hold can always finish or be closed.

use bytes::Bytes;
use std::cell::Cell;
use std::rc::Rc;
use tailwater_shards::sync::{Notify, Permit, Semaphore};
use tailwater_shards::{Counter, count};

/// What a reply may keep alive beyond its bytes: the rest of one commit. Slices that would keep
/// more are copied as they are read.
pub(crate) const SLACK_BYTES: usize = 512 << 10;

/// Reserved for any fetch, so that a batch of the default `message.max.bytes` fits at once.
pub(crate) const FETCH_BYTES_MIN: usize = 1 << 20;

/// Records that a fetch of a reader who keeps up may have without any: they are copied, and the
/// connection's own, as other small replies are.
pub const FETCH_BYTES_FREE: usize = 4 << 10;

/// What one fetch may reserve of its half, as a divisor, so that a large one leaves room for
/// others. A single larger batch may take all of it.
const FETCH_DIVISOR: u64 = 4;

/// One shard's budget. Clones are the same one.
#[derive(Clone, Debug)]
pub struct ReplyMemory {
    prompt: Semaphore,
    lagging: Semaphore,
    half: u64,
    waited_for: Rc<Notify>,
    wanted: Rc<Cell<u64>>,
    queued: Rc<Queue>,
}

/// Those who wait for their turn to ask, and what they are expected to want.
#[derive(Debug, Default)]
struct Queue {
    count: Cell<usize>,
    bytes: Cell<u64>,
}

/// Somebody who waits for a turn to ask for memory, until this is dropped.
#[derive(Debug)]
#[must_use = "it waits no more when this is dropped"]
pub struct Queued {
    queue: Rc<Queue>,
    bytes: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.queue.count.set(self.queue.count.get() - 1);
        self.queue.bytes.set(self.queue.bytes.get() - self.bytes);
    }
}

/// What one fetch waits for.
struct Wanted {
    total: Rc<Cell<u64>>,
    bytes: u64,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

impl ReplyMemory {
    /// A budget of that many bytes; never less than what two fetches of one batch each take.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let half = (bytes_max / 2).max((FETCH_BYTES_MIN + SLACK_BYTES) as u64);
        Self {
            prompt: Semaphore::new(half),
            lagging: Semaphore::new(half),
            half,
            waited_for: Rc::default(),
            wanted: Rc::default(),
            queued: Rc::default(),
        }
    }

    /// How many wait. Those who wait for a turn count as soon as anybody waits for memory.
    #[must_use]
    pub fn waiters(&self) -> usize {
        match self.prompt.waiters() + self.lagging.waiters() {
            0 => 0,
            waiting => waiting + self.queued.count.get(),
        }
    }

    /// What all of those wait for together, in bytes.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        self.wanted.get() + self.queued.bytes.get()
    }

    /// Joins those who wait for a turn to ask for about that much.
    pub fn queue(&self, bytes: u64) -> Queued {
        let queue = Rc::clone(&self.queued);
        queue.count.set(queue.count.get() + 1);
        queue.bytes.set(queue.bytes.get() + bytes);
        Queued { queue, bytes }
    }

    /// The most that one reply may hold.
    #[must_use]
    pub fn reply_bytes_max(&self) -> u64 {
        self.half
    }

    /// Bytes held and reserved.
    #[must_use]
    pub fn held(&self) -> u64 {
        2 * self.half - self.prompt.available() - self.lagging.available()
    }

    /// Resolves once somebody waits.
    pub async fn is_waited_for(&self) {
        loop {
            let rung = self.waited_for.notified();
            if self.waiters() > 0 {
                return;
            }
            rung.await;
        }
    }

    /// Bytes to reserve for a fetch that asks for `bytes_max` of records.
    pub(crate) fn reservation(&self, bytes_max: usize) -> u64 {
        let share = (self.half / FETCH_DIVISOR).max(FETCH_BYTES_MIN as u64);
        let wanted = (bytes_max as u64).clamp(FETCH_BYTES_MIN as u64, share);
        (wanted + SLACK_BYTES as u64).min(self.half)
    }

    /// That many bytes, or all there are if it is more, unless they have to be waited for.
    pub(crate) fn try_reserve(&self, bytes: u64, lags: bool) -> Option<HeldReply> {
        let half = if lags { &self.lagging } else { &self.prompt };
        let permit = half.try_acquire(bytes.min(self.half))?;
        Some(HeldReply { permit })
    }

    /// Waits for that many bytes, or all there are if it is more.
    pub async fn reserve(&self, bytes: u64, lags: bool) -> HeldReply {
        if let Some(held) = self.try_reserve(bytes, lags) {
            return held;
        }
        let half = if lags { &self.lagging } else { &self.prompt };
        let bytes = bytes.min(self.half);
        count(Counter::WaitsForReplyMemory);
        self.wanted.set(self.wanted.get() + bytes);
        let _wanted = Wanted {
            total: Rc::clone(&self.wanted),
            bytes,
        };
        let mut waiting = std::pin::pin!(half.acquire(bytes));
        let polled = futures_util::poll!(&mut waiting);
        if let std::task::Poll::Ready(permit) = polled {
            return HeldReply { permit };
        }
        // It stands in the line now: whoever watches finds it there.
        self.waited_for.notify_all();
        HeldReply {
            permit: waiting.await,
        }
    }

    /// Whether that is all a fetch could ever have.
    pub(crate) fn is_all(&self, held: &HeldReply) -> bool {
        held.bytes() >= self.half
    }
}

/// Reply memory held until this is dropped.
#[derive(Debug)]
#[must_use = "the memory is free for others when this is dropped"]
pub struct HeldReply {
    permit: Permit,
}

impl HeldReply {
    /// How much.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.permit.count()
    }

    /// Gives back all but `bytes` of it.
    pub fn shrink_to(&mut self, bytes: u64) {
        self.permit.shrink_to(bytes);
    }
}

/// What the slices of one reading keep alive, on the shard that owns their memory. Those that
/// would keep too much are copied.
pub(crate) struct Kept {
    allocations: Vec<(usize, usize)>,
    slack_left: usize,
}

impl Kept {
    pub(crate) fn new(slack_max: usize) -> Self {
        Self {
            allocations: Vec::new(),
            slack_left: slack_max,
        }
    }

    /// The slices as they may be kept; their allocations cost `slack` beyond their own bytes.
    pub(crate) fn keep(
        &mut self,
        slices: Vec<Bytes>,
        allocation_of: impl Fn(&[u8]) -> Option<(usize, usize)>,
    ) -> Vec<Bytes> {
        let keep = |slice: Bytes| {
            let Some(allocation) = allocation_of(&slice) else {
                return slice;
            };
            if self.allocations.contains(&allocation) {
                // Its slack was taken whole with the first slice.
                return slice;
            }
            let slack = allocation.1 - slice.len();
            if slack > self.slack_left {
                return Bytes::copy_from_slice(&slice);
            }
            self.slack_left -= slack;
            self.allocations.push(allocation);
            slice
        };
        slices.into_iter().map(keep).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::time::Duration;
    use tailwater_shards::sim::Simulation;
    use tailwater_shards::{sleep, spawn};

    const MIB: u64 = 1 << 20;

    #[test]
    fn fetches_wait_their_turn_and_nobody_waits_behind_readers_that_lag() {
        Simulation::new(1).run(async {
            let memory = ReplyMemory::new(8 * MIB);
            let stuck = memory.reserve(4 * MIB, true).await;
            let order: Rc<RefCell<Vec<&str>>> = Rc::default();
            let waits = |name, bytes, lags| {
                let (memory, order) = (memory.clone(), Rc::clone(&order));
                spawn("fetch", async move {
                    let held = memory.reserve(bytes, lags).await;
                    order.borrow_mut().push(name);
                    sleep(Duration::from_millis(1)).await;
                    drop(held);
                })
                .detach();
            };
            for (name, bytes, lags) in [
                ("lags, large", 3 * MIB, true),
                ("lags, small", 1, true),
                ("prompt", 3 * MIB, false),
                ("prompt, behind", 3 * MIB, false),
            ] {
                waits(name, bytes, lags);
                sleep(Duration::from_micros(1)).await;
            }
            memory.is_waited_for().await;
            sleep(Duration::from_millis(100)).await;
            assert_eq!(*order.borrow(), ["prompt", "prompt, behind"]);
            assert_eq!(memory.waiters(), 2);
            drop(stuck);
            sleep(Duration::from_millis(100)).await;
            let served = order.borrow().clone();
            assert_eq!(served[2..], ["lags, large", "lags, small"]);
            assert_eq!((memory.held(), memory.waiters()), (0, 0));
        });
    }

    #[test]
    fn a_reservation_leaves_room_for_others_and_never_exceeds_what_there_is() {
        let memory = ReplyMemory::new(64 * MIB);
        let slack = SLACK_BYTES as u64;
        assert_eq!(memory.reservation(100), MIB + slack, "a batch fits");
        assert_eq!(memory.reservation(3 << 20), 3 * MIB + slack);
        assert_eq!(memory.reservation(usize::MAX), 8 * MIB + slack);
        let least = ReplyMemory::new(0);
        assert_eq!(least.reservation(usize::MAX), MIB + slack);
    }

    #[test]
    fn small_slices_of_many_buffers_are_copied_and_of_one_are_not() {
        let buffers: Vec<Bytes> = (0..4).map(|_| Bytes::from(vec![7; 400 << 10])).collect();
        let allocation_of = |slice: &[u8]| {
            let at = slice.as_ptr().addr();
            let of = |buffer: &&Bytes| {
                let begin = buffer.as_ptr().addr();
                (begin..begin + buffer.len()).contains(&at)
            };
            let buffer = buffers.iter().find(of)?;
            Some((buffer.as_ptr().addr(), buffer.len()))
        };
        let mut kept = Kept::new(SLACK_BYTES);
        let of_one: Vec<_> = (0..10)
            .map(|n| buffers[0].slice(n * 100..n * 100 + 50))
            .collect();
        let slices = kept.keep(of_one, allocation_of);
        assert!(slices.iter().all(|slice| allocation_of(slice).is_some()));
        let small = buffers[1..]
            .iter()
            .map(|buffer| buffer.slice(10..20))
            .collect();
        let slices = kept.keep(small, allocation_of);
        assert!(slices.iter().all(|slice| allocation_of(slice).is_none()));
        assert_eq!(slices, [&[7u8; 10][..]; 3]);
        let whole = kept.keep(vec![buffers[3].clone()], allocation_of);
        assert!(
            allocation_of(&whole[0]).is_some(),
            "a whole one keeps no more than itself"
        );
    }
}

//! The memory that requests may hold, from the moment a frame is admitted to its answer.
//!
//! Owns one shard's budget for it, in two pools: one for small frames, one for large. It must not
//! know sockets or frames: whoever keeps a request's bytes keeps its [`Charge`].
//!
//! A frame is charged whole, and at once: one that does not fit waits in line, unread, and holds
//! nothing of its pool meanwhile, so frames never wait for each other. Of large frames the smallest
//! go first, so that a crowd that announces giants holds up other giants; those have their turns too. A small frame is charged
//! when all of it has come; of a larger one at most [`SMALL_FRAME_BYTES_MAX`] have come by then.
//! So who announces much and sends little costs that much and no more, and who sends half of a
//! large frame and stops stands in nobody's way but that of other large frames, and there only
//! as long as nobody waits: see `slow_senders`.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

use tailwater_shards::sync::{Notify, Permit, Semaphore};
use tailwater_shards::{Counter, count};

use crate::connection::Holding;
use crate::limits::{SMALL_FRAME_BYTES_MAX, SMALL_FRAMES_DIVISOR};

/// Which of the two pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pool {
    /// Of frames of at most [`SMALL_FRAME_BYTES_MAX`].
    Small,
    /// Of the others, and of small ones as far as there is room.
    Large,
}

impl Pool {
    /// Both.
    pub(crate) const ALL: [Pool; 2] = [Pool::Small, Pool::Large];

    /// The one that a frame of so many bytes waits for.
    fn of(bytes: usize) -> Pool {
        if bytes <= SMALL_FRAME_BYTES_MAX {
            Pool::Small
        } else {
            Pool::Large
        }
    }
}

/// One shard's request memory. Clones are the same.
#[derive(Clone)]
pub(crate) struct RequestMemory {
    shared: Rc<Shared>,
}

struct Shared {
    pools: [Semaphore; 2],
    /// Bytes that are waited for.
    wanted: [Cell<u64>; 2],
    waited_for: Notify,
}

/// The part of so much request memory that large frames have: no frame can be larger.
pub(crate) fn large_frames_bytes(bytes: u64) -> u64 {
    bytes - bytes / SMALL_FRAMES_DIVISOR
}

impl RequestMemory {
    pub(crate) fn new(bytes: u64) -> Self {
        let large = large_frames_bytes(bytes);
        Self {
            shared: Rc::new(Shared {
                pools: [
                    Semaphore::new(bytes - large),
                    Semaphore::smallest_first(large),
                ],
                wanted: Default::default(),
                waited_for: Notify::default(),
            }),
        }
    }

    /// Memory for a whole frame of so many bytes, unless it would have to be waited for.
    pub(crate) fn try_charge(&self, bytes: usize, holding: &Rc<Holding>) -> Option<Charge> {
        [Pool::of(bytes), Pool::Large].into_iter().find_map(|pool| {
            let permit = self.shared.pools[pool as usize].try_acquire(bytes as u64)?;
            Some(Charge::new(pool, permit, holding))
        })
    }

    /// Waits for memory for a whole frame of so many bytes, for as long as it takes. Whoever waits
    /// holds nothing meanwhile that another frame may wait for.
    pub(crate) async fn charge(&self, bytes: usize, holding: &Rc<Holding>) -> Charge {
        if let Some(charge) = self.try_charge(bytes, holding) {
            return charge;
        }
        let (own, bytes) = (Pool::of(bytes), bytes as u64);
        let charged = |pool, permit| Charge::new(pool, permit, holding);
        count(Counter::WaitsForRequestMemory);
        let _wanted = Wanted::new(&self.shared, own, bytes);
        let mut waiting = std::pin::pin!(self.shared.pools[own as usize].acquire(bytes));
        if let Poll::Ready(permit) = futures_util::poll!(&mut waiting) {
            return charged(own, permit);
        }
        // It stands in the line now: whoever watches finds it there.
        self.shared.waited_for.notify_all();
        charged(own, waiting.await)
    }

    /// Memory for what is read ahead of frames, while half of the large frames' is free. Never
    /// waits: whoever holds some could otherwise wait for others who do.
    pub(crate) fn try_charge_ahead(&self, bytes: usize, holding: &Rc<Holding>) -> Option<Charge> {
        let pool = &self.shared.pools[Pool::Large as usize];
        if pool.available() < pool.total() / 2 {
            return None;
        }
        let permit = pool.try_acquire(bytes as u64)?;
        Some(Charge::new(Pool::Large, permit, holding))
    }

    /// Resolves once somebody waits.
    pub(crate) async fn is_waited_for(&self) {
        loop {
            let rung = self.shared.waited_for.notified();
            if Pool::ALL.iter().any(|pool| self.waiters(*pool) > 0) {
                return;
            }
            rung.await;
        }
    }

    /// How many wait for memory of that pool.
    pub(crate) fn waiters(&self, pool: Pool) -> usize {
        self.shared.pools[pool as usize].waiters()
    }

    /// What they wait for together, in bytes.
    pub(crate) fn wanted(&self, pool: Pool) -> u64 {
        self.shared.wanted[pool as usize].get()
    }

    /// Bytes that nobody holds.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn available(&self) -> u64 {
        self.shared.pools.iter().map(Semaphore::available).sum()
    }
}

/// What one frame waits for.
struct Wanted<'a> {
    total: &'a Cell<u64>,
    bytes: u64,
}

impl<'a> Wanted<'a> {
    fn new(shared: &'a Shared, pool: Pool, bytes: u64) -> Self {
        let total = &shared.wanted[pool as usize];
        total.set(total.get() + bytes);
        Self { total, bytes }
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes);
    }
}

/// The request memory that a frame holds, given back when this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    pool: Pool,
    permit: Permit,
    holding: Rc<Holding>,
}

impl Charge {
    fn new(pool: Pool, permit: Permit, holding: &Rc<Holding>) -> Self {
        holding.takes(pool, permit.count());
        Self {
            pool,
            permit,
            holding: Rc::clone(holding),
        }
    }

    /// Bytes that are charged.
    pub(crate) fn bytes(&self) -> u64 {
        self.permit.count()
    }

    /// Gives back all but so many.
    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        let before = self.bytes();
        self.permit.shrink_to(bytes);
        self.holding.gives_back(self.pool, before - self.bytes());
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.holding.gives_back(self.pool, self.permit.count());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use tailwater_shards::sim::Simulation;
    use tailwater_shards::{sleep, spawn};

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn small_frames_are_not_held_up_by_large_ones_and_take_their_room_while_there_is_some() {
        Simulation::new(1).run(async {
            let memory = RequestMemory::new(8 * MIB as u64);
            let holding = Rc::<Holding>::default();
            let large = memory.charge(7 * MIB, &holding).await;
            let served: Rc<RefCell<Vec<&str>>> = Rc::default();
            for (name, bytes) in [("large", 6 * MIB), ("small", SMALL_FRAME_BYTES_MAX)] {
                let (memory, served) = (memory.clone(), Rc::clone(&served));
                spawn("frame", async move {
                    let held = memory.charge(bytes, &Rc::default()).await;
                    served.borrow_mut().push(name);
                    drop(held);
                })
                .detach();
            }
            memory.is_waited_for().await;
            sleep(Duration::from_millis(1)).await;
            assert_eq!(*served.borrow(), ["small"]);
            assert_eq!(memory.waiters(Pool::Large), 1);
            assert_eq!(memory.wanted(Pool::Large), 6 * MIB as u64);
            drop(large);
            sleep(Duration::from_millis(1)).await;
            assert_eq!(*served.borrow(), ["small", "large"]);
            assert_eq!(memory.wanted(Pool::Large), 0);

            // A crowd of small ones has all of it.
            let mut held = Vec::new();
            for _ in 0..8 * MIB / SMALL_FRAME_BYTES_MAX {
                let next = memory.charge(SMALL_FRAME_BYTES_MAX, &holding);
                held.push(tailwater_shards::timeout(Duration::from_secs(1), next).await);
            }
            assert!(held.iter().all(Result::is_ok));
            assert_eq!(memory.available(), 0);
            assert_eq!(
                holding.held(Pool::Small) + holding.held(Pool::Large),
                8 * MIB as u64
            );
            drop(held);
            assert_eq!(memory.available(), 8 * MIB as u64);
            assert_eq!(holding.held(Pool::Small) + holding.held(Pool::Large), 0);
        });
    }

    #[test]
    fn a_crowd_that_announces_giants_holds_up_no_ordinary_large_frame() {
        Simulation::new(3).run(async {
            let memory = RequestMemory::new(8 * MIB as u64);
            let served = Rc::new(Cell::new(0));
            // Each stands still for as long as one may when many wait.
            for _ in 0..2_000 {
                let (memory, served) = (memory.clone(), Rc::clone(&served));
                spawn("giant", async move {
                    let held = memory.charge(7 * MIB, &Rc::default()).await;
                    sleep(Duration::from_millis(100)).await;
                    served.set(served.get() + 1);
                    drop(held);
                })
                .detach();
            }
            sleep(Duration::from_millis(950)).await;
            // An ordinary one waits for the giant that has begun, and for no other.
            for _ in 0..20 {
                let began = tailwater_shards::now();
                drop(memory.charge(MIB, &Rc::default()).await);
                let waited = tailwater_shards::now() - began;
                assert!(waited <= Duration::from_millis(100), "{waited:?}");
            }
            sleep(Duration::from_secs(250)).await;
            assert_eq!(served.get(), 2_000);
        });
    }

    #[test]
    fn large_frames_never_hold_a_part_and_wait_for_more() {
        Simulation::new(2).run(async {
            let memory = RequestMemory::new(8 * MIB as u64);
            let done = Rc::new(Cell::new(0));
            // Each wants most of it; so none could ever go on if each held a part.
            for _ in 0..50 {
                let (memory, done) = (memory.clone(), Rc::clone(&done));
                spawn("frame", async move {
                    let held = memory.charge(5 * MIB, &Rc::default()).await;
                    sleep(Duration::from_millis(10)).await;
                    drop(held);
                    done.set(done.get() + 1);
                })
                .detach();
            }
            sleep(Duration::from_millis(600)).await;
            assert_eq!(done.get(), 50);
        });
    }
}

//! Peers that hold request memory and have the broker wait: for the rest of a frame, or because
//! they do not take replies.
//!
//! Owns when such connections are closed. A frame that has begun must get on in any case
//! ([`FRAME_STILL_MAX`]). While somebody waits for request memory there is less patience, as with
//! slow readers: those that stand still longest go first, until as much is free as is waited for.
//! Who holds memory because the broker itself is slow, or because its connection stands in line
//! for a turn, is never closed for it.

use std::rc::Rc;
use std::time::Duration;

use tailwater_shards::{Counter, count, now, sleep};

use crate::connection::{Control, Order};
use crate::limits::{FRAME_LOOK_INTERVAL, FRAME_STILL_MAX, SLOW_LOOK_INTERVAL};
use crate::registry::Registry;
use crate::request_memory::{Pool, RequestMemory};
use crate::slow_readers::patience;

/// Watches for those who wait, for ever.
pub(crate) async fn watch(registry: Rc<Registry>, memory: RequestMemory) {
    loop {
        memory.is_waited_for().await;
        loop {
            let mut waits = false;
            for pool in Pool::ALL {
                let waiters = memory.waiters(pool);
                if waiters > 0 {
                    waits = true;
                    press(&registry, pool, waiters, memory.wanted(pool));
                }
            }
            if !waits {
                break;
            }
            sleep(SLOW_LOOK_INTERVAL).await;
        }
    }
}

/// Closes connections whose frames have stood still for too long, for ever.
pub(crate) async fn close_unfinished(registry: Rc<Registry>) {
    loop {
        sleep(FRAME_LOOK_INTERVAL).await;
        let at = now();
        registry.each(|control| {
            let still = control.holding.reading.stands_still(at);
            if still.is_some_and(|still| still >= FRAME_STILL_MAX) {
                close(
                    control,
                    Counter::ClosedSlowSender,
                    still.unwrap_or_default(),
                );
            }
        });
    }
}

/// So many wait for so many bytes of that pool.
fn press(registry: &Registry, pool: Pool, waiters: usize, wanted: u64) {
    let at = now();
    let patience = patience(waiters);
    let mut still: Vec<(Duration, u64, Rc<Control>)> = Vec::new();
    registry.each(|control| {
        let stands_still = control.holding.stands_still(at);
        let held = control.holding.held(pool);
        if held > 0 && stands_still >= patience {
            still.push((stands_still, held, Rc::clone(control)));
        }
    });
    still.sort_by_key(|(stands_still, ..)| std::cmp::Reverse(*stands_still));
    let mut freed = 0;
    for (stands_still, held, control) in still {
        if freed >= wanted {
            break;
        }
        freed += held;
        close(&control, Counter::ClosedRequestMemory, stands_still);
    }
}

fn close(control: &Control, counter: Counter, stands_still: Duration) {
    if control.order() == Order::Close {
        return;
    }
    count(counter);
    tracing::debug!(
        reason = counter.name(),
        "a connection is closed: its peer has stood still for {stands_still:?}"
    );
    control.tell(Order::Close);
}

#[cfg(test)]
mod tests {
    use tailwater_shards::sim::Simulation;
    use tailwater_shards::spawn;

    use super::*;
    use crate::limits::{SLOW_PATIENCE_MAX, SLOW_PROGRESS_BYTES};

    const MIB: usize = 1 << 20;

    #[test]
    fn who_stands_still_with_memory_that_others_want_is_closed_and_who_gets_on_is_not() {
        Simulation::new(1).run(async {
            let registry = Rc::<Registry>::default();
            let memory = RequestMemory::new(16 * MIB as u64);
            spawn("watch", watch(Rc::clone(&registry), memory.clone())).detach();
            let registered: [_; 4] = std::array::from_fn(|_| registry.register());
            let [stuck, unread, gets_on, served] = &registered.each_ref().map(|r| r.control());
            let mut held = Vec::new();
            for control in [stuck, unread, gets_on, served] {
                held.push(memory.charge(3 * MIB, &control.holding).await);
            }
            stuck.holding.reading.begin();
            unread.holding.writing.begin();
            gets_on.holding.reading.begin();
            // As long as nobody waits, nobody is bothered; and nobody is for what we owe.
            sleep(SLOW_PATIENCE_MAX * 3).await;
            let orders = || [stuck, unread, gets_on, served].map(|control| control.order());
            assert_eq!(orders(), [Order::Serve; 4]);
            gets_on.holding.reading.passed(SLOW_PROGRESS_BYTES);
            let waits = spawn("waits", {
                let memory = memory.clone();
                async move { drop(memory.charge(6 * MIB, &Rc::default()).await) }
            });
            sleep(SLOW_LOOK_INTERVAL * 2).await;
            let closed = Order::Close;
            assert_eq!(orders(), [closed, closed, Order::Serve, Order::Serve]);
            // What the ends of their connections do.
            held.drain(..2);
            waits.await.unwrap();
        });
    }

    #[test]
    fn a_frame_that_has_begun_gets_on_or_its_connection_is_closed() {
        Simulation::new(2).run(async {
            let registry = Rc::<Registry>::default();
            spawn("unfinished", close_unfinished(Rc::clone(&registry))).detach();
            let registered: [_; 3] = std::array::from_fn(|_| registry.register());
            let [stuck, gets_on, between] = &registered.each_ref().map(|r| r.control());
            stuck.holding.reading.begin();
            gets_on.holding.reading.begin();
            sleep(FRAME_STILL_MAX - FRAME_LOOK_INTERVAL).await;
            // A byte now and then is no progress.
            stuck.holding.reading.passed(1);
            gets_on.holding.reading.passed(SLOW_PROGRESS_BYTES);
            assert_eq!(stuck.order(), Order::Serve);
            sleep(FRAME_LOOK_INTERVAL * 3).await;
            assert_eq!(stuck.order(), Order::Close);
            assert_eq!(gets_on.order(), Order::Serve);
            assert_eq!(between.order(), Order::Serve);
        });
    }
}

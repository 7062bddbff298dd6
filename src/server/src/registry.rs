//! The connections of one shard: closing idle ones, and all of them at the end.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tailwater_shards::sync::Notify;
use tailwater_shards::{Counter, count, now, sleep, timeout};

use crate::connection::{Control, Order};
use crate::limits::{IDLE_SWEEP_INTERVAL_MAX, IDLE_SWEEP_INTERVAL_MIN};

/// The shard's open connections.
#[derive(Default)]
pub(crate) struct Registry {
    next_id: Cell<u64>,
    open: RefCell<BTreeMap<u64, Rc<Control>>>,
    draining: Cell<bool>,
    emptied: Notify,
}

/// A connection's entry, taken out when this is dropped.
pub(crate) struct Registered {
    registry: Rc<Registry>,
    id: u64,
    control: Rc<Control>,
}

impl Registered {
    pub(crate) fn control(&self) -> Rc<Control> {
        Rc::clone(&self.control)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.registry.open.borrow_mut();
        open.remove(&self.id);
        if open.is_empty() {
            self.registry.emptied.notify_all();
        }
    }
}

impl Registry {
    /// Enters a connection. One that comes while all are being drained is told so at once.
    pub(crate) fn register(self: &Rc<Self>) -> Registered {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let control = Rc::new(Control::new());
        if self.draining.get() {
            control.tell(Order::Drain);
        }
        self.open.borrow_mut().insert(id, Rc::clone(&control));
        Registered {
            registry: Rc::clone(self),
            id,
            control,
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Looks at every open connection; `look` may tell them, and opens or ends none.
    pub(crate) fn each(&self, look: impl FnMut(&Rc<Control>)) {
        self.open.borrow().values().for_each(look);
    }

    /// Closes connections that have been idle for `idle_max`, for ever. Looks often enough that
    /// none stays for more than a quarter longer.
    pub(crate) async fn close_idle(self: Rc<Self>, idle_max: Duration) {
        let interval = (idle_max / 4).clamp(IDLE_SWEEP_INTERVAL_MIN, IDLE_SWEEP_INTERVAL_MAX);
        loop {
            sleep(interval).await;
            let at = now();
            for control in self.open.borrow().values() {
                if control.idle_for(at).is_some_and(|idle| idle >= idle_max) {
                    count(Counter::ClosedIdle);
                    control.tell(Order::Close);
                }
            }
        }
    }

    /// Lets every connection answer what is in flight, for at most `within`, then closes all.
    pub(crate) async fn drain(&self, within: Duration) {
        self.draining.set(true);
        self.tell_all(Order::Drain);
        if timeout(within, self.until_empty()).await.is_err() {
            tracing::info!(
                connections = self.len(),
                "connections are closed with requests in flight"
            );
            self.tell_all(Order::Close);
            self.until_empty().await;
        }
    }

    async fn until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn tell_all(&self, order: Order) {
        for control in self.open.borrow().values() {
            control.tell(order);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use tailwater_shards::sim::Simulation;
    use tailwater_shards::spawn;

    use super::*;

    /// Stands for a connection that ends at an order of `ends_at`, or a stricter one.
    fn connection(registry: &Rc<Registry>, ends_at: Order) -> Rc<Control> {
        let registered = registry.register();
        let control = registered.control();
        spawn("connection", async move {
            let control = registered.control();
            poll_fn(|cx| {
                control.register(cx);
                if control.order() >= ends_at {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        })
        .detach();
        control
    }

    #[test]
    fn idle_connections_are_closed_and_busy_ones_are_not() {
        Simulation::new(1).run(async {
            let registry = Rc::<Registry>::default();
            let idle_max = Duration::from_secs(600);
            let _sweeps = spawn("sweep", Rc::clone(&registry).close_idle(idle_max));
            let _idle = connection(&registry, Order::Close);
            let active = connection(&registry, Order::Close);
            let parked = connection(&registry, Order::Close);
            parked.set_busy(true);
            sleep(Duration::from_secs(500)).await;
            active.touch();
            assert_eq!(registry.len(), 3);
            sleep(Duration::from_secs(500)).await;
            assert_eq!(registry.len(), 2);
            sleep(Duration::from_secs(300)).await;
            assert_eq!(registry.len(), 1, "only the parked one is left");
        });
    }

    #[test]
    fn draining_ends_when_the_last_connection_has_and_is_bounded() {
        Simulation::new(2).run(async {
            let registry = Rc::<Registry>::default();
            let within = Duration::from_millis(300);
            let begun = now();
            let _obedient = connection(&registry, Order::Drain);
            registry.drain(within).await;
            assert_eq!(registry.len(), 0);
            assert!(begun.elapsed() < within);

            let registry = Rc::<Registry>::default();
            let begun = now();
            let _stubborn = connection(&registry, Order::Close);
            registry.drain(within).await;
            assert_eq!(registry.len(), 0);
            let took = begun.elapsed();
            assert!(took >= within && took < within * 2, "{took:?}");
            // One that comes late is told at once.
            assert_eq!(connection(&registry, Order::Drain).order(), Order::Drain);
        });
    }
}

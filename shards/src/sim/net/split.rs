//! Splits of the network, and its other settings.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::NetEvent;
use crate::sim::simulation::Process;
use crate::sim::world::{Event, Shared, World};

/// Whose end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Party {
    /// All client tasks.
    Clients,
    /// One boot of a process.
    Process(Process),
}

/// Settings of the network, see `Simulation::network`.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

impl Network {
    pub(crate) fn new(shared: Arc<Shared>) -> Network {
        Network { shared }
    }

    /// Lets nothing arrive from `from` at `to`, and no connection be opened between them, until
    /// it is healed. What is sent meanwhile waits, as TCP sends it again; nobody is told.
    pub fn split(&self, from: Party, to: Party) {
        self.shared
            .world(|world| world.net.splits.insert((from, to)));
    }

    /// Splits both directions.
    pub fn partition(&self, a: Party, b: Party) {
        self.split(a, b);
        self.split(b, a);
    }

    /// Ends all splits between the two. What waited arrives.
    pub fn heal(&self, a: Party, b: Party) {
        self.shared.world(|world| {
            world.net.splits.remove(&(a, b));
            world.net.splits.remove(&(b, a));
            world.net_healed();
        });
    }

    /// How long segments take, but for a few that take up to 20 ms more.
    pub fn delay(&self, least: Duration, most: Duration) {
        assert!(least < most, "a range of delays");
        let micros = |delay: Duration| u64::try_from(delay.as_micros()).expect("a delay");
        self.shared
            .world(|world| world.net.delay_us = micros(least)..micros(most).max(1));
    }

    /// The address that later connections of clients come from. 127.0.0.1 at first.
    pub fn client_ip(&self, ip: IpAddr) {
        self.shared.world(|world| world.net.client_ip = ip);
    }
}

impl World {
    /// What was held is on its way again; what is still split will be held again.
    fn net_healed(&mut self) {
        for conn in std::mem::take(&mut self.net.held_openings) {
            let delay = self.net.delay(&mut self.rng.net);
            self.after(delay, Event::Net(NetEvent::Open { conn }));
        }
        let mut due = Vec::new();
        for (conn, state) in &mut self.net.conns {
            for (from, end) in state.ends.iter_mut().enumerate() {
                let held = std::mem::take(&mut end.held);
                due.extend((0..held).map(|_| NetEvent::Deliver { conn: *conn, from }));
            }
        }
        for event in due {
            // At one instant: in the order in which they were sent.
            self.after(Duration::from_micros(1), Event::Net(event));
        }
    }
}

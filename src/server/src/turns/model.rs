//! A shard's loop on a clock of its own: connections that cost what they are said to cost, polled
//! in the order in which they were woken, and the kernel looked at when nobody is ready. So what a
//! client waits for is counted, not timed.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use tailwater_shards::sim::Simulation;

use super::*;

const US: Nanos = 1000;
/// A look at the sockets and files.
const LOOK: Nanos = 5 * US;
/// A poll that only stands in line.
const POLL: Nanos = US / 5;

/// What a connection sends.
#[derive(Debug, Clone, Copy)]
struct Load {
    address: u32,
    /// What one of its requests costs.
    cost: Nanos,
    /// Requests that are there at once.
    burst: u32,
    /// How long after the last answer the next ones come.
    pause: Nanos,
    /// For how long others take the processor in every fifth of its turns.
    preempted: Nanos,
}

struct Connection {
    load: Load,
    /// Requests that have come and are not answered.
    left: u32,
    came: Nanos,
    /// How long each burst took.
    waits: Vec<Nanos>,
    used: Nanos,
    turns: u32,
}

struct Shard {
    state: State,
    at: Nanos,
    ready: VecDeque<u32>,
    connections: Vec<Connection>,
    arrivals: BTreeMap<(Nanos, u32), ()>,
    /// Between two looks at the sockets, at most.
    pass_most: Nanos,
    calls: u32,
}

impl Shard {
    fn new(loads: impl IntoIterator<Item = Load>) -> Self {
        let mut shard = Self {
            state: State::default(),
            at: US,
            ready: VecDeque::new(),
            connections: Vec::new(),
            arrivals: BTreeMap::new(),
            pass_most: 0,
            calls: 0,
        };
        for load in loads {
            let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + load.address));
            let id = shard.state.join(address, Rc::new(Control::new()));
            shard.connections.push(Connection {
                load,
                left: 0,
                came: 0,
                waits: Vec::new(),
                used: 0,
                turns: 0,
            });
            shard.arrivals.insert((Nanos::from(id), id), ());
        }
        shard
    }

    fn run_until(&mut self, end: Nanos) {
        while self.at < end {
            self.at += LOOK;
            if self.state.is_closing() {
                self.state.open(self.at);
            }
            while let Some(((due, id), ())) = self.arrivals.pop_first() {
                if due > self.at {
                    self.arrivals.insert((due, id), ());
                    break;
                }
                let connection = &mut self.connections[id as usize];
                connection.left = connection.load.burst;
                connection.came = due;
                self.ready.push_back(id);
            }
            self.grant();
            let began = self.at;
            while let Some(id) = self.ready.pop_front() {
                self.poll(id);
            }
            self.pass_most = self.pass_most.max(self.at - began);
        }
    }

    fn grant(&mut self) {
        if self.state.grant().is_some() {
            let (id, _) = self.state.granted.unwrap();
            self.ready.push_back(id);
        }
        self.calls += 1;
        if self.calls.is_multiple_of(1024) {
            self.state.check_invariants();
        }
    }

    fn poll(&mut self, id: u32) {
        self.at += POLL;
        let turn = match self.state.at_once(id, self.at) {
            Some(turn) => Some(turn),
            None => {
                self.state.wait(id, self.at);
                None
            }
        };
        let Some(turn) = turn else {
            return self.grant();
        };
        let connection = &mut self.connections[id as usize];
        while connection.left > 0 && self.at - turn.began < turn.begins_for {
            connection.left -= 1;
            self.at += connection.load.cost;
        }
        let worked = self.at - turn.began;
        connection.used += worked;
        connection.turns += 1;
        if connection.turns.is_multiple_of(5) {
            self.at += connection.load.preempted;
        }
        let took = self.at - turn.began;
        let cost = Cost { took, worked };
        let left = match connection.left {
            0 => {
                connection.waits.push(self.at - connection.came);
                self.arrivals
                    .insert((self.at + connection.load.pause, id), ());
                Left::default()
            }
            _ => Left {
                to_begin: true,
                to_carry_on: false,
            },
        };
        self.state.end(id, turn, cost, left, self.at);
        self.grant();
    }

    /// The longest once it has begun: the first turns of a crowd are as good as anybody's.
    fn worst(&self, id: usize) -> Nanos {
        let waits = self.connections[id].waits.iter().skip(10);
        waits.copied().max().unwrap()
    }
}

fn in_a_shard(test: impl FnOnce() + 'static) {
    Simulation::new(1).run(async move { test() });
}

/// A request of 20 us, 4 ms after the last was answered.
fn behaves(address: u32) -> Load {
    Load {
        address,
        cost: 20 * US,
        burst: 1,
        pause: 4000 * US,
        preempted: 0,
    }
}

/// Sends more than there is time for.
fn endless(address: u32) -> Load {
    Load {
        address,
        cost: 8 * US,
        burst: u32::MAX,
        pause: 0,
        preempted: 0,
    }
}

#[test]
fn a_client_that_behaves_does_not_notice_a_crowd_that_sends_without_end() {
    in_a_shard(|| {
        // 2,000 from 100 addresses. One turn of 50 us each would be 100 ms.
        let crowd = (0..2000).map(|number| endless(number % 100));
        let mut shard = Shard::new([behaves(1000)].into_iter().chain(crowd));
        shard.run_until(500_000 * US);
        assert!(shard.connections[0].waits.len() > 100);
        let worst = shard.worst(0);
        assert!(worst <= 1000 * US, "{} us", worst / US);
        // All the first of the crowd stand in line once, which takes its time.
        assert!(shard.pass_most <= 1200 * US, "{} us", shard.pass_most / US);
    });
}

#[test]
fn nor_one_that_asks_again_as_soon_as_it_is_answered() {
    in_a_shard(|| {
        // Each is fresh every time it comes: what is left is a turn for each address.
        let crowd = (0..2000).map(|number| Load {
            address: number % 100,
            cost: 8 * US,
            burst: 1,
            pause: 100 * US,
            preempted: 0,
        });
        let mut shard = Shard::new([behaves(1000)].into_iter().chain(crowd));
        shard.run_until(500_000 * US);
        let worst = shard.worst(0);
        assert!(worst <= 5_000 * US, "{} us", worst / US);
    });
}

#[test]
fn it_does_not_matter_that_the_crowd_shares_its_address() {
    in_a_shard(|| {
        let crowd = (0..2000).map(|_| endless(1));
        let mut shard = Shard::new([behaves(1)].into_iter().chain(crowd));
        shard.run_until(500_000 * US);
        let worst = shard.worst(0);
        assert!(worst <= 2000 * US, "{} us", worst / US);
    });
}

#[test]
fn an_address_with_many_connections_has_as_much_as_one_with_one() {
    in_a_shard(|| {
        let crowd = (0..500).map(|_| endless(1));
        let mut shard = Shard::new([endless(2)].into_iter().chain(crowd));
        // Each is new once, and then has a turn as good as anybody's.
        shard.run_until(100_000 * US);
        shard.connections.iter_mut().for_each(|c| c.used = 0);
        shard.run_until(500_000 * US);
        let one = shard.connections[0].used as f64;
        let many: Nanos = shard.connections[1..].iter().map(|c| c.used).sum();
        let share = one / (one + many as f64);
        assert!((0.45..0.55).contains(&share), "{share}");
        assert!(
            shard
                .connections
                .iter()
                .all(|connection| connection.used > 0)
        );
    });
}

#[test]
fn those_that_send_without_end_are_served_however_many_come_fresh() {
    in_a_shard(|| {
        let fresh = (0..1000).map(|number| Load {
            address: number,
            cost: 20 * US,
            burst: 1,
            pause: 1000 * US,
            preempted: 0,
        });
        let mut shard = Shard::new([endless(5000)].into_iter().chain(fresh));
        shard.run_until(500_000 * US);
        assert!(
            shard.connections[0].used > 20_000 * US,
            "a fiftieth at least"
        );
        let waits = shard.connections[1..].iter().map(|c| c.waits.len()).min();
        assert!(waits.is_some_and(|least| least > 10), "{waits:?}");
    });
}

#[test]
fn who_is_preempted_does_not_pay_for_what_others_did() {
    in_a_shard(|| {
        let preempted = Load {
            preempted: 4000 * US,
            ..behaves(1000)
        };
        // Each of the others is fresh every time it comes, too.
        let crowd = (0..2000).map(|number| Load {
            address: number % 100,
            cost: 8 * US,
            burst: 1,
            pause: 100 * US,
            preempted: 0,
        });
        let mut shard = Shard::new([preempted].into_iter().chain(crowd));
        shard.run_until(1_000_000 * US);
        let worst = shard.worst(0);
        assert!(worst <= 10_000 * US, "{} us", worst / US);
    });
}

#[test]
fn long_requests_are_owed_for() {
    in_a_shard(|| {
        // Each takes 5 ms at once, and comes again at once.
        let long = (0..20).map(|address| Load {
            address,
            cost: 5000 * US,
            burst: 1,
            pause: 0,
            preempted: 0,
        });
        let mut shard = Shard::new([behaves(1000)].into_iter().chain(long));
        shard.run_until(3_000_000 * US);
        // Nothing interrupts one; but one is all that goes before.
        let waits = &shard.connections[0].waits;
        let longer = waits.iter().filter(|wait| **wait > 11_000 * US).count();
        assert!(longer * 20 <= waits.len(), "{longer} of {}", waits.len());
    });
}

use std::cell::Cell;
use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::task::Poll;
use std::time::Duration;

use tailwater_shards::sim::{Simulation, preempt_for, work_for};
use tailwater_shards::{counters, sleep};

use super::*;
use crate::limits::{WINDOW_FRESH_MAX, WINDOW_MAX};

fn address(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
}

/// Turns in the order in which they were had: who, and how many of the window's rounds.
type Log = Rc<RefCell<Vec<u32>>>;

/// A connection that works: each turn takes `rounds`, as long as it wants more.
struct Worker {
    control: Rc<Control>,
    /// Turns it wants now.
    wants: Rc<Cell<u32>>,
}

impl Worker {
    fn start(turns: &Rc<Turns>, from: IpAddr, name: u32, rounds: u32, log: &Log) -> Self {
        let control = Rc::new(Control::new());
        let wants = Rc::<Cell<u32>>::default();
        let seat = turns.join(from, Rc::clone(&control));
        let worker = Self {
            control: Rc::clone(&control),
            wants: Rc::clone(&wants),
        };
        let (log, turns) = (Rc::clone(log), Rc::clone(turns));
        spawn("worker", async move {
            poll_fn(|cx| {
                control.register(cx);
                if control.order() == crate::connection::Order::Close {
                    return Poll::Ready(());
                }
                if wants.get() == 0 {
                    return Poll::Pending;
                }
                let Some(turn) = seat.ask(false) else {
                    return Poll::Pending;
                };
                log.borrow_mut().push(name);
                wants.set(wants.get() - 1);
                let to_begin = wants.get() > 0;
                let to_carry_on = false;
                seat.end(
                    turn,
                    rounds,
                    Left {
                        to_begin,
                        to_carry_on,
                    },
                );
                turns.state.borrow().check_invariants();
                Poll::Pending
            })
            .await;
        })
        .detach();
        worker
    }

    fn wants(&self, turns: u32) {
        self.wants.set(turns);
        self.control.wake();
    }
}

/// So that what is ready has run; no time passes.
async fn passes(count: u32) {
    for _ in 0..count {
        yield_now().await;
    }
}

#[test]
fn a_window_is_bounded_and_the_shard_looks_at_its_sockets_after_it() {
    Simulation::new(4).run(async {
        let turns = Turns::start();
        let log = Log::default();
        let crowd: Vec<_> = (0..300)
            .map(|number| Worker::start(&turns, address(number), number, 10, &log))
            .collect();
        crowd.iter().for_each(|worker| worker.wants(3));
        let most = (WINDOW_FRESH_MAX.as_micros() + WINDOW_MAX.as_micros()) / 10 + 2;
        let mut had = 0;
        while log.borrow().len() < 900 {
            passes(1).await;
            let now_had = log.borrow().len();
            assert!(now_had - had <= most as usize, "{}", now_had - had);
            had = now_had;
        }
        assert!(counters().total(Counter::WaitsForTurn) > 0);
        turns.state.borrow().check_invariants();
    });
}

#[test]
fn who_leaves_passes_the_turn_on_and_leaves_nothing_behind() {
    Simulation::new(5).run(async {
        let turns = Turns::start();
        let log = Log::default();
        let crowd: Vec<_> = (0..200)
            .map(|number| Worker::start(&turns, address(number % 10), number, 16, &log))
            .collect();
        crowd.iter().for_each(|worker| worker.wants(u32::MAX));
        passes(3).await;
        for (index, worker) in crowd.iter().enumerate() {
            worker.control.tell(crate::connection::Order::Close);
            if index % 7 == 0 {
                passes(1).await;
                let before = log.borrow().len();
                passes(3).await;
                assert!(log.borrow().len() > before || index > 190, "{index}");
            }
        }
        passes(3).await;
        assert!(turns.state.borrow().is_deserted());
    });
}

/// Seats of addresses of their own.
fn seats<const N: usize>(turns: &Rc<Turns>) -> [Seat; N] {
    std::array::from_fn(|number| {
        let address = address(u32::try_from(number).unwrap());
        turns.join(address, Rc::new(Control::new()))
    })
}

/// A turn that fills the window, so that all wait who come after it.
fn fill(seat: &Seat) {
    let turn = seat.ask(false).expect("it is alone");
    seat.end(turn, 600, Left::default());
}

#[test]
fn a_preempted_turn_is_neither_over_nor_paid_for() {
    Simulation::new(7).run(async {
        let turns = Turns::start();
        let [unlucky, other, filler] = seats(&turns);
        for number in 0..20 {
            let mut turn = unlucky.ask(false).expect("it is alone");
            work_for(Duration::from_micros(20));
            preempt_for(Duration::from_millis(4));
            assert_eq!(unlucky.is_over(&mut turn), (false, false));
            if number == 0 {
                work_for(Duration::from_micros(200));
                assert_eq!(unlucky.is_over(&mut turn), (true, true));
            }
            unlucky.end(turn, 2, Left::default());
            sleep(Duration::from_millis(2)).await;
        }
        fill(&filler);
        assert!(unlucky.ask(false).is_none());
        // It has worked 600 us, which lets others go before it for at most 18 ms.
        preempt_for(Duration::from_millis(20));
        assert!(other.ask(false).is_none());
        passes(2).await;
        assert!(
            unlucky.ask(false).is_some(),
            "it came first and used little"
        );
    });
}

#[test]
fn of_those_that_carry_on_who_has_used_least_goes_first_but_not_for_ever() {
    Simulation::new(8).run(async {
        let turns = Turns::start();
        let [busy, quiet, late, filler] = seats(&turns);
        let turn = busy.ask(false).expect("it is alone");
        work_for(Duration::from_millis(3));
        busy.end(turn, 1, Left::default());
        passes(2).await;
        fill(&filler);
        assert!(busy.ask(true).is_none());
        assert!(quiet.ask(true).is_none());
        // What it has used is worth 90 ms.
        preempt_for(Duration::from_millis(100));
        assert!(late.ask(true).is_none());
        passes(2).await;
        let mut asking = vec![
            ("busy", busy, true),
            ("quiet", quiet, true),
            ("late", late, true),
        ];
        let mut carried = Vec::new();
        for _ in 0..50 {
            passes(1).await;
            asking.retain_mut(|(name, seat, begun)| {
                let Some(turn) = seat.ask(*begun) else {
                    return true;
                };
                *begun &= turn.begins;
                if !turn.begins {
                    carried.push(*name);
                }
                seat.end(turn, 1, Left::default());
                turns.state.borrow().check_invariants();
                !turn.begins
            });
        }
        assert_eq!(carried, ["quiet", "busy", "late"]);
        assert!(asking.is_empty());
    });
}

#[test]
fn a_network_of_ipv6_is_one_user() {
    let same: [IpAddr; 2] = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::9"].map(|a| a.parse().unwrap());
    assert_eq!(user(same[0]), user(same[1]));
    let other: IpAddr = "2001:db8:1:3::1".parse().unwrap();
    assert_ne!(user(same[0]), user(other));
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(user(mapped), address(1));
}

/// Turns of a seat until it is asked for none, each with nothing left at its end; how many there were.
async fn turns_had(seat: &Seat, woken: &Cell<bool>) -> Vec<bool> {
    let mut had = Vec::new();
    for _ in 0..20 {
        if woken.take()
            && let Some(turn) = seat.ask(false)
        {
            had.push(turn.begins);
            seat.end(turn, 1, Left::default());
        }
        passes(1).await;
    }
    had
}

#[test]
fn who_is_woken_to_read_while_it_may_only_carry_on_begins_afterwards() {
    Simulation::new(6).run(async {
        let turns = Turns::start();
        let woken: Rc<Cell<bool>> = Rc::default();
        let [first, other, filler] = [1, 2, 3].map(|number| {
            let control = Rc::new(Control::new());
            (turns.join(address(number), Rc::clone(&control)), control)
        });
        let fill = || {
            let turn = filler.0.ask(false).expect("it is alone");
            filler.0.end(turn, 600, Left::default());
        };
        // Both have begun something, and stand in both lines; the other first among the begun.
        fill();
        assert!(other.0.ask(true).is_none());
        assert!(first.0.ask(true).is_none());
        passes(2).await;
        let carries_on = other.0.ask(true).expect("the begun go first");
        assert!(!carries_on.begins);
        other.0.end(carries_on, 1, Left::default());
        let begins = first.0.ask(true).expect("then the fresh");
        assert!(begins.begins);
        first.0.end(begins, 1, Left::default());
        // It is told whenever its turn has come, and now its client's next request is there.
        let bell = Rc::clone(&woken);
        let told = Rc::clone(&first.1);
        spawn("told", async move {
            poll_fn(|cx| {
                told.register(cx);
                bell.set(true);
                Poll::<()>::Pending
            })
            .await;
        })
        .detach();
        passes(1).await;
        woken.set(true);
        let had = turns_had(&first.0, &woken).await;
        assert!(had.contains(&true), "it never reads: {had:?}");
        turns.state.borrow().check_invariants();
    });
}

//! `--latency-target`: the background gives way while durable acknowledgements are later than asked for.
//!
//! Owns the controller, one a shard. All of them see the acknowledgements of the whole process, for its
//! shards share a device. Once a second the background's share is halved if more than one acknowledgement
//! in a thousand was late, and raised by a step if not: so it is found as a sender finds its rate. It never
//! falls below what frees the log, and a log that is nearly full has all of it: appends that wait for a
//! file are later than any background makes them.
//!
//! Bounds: what is counted is two numbers a shard; the decision is arithmetic of some integers.

use std::time::Duration;

use tailwater_shards::{
    Acknowledged, FULL_SHARE, figures, set_background_share, shard, sleep, spawn,
};
use tailwater_storage::{Pressure, Storage};

/// How often it is looked whether the log is nearly full.
const LOOK: Duration = Duration::from_millis(50);

/// Looks from one decision to the next: a second.
const LOOKS_A_DECISION: u32 = 20;

/// Of so many acknowledgements one may be late: p99.9.
const ONE_IN: u64 = 1000;

/// What the share is raised by.
const STEP: u32 = FULL_SHARE / 20;

/// Below this it is not halved any more.
const SHARE_MIN: u32 = FULL_SHARE / 32;

/// Finds the background's share.
#[derive(Debug)]
struct Controller {
    share: u32,
    /// How many more may be late, in thousandths of one: each that was not brings one.
    allowance: u64,
}

impl Controller {
    fn new() -> Self {
        Self {
            share: FULL_SHARE,
            allowance: ONE_IN,
        }
    }

    /// The share for the next second, after one with these.
    fn decide(&mut self, of_second: Acknowledged) -> u32 {
        // What was not used is kept, but no more than one or a second's worth: a quiet hour does not
        // pay for a bad minute.
        let most = of_second.all.max(ONE_IN);
        let allowance = self.allowance.saturating_add(of_second.all).min(most);
        let used = of_second.late.saturating_mul(ONE_IN);
        match allowance.checked_sub(used) {
            Some(left) => {
                self.allowance = left;
                self.share = (self.share + STEP).min(FULL_SHARE);
            }
            None => {
                self.allowance = 0;
                self.share = (self.share / 2).max(SHARE_MIN);
            }
        }
        self.share
    }
}

/// Steers the current shard from now on, until its storage stops.
pub(crate) fn start(target: Duration, storage: Storage) {
    figures().acknowledgements.set_target(target);
    spawn("latency target", steer(move || storage.pressure())).detach();
}

async fn steer(pressure: impl Fn() -> Pressure) {
    let acknowledgements = figures().acknowledgements;
    let mut controller = Controller::new();
    let (mut before, mut looks) = (acknowledgements.total(), 0);
    loop {
        let is_freeing = match pressure() {
            Pressure::Low => false,
            Pressure::High => true,
            Pressure::Stopping => break,
        };
        set_background_share(controller.share, is_freeing);
        sleep(LOOK).await;
        looks += 1;
        if looks == LOOKS_A_DECISION {
            looks = 0;
            let now = acknowledgements.total();
            let share = controller.decide(Acknowledged {
                all: now.all - before.all,
                late: now.late - before.late,
            });
            acknowledgements.set_share(shard(), share);
            before = now;
        }
    }
    // What is left to be written at the stop is waited for.
    set_background_share(FULL_SHARE, true);
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::path::Path;
    use std::rc::Rc;

    use tailwater_shards::sim::Simulation;
    use tailwater_shards::{
        DmaBuf, File, IoClass, OpenOptions, io_stats, now, record_acknowledgement,
    };

    use super::*;

    fn of(all: u64, late: u64) -> Acknowledged {
        Acknowledged { all, late }
    }

    #[test]
    fn a_share_is_halved_while_the_target_is_missed_and_rises_slowly_after_that() {
        let mut controller = Controller::new();
        assert_eq!(
            controller.decide(of(5000, 5)),
            FULL_SHARE,
            "one in a thousand"
        );
        let falling: Vec<u32> = (0..7).map(|_| controller.decide(of(5000, 6))).collect();
        assert_eq!(falling, [500, 250, 125, 62, 31, 31, 31]);
        let rising: Vec<u32> = (0..3).map(|_| controller.decide(of(5000, 0))).collect();
        assert_eq!(rising, [81, 131, 181]);
        for _ in 0..20 {
            controller.decide(of(0, 0));
        }
        assert_eq!(controller.share, FULL_SHARE, "nobody waits");
    }

    #[test]
    fn few_acknowledgements_are_held_against_the_same_part_of_them() {
        let mut controller = Controller::new();
        // One of a thousand was late, over ten seconds.
        assert_eq!(controller.decide(of(100, 1)), FULL_SHARE);
        for _ in 0..8 {
            assert_eq!(controller.decide(of(100, 0)), FULL_SHARE);
        }
        // A second one before the next thousand is too many.
        assert_eq!(controller.decide(of(50, 1)), FULL_SHARE / 2);
    }

    #[test]
    fn what_was_not_used_is_not_kept_for_long() {
        let mut controller = Controller::new();
        for _ in 0..3600 {
            controller.decide(of(10_000, 0));
        }
        assert_eq!(controller.decide(of(10_000, 11)), FULL_SHARE / 2);
    }

    /// Blocks that a reader of old data got in twenty seconds, and what share the background has then,
    /// beside a producer whose acknowledgements are as late as its writes.
    fn backfilled(target: Duration, pressure: Pressure, class: IoClass) -> (u64, u32) {
        const CREATE: OpenOptions = OpenOptions {
            create_new: true,
            write: true,
        };
        let (read, share) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let told = Rc::new(RefCell::new((Rc::clone(&read), Rc::clone(&share))));
        let mut simulation = Simulation::new(7);
        simulation.boot(1, move |me| {
            let (read, share) = told.borrow().clone();
            async move {
                figures().acknowledgements.set_target(target);
                spawn("steer", steer(move || pressure)).detach();
                let block = DmaBuf::zeroed(tailwater_shards::BLOCK_BYTES).freeze();
                let old = File::open(Path::new("/old"), CREATE).await.unwrap();
                old.write(IoClass::Commit, 0, &block).await.unwrap();
                let log = File::open(Path::new("/log"), CREATE).await.unwrap();
                spawn("backfill", async move {
                    loop {
                        let bytes = old.read(class, 0, tailwater_shards::BLOCK_BYTES).await;
                        assert!(bytes.is_ok());
                    }
                })
                .detach();
                let until = now() + Duration::from_secs(20);
                while now() < until {
                    let began = now();
                    log.write_durable(IoClass::Commit, 0, &block).await.unwrap();
                    let took = now() - began;
                    record_acknowledgement(u64::try_from(took.as_nanos()).unwrap());
                    sleep(Duration::from_millis(1)).await;
                }
                read.set(io_stats().class(class).reads);
                share.set(figures().acknowledgements.share(me));
            }
        });
        simulation.run(sleep(Duration::from_secs(30)));
        (read.get(), share.get())
    }

    #[test]
    fn a_backfill_beside_a_producer_gets_less_when_the_target_is_missed() {
        let (never, always) = (Duration::from_secs(1), Duration::from_nanos(1));
        let (met, all) = backfilled(never, Pressure::Low, IoClass::ColdRead);
        let (missed, least) = backfilled(always, Pressure::Low, IoClass::ColdRead);
        assert_eq!((all, least), (FULL_SHARE, SHARE_MIN));
        assert!(met > 0 && missed < met / 4, "{missed} and {met}");
        assert!(missed > met / 200, "{missed}: it is slowed, not stopped");
    }

    #[test]
    fn a_log_that_is_nearly_full_is_freed_at_full_speed() {
        let always = Duration::from_nanos(1);
        let read = |pressure| backfilled(always, pressure, IoClass::Maintenance).0;
        let (held, lifted) = (read(Pressure::Low), read(Pressure::High));
        assert!(held < lifted / 2, "{held} and {lifted}");
        let never = Duration::from_secs(1);
        let free = backfilled(never, Pressure::Low, IoClass::Maintenance).0;
        assert!(lifted * 10 > free * 9, "{lifted} and {free}");
        let cold = |pressure| backfilled(always, pressure, IoClass::ColdRead).0;
        assert!(cold(Pressure::High) < free / 4, "old data frees nothing");
    }
}

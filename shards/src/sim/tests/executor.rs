use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use super::{boot, flag};
use crate::sim::{Ending, Simulation, preempt_for, work_for};
use crate::{
    ShardId, fatal, in_shard, now, processor_time, shard, shard_count, sleep, spawn, timeout,
    wall_clock_ms, yield_now,
};

#[test]
fn time_jumps_to_the_next_timer_and_no_further() {
    let mut sim = Simulation::new(1);
    let waited = sim.run(async {
        let begin = now();
        sleep(Duration::from_secs(86)).await;
        now() - begin
    });
    assert_eq!(waited, Duration::from_secs(86));
}

#[test]
fn the_wall_clock_jumps_and_the_monotonic_one_does_not_notice() {
    let mut sim = Simulation::new(1);
    let (wall, monotonic) = (sim.wall_clock_ms(), sim.now());
    sim.jump_wall_clock(-5_000);
    assert_eq!(sim.wall_clock_ms(), wall - 5_000);
    assert_eq!(sim.run(async { wall_clock_ms() }), wall - 5_000);
    assert_eq!(sim.now(), monotonic);
}

#[test]
fn a_preempted_thread_has_not_worked_while_time_passed() {
    let mut sim = Simulation::new(1);
    let (passed, worked) = sim.run(async {
        let before = (now(), processor_time());
        work_for(Duration::from_micros(30));
        preempt_for(Duration::from_millis(4));
        (now() - before.0, processor_time() - before.1)
    });
    assert_eq!(passed, Duration::from_micros(4030));
    assert_eq!(worked, Duration::from_micros(30));
}

#[test]
fn a_loop_that_looks_at_the_clock_and_yields_comes_to_its_end() {
    let mut sim = Simulation::new(1);
    sim.run(async {
        let end = now() + Duration::from_micros(3);
        while now() < end {
            yield_now().await;
        }
    });
}

#[test]
fn a_timeout_drops_what_it_gave_up() {
    let mut sim = Simulation::new(1);
    let late = sim.run(async {
        timeout(Duration::from_millis(1), sleep(Duration::from_secs(1)))
            .await
            .is_err()
    });
    assert!(late);
    sim.run_until_idle();
    assert_eq!(
        sim.now().as_nanos(),
        1_000_000,
        "the longer timer is forgotten"
    );
}

#[test]
fn every_shard_sees_itself_and_clients_see_a_shard_of_their_own() {
    let mut sim = Simulation::new(2);
    let seen = Rc::new(RefCell::new(BTreeSet::new()));
    let to = Rc::clone(&seen);
    let process = sim.boot(3, move |id| {
        assert_eq!(id, shard());
        assert_eq!(shard_count(), 3);
        let to = Rc::clone(&to);
        async move {
            yield_now().await;
            to.borrow_mut().insert(shard());
        }
    });
    assert_eq!(sim.run_until_ended(process), Ending::Returned);
    assert_eq!(
        *seen.borrow(),
        BTreeSet::from([ShardId(0), ShardId(1), ShardId(2)])
    );
    assert_eq!(sim.run(async { (shard(), shard_count()) }), (ShardId(0), 1));
    assert!(!in_shard(), "no context is left behind");
}

#[test]
fn the_order_of_ready_tasks_is_drawn_by_the_seed() {
    let order = |seed| {
        let mut sim = Simulation::new(seed);
        let order = Rc::new(RefCell::new(Vec::new()));
        let to = Rc::clone(&order);
        let process = sim.boot(4, move |id| {
            let to = Rc::clone(&to);
            async move {
                for _ in 0..3 {
                    to.borrow_mut().push(id.0);
                    yield_now().await;
                }
            }
        });
        sim.run_until_ended(process);
        order.take()
    };
    assert_eq!(order(1), order(1));
    let different: BTreeSet<_> = (0..20).map(order).collect();
    assert!(different.len() > 10);
}

#[test]
fn a_task_that_yields_runs_after_all_that_were_ready() {
    for seed in 0..50 {
        let mut sim = Simulation::new(seed);
        sim.run(async {
            let ran = Rc::new(Cell::new(0));
            for _ in 0..10 {
                let ran = Rc::clone(&ran);
                spawn("other", async move { ran.set(ran.get() + 1) }).detach();
            }
            yield_now().await;
            assert_eq!(ran.get(), 10);
        });
    }
}

#[test]
fn a_killed_process_runs_no_further_and_its_futures_are_dropped_on_their_shard() {
    struct OnDrop(Rc<Cell<u32>>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            assert!(in_shard());
            // None of this may panic or have an effect.
            spawn("too late", async { panic!("never polled") }).detach();
            let _ = (now(), crate::random_u64());
            self.0.set(self.0.get() + 1);
        }
    }
    let mut sim = Simulation::new(3);
    let dropped = Rc::new(Cell::new(0));
    let to = Rc::clone(&dropped);
    let process = sim.boot(2, move |_| {
        let to = Rc::clone(&to);
        async move {
            for _ in 0..5 {
                let held = OnDrop(Rc::clone(&to));
                let task = async move {
                    let _held = held;
                    sleep(Duration::from_secs(1000)).await;
                    unreachable!("it was killed before");
                };
                spawn("sleeper", task).detach();
            }
            std::future::pending().await
        }
    });
    sim.run_for(Duration::from_secs(1));
    sim.kill(process);
    assert_eq!(dropped.get(), 10);
    assert_eq!(sim.ending(process), Some(Ending::Killed));
    sim.run_for(Duration::from_secs(2000));
}

#[test]
fn a_shards_tasks_end_with_its_main_and_the_process_with_the_last() {
    let mut sim = Simulation::new(4);
    let process = sim.boot(2, |id| async move {
        spawn("forever", std::future::pending::<()>()).detach();
        sleep(Duration::from_secs(u64::from(id.0))).await;
    });
    sim.run_for(Duration::from_millis(500));
    assert!(sim.is_running(process));
    assert_eq!(sim.run_until_ended(process), Ending::Returned);
}

#[test]
fn fatal_ends_the_process_with_its_reason_and_nothing_of_it_runs_on() {
    let mut sim = Simulation::new(5);
    let (after, reached) = flag();
    let process = sim.boot(2, move |id| {
        let after = Rc::clone(&after);
        async move {
            if id.0 == 1 {
                sleep(Duration::from_millis(1)).await;
                let task = spawn("deep", async { fatal("the disk lies") });
                let _never = task.await;
            }
            sleep(Duration::from_millis(2)).await;
            after.set(true);
        }
    });
    assert_eq!(
        sim.run_until_ended(process),
        Ending::Fatal("the disk lies".to_owned())
    );
    sim.run_for(Duration::from_secs(1));
    assert!(!reached.get());
}

#[test]
fn an_expected_panic_is_counted_and_its_task_alone_ends() {
    let mut sim = Simulation::new(6);
    sim.expect_panics();
    let process = boot(&mut sim, async {
        let ended = spawn("bad", async { panic!("on purpose") }).await;
        assert_eq!(ended.expect_err("it panicked").message, "on purpose");
    });
    assert_eq!(sim.run_until_ended(process), Ending::Returned);
    assert_eq!(sim.panics(), 1);
}

#[test]
fn an_expected_panic_of_main_ends_the_process() {
    let mut sim = Simulation::new(6);
    sim.expect_panics();
    let process = sim.boot(2, |id| async move {
        assert_eq!(id.0, 0, "on purpose");
        std::future::pending().await
    });
    let Ending::Panicked(message) = sim.run_until_ended(process) else {
        panic!("it ended otherwise");
    };
    assert!(message.contains("on purpose"));
    assert_eq!(sim.panics(), 1);
}

#[test]
#[should_panic(expected = "simulation of seed 77")]
fn a_panic_in_a_process_surfaces_with_the_seed() {
    let mut sim = Simulation::new(77);
    let process = boot(&mut sim, async {
        drop(spawn("bad", async { panic!("a bug") }).await);
    });
    sim.run_until_ended(process);
}

#[test]
#[should_panic(expected = "simulation of seed 78")]
fn a_panic_in_a_client_surfaces_with_the_seed() {
    Simulation::new(78).run(async { panic!("a test's own assertion") });
}

#[test]
#[should_panic(expected = "client task run returned. Tasks: run (process 0")]
fn what_can_never_happen_is_said_with_the_tasks_that_wait() {
    Simulation::new(79).run(std::future::pending::<()>());
}

#[test]
fn the_model_is_asked_after_each_step() {
    let mut sim = Simulation::new(8);
    let steps = Rc::new(Cell::new(0_u64));
    let counted = Rc::clone(&steps);
    sim.on_step(move |_| counted.set(counted.get() + 1));
    sim.run(async { sleep(Duration::from_millis(1)).await });
    assert_eq!(steps.get(), 3, "two polls and a timer");
}

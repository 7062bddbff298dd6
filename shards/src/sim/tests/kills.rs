//! kill -9, as told from a power cut.

use std::path::Path;
use std::time::Duration;

use super::{BLOCK, boot, create, durable_file, filled, flag, open, outcomes, write};
use crate::io_class::IoClass;
use crate::sim::{Ending, IoKind, Matching, Simulation};
use crate::{dir, now, sleep};

const SEEDS: u64 = 100;

fn first_byte(sim: &Simulation) -> u8 {
    sim.read_file(Path::new("/f")).expect("readable")[0]
}

/// A process that has one slow write of `/f` in flight, with the lock, when it is killed.
fn killed_while_writing(seed: u64) -> Simulation {
    let mut sim = Simulation::new(seed);
    durable_file(&mut sim, 1, 1);
    sim.faults()
        .slow(Matching::kind(IoKind::Write), 1, Duration::from_secs(100));
    let process = boot(&mut sim, async {
        let file = open("/f").await;
        assert!(file.try_lock().expect("open"));
        write(&file, 0, 2).await;
        unreachable!("the write takes longer than the process lives");
    });
    sim.run_for(Duration::from_secs(1));
    sim.kill(process);
    sim
}

#[test]
fn completed_writes_survive_a_kill_and_may_still_fall_to_a_later_cut() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 1);
        let (written, is_written) = flag();
        let process = boot(&mut sim, async move {
            let file = open("/f").await;
            write(&file, 0, 2).await;
            drop(create("/named").await);
            written.set(true);
            std::future::pending().await
        });
        sim.run_until(|| is_written.get());
        sim.kill(process);
        sim.run_until_idle();
        assert_eq!(first_byte(&sim), 2);
        assert!(sim.read_file(Path::new("/named")).is_ok());
        sim.power_cut();
        sim.read_file(Path::new("/f")).ok().map(|bytes| bytes[0])
    });
    assert!(
        seen.contains_key(&Some(1)) && seen.contains_key(&Some(2)),
        "{seen:?}"
    );
}

#[test]
fn a_write_in_flight_at_a_kill_lands_later_or_never() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = killed_while_writing(seed);
        assert_eq!(first_byte(&sim), 1, "it has not landed at the kill");
        sim.run_until_idle();
        first_byte(&sim)
    });
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_killed_processs_write_may_land_under_the_next_boot() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = killed_while_writing(seed);
        let reads = sim.run(async {
            let file = open("/f").await;
            let mut reads = Vec::new();
            for _ in 0..2 {
                let read = file
                    .read(IoClass::ColdRead, 0, 4096)
                    .await
                    .expect("readable");
                reads.push(read[0]);
                sleep(Duration::from_secs(5)).await;
            }
            reads
        });
        (reads[0], reads[1])
    });
    assert!(seen.contains_key(&(1, 2)), "{seen:?}");
}

#[test]
fn a_killed_processs_lock_is_held_until_its_writes_have_landed_and_no_longer() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = killed_while_writing(seed);
        let (waited, byte) = sim.run(async {
            let begin = now();
            let file = open("/f").await;
            while !file.try_lock().expect("open") {
                sleep(Duration::from_millis(10)).await;
            }
            let locked_after = now() - begin;
            let read = file
                .read(IoClass::ColdRead, 0, 4096)
                .await
                .expect("readable");
            (locked_after, read[0])
        });
        assert!(waited < Duration::from_secs(5), "a start waits no longer");
        sim.run_for(Duration::from_secs(100));
        assert_eq!(
            first_byte(&sim),
            byte,
            "nothing lands after the lock is free"
        );
        waited > Duration::from_millis(10)
    });
    assert_eq!(seen.len(), 2, "at once, or later: {seen:?}");
}

#[test]
fn without_a_write_in_flight_a_killed_processs_lock_is_free_at_once() {
    let mut sim = Simulation::new(1);
    durable_file(&mut sim, 1, 1);
    let process = boot(&mut sim, async {
        let file = open("/f").await;
        assert!(file.try_lock().expect("open"));
        std::future::pending().await
    });
    sim.run_until_idle();
    sim.kill(process);
    assert!(sim.run(async { open("/f").await.try_lock().expect("open") }));
}

#[test]
fn a_durable_write_cut_off_by_a_kill_is_not_durable_though_it_lands() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 1);
        sim.faults()
            .slow(Matching::kind(IoKind::Write), 1, Duration::from_secs(100));
        let process = boot(&mut sim, async {
            let file = open("/f").await;
            let written = file.write_durable(IoClass::Commit, 0, &filled(2, 1)).await;
            unreachable!("killed before: {written:?}");
        });
        sim.run_for(Duration::from_secs(1));
        sim.kill(process);
        sim.run_until_idle();
        let landed = first_byte(&sim);
        sim.power_cut();
        sim.read_file(Path::new("/f"))
            .ok()
            .map(|bytes| (landed, bytes[0]))
    });
    for outcome in [(1, 1), (2, 1), (2, 2)] {
        assert!(seen.contains_key(&Some(outcome)), "{seen:?}");
    }
}

#[test]
fn a_removal_cut_off_by_a_kill_may_get_part_of_the_way() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        sim.faults().slow(
            Matching::kind(IoKind::RemoveDirAll),
            1,
            Duration::from_secs(100),
        );
        let process = boot(&mut sim, async {
            dir::create_all(Path::new("/d")).await.expect("made");
            for name in ["/d/a", "/d/b", "/d/c"] {
                drop(create(name).await);
            }
            drop(dir::remove_dir_all(Path::new("/d")).await);
        });
        sim.run_for(Duration::from_secs(1));
        sim.kill(process);
        sim.run_until_idle();
        ["/d/a", "/d/b", "/d/c"]
            .iter()
            .filter(|path| sim.read_file(Path::new(path)).is_ok())
            .count()
    });
    assert!(
        seen.contains_key(&0) && seen.contains_key(&3) && seen.len() > 2,
        "{seen:?}"
    );
}

#[test]
fn a_power_cut_meets_writes_in_flight_and_those_of_killed_processes_too() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = killed_while_writing(seed);
        let process = boot(&mut sim, async {
            let file = create("/g").await;
            drop(file.write(IoClass::Commit, 0, &filled(1, 1)).await);
            std::future::pending().await
        });
        sim.power_cut();
        assert_eq!(sim.ending(process), Some(Ending::PowerCut));
        let at_cut = sim.read_file(Path::new("/f")).ok().map(|bytes| bytes[0]);
        sim.run_for(Duration::from_secs(100));
        let later = sim.read_file(Path::new("/f")).ok().map(|bytes| bytes[0]);
        assert_eq!(at_cut, later, "nothing lands after the power is gone");
        assert!(sim.disk_used_bytes() <= 2 * BLOCK);
        at_cut
    });
    assert!(
        seen.contains_key(&Some(1)) && seen.contains_key(&Some(2)),
        "{seen:?}"
    );
}

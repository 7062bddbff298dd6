//! Cuts at a chosen operation, and a small log that must survive all of them.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use super::{BLOCK, boot, create, durable_file, filled, flag, open, write};
use crate::dir;
use crate::file::{File, OpenOptions};
use crate::io_class::IoClass;
use crate::sim::{CutKind, CutMoment, Ending, Simulation};

#[test]
fn cut_at_its_submission_the_task_goes_no_further() {
    let mut sim = Simulation::new(1);
    durable_file(&mut sim, 1, 2);
    sim.cut_at_io(2, CutMoment::Submitted, CutKind::Kill);
    let reached = Rc::new(Cell::new(0));
    let at = Rc::clone(&reached);
    let process = boot(&mut sim, async move {
        let file = open("/f").await;
        write(&file, 0, 2).await;
        at.set(1);
        let block = filled(2, 1);
        let second = file.write(IoClass::Commit, BLOCK, &block);
        // The very poll that submits it is the last.
        let mut second = std::pin::pin!(second);
        std::future::poll_fn(|cx| {
            let polled = second.as_mut().poll(cx);
            at.set(2);
            polled.map(drop)
        })
        .await;
    });
    assert_eq!(sim.run_until_ended(process), Ending::Killed);
    assert_eq!(reached.get(), 1);
    sim.run_until_idle();
    assert_eq!(sim.read_file(Path::new("/f")).expect("readable")[0], 2);
}

#[test]
fn cut_at_its_completion_the_effect_is_there_and_nobody_is_told() {
    let mut sim = Simulation::new(1);
    durable_file(&mut sim, 1, 1);
    sim.cut_at_io(1, CutMoment::Completed, CutKind::Kill);
    let (told, is_told) = flag();
    let process = boot(&mut sim, async move {
        let file = open("/f").await;
        write(&file, 0, 2).await;
        told.set(true);
    });
    assert_eq!(sim.run_until_ended(process), Ending::Killed);
    assert_eq!(sim.read_file(Path::new("/f")).expect("readable")[0], 2);
    assert!(!is_told.get());
}

#[test]
fn a_durable_write_can_be_cut_between_its_write_and_its_sync() {
    let mut kept = [false; 2];
    for seed in 0..100 {
        let mut sim = Simulation::new(seed);
        durable_file(&mut sim, 1, 1);
        sim.cut_at_io(1, CutMoment::Completed, CutKind::PowerCut);
        let process = boot(&mut sim, async {
            let file = open("/f").await;
            let written = file.write_durable(IoClass::Commit, 0, &filled(2, 1)).await;
            unreachable!("cut before: {written:?}");
        });
        assert_eq!(sim.run_until_ended(process), Ending::PowerCut);
        assert_eq!(sim.io_counts().syncs, 0);
        if let Ok(bytes) = sim.read_file(Path::new("/f")) {
            kept[usize::from(bytes[0] == 2)] = true;
        }
    }
    assert_eq!(kept, [true; 2]);
}

/// A log of one byte a block. `acknowledged` counts what its caller was told is durable.
async fn append_all(acknowledged: Rc<Cell<u8>>) {
    let options = OpenOptions {
        create_new: true,
        write: true,
    };
    let file = match File::open(Path::new("/d/log"), options).await {
        Ok(file) => {
            dir::sync(Path::new("/d")).await.expect("synced");
            file
        }
        Err(_) => open("/d/log").await,
    };
    for byte in recovered(&file).await..10 {
        let block = filled(byte + 1, 1);
        let at = u64::from(byte) * BLOCK;
        file.write_durable(IoClass::Commit, at, &block)
            .await
            .expect("durable");
        acknowledged.set(byte + 1);
    }
}

/// How many whole blocks are there from the log's beginning, made durable before they count.
async fn recovered(file: &File) -> u8 {
    file.sync(IoClass::Maintenance).await.expect("synced");
    for byte in 0..10 {
        let read = file
            .read(IoClass::Maintenance, u64::from(byte) * BLOCK, 4096)
            .await;
        let is_whole =
            read.is_ok_and(|read| read.len() == 4096 && read.iter().all(|b| *b == byte + 1));
        if !is_whole {
            return byte;
        }
    }
    10
}

/// Runs the log with a cut at the `nth` operation, then counts what is left of what was
/// acknowledged. None if the log had come to its end before.
fn acknowledged_and_left(
    seed: u64,
    nth: u64,
    moment: CutMoment,
    kind: CutKind,
    lie: bool,
) -> Option<(u8, u8)> {
    let mut sim = Simulation::new(seed);
    sim.run(async {
        dir::create_all(Path::new("/d")).await.expect("made");
        dir::sync(Path::new("/")).await.expect("synced");
    });
    sim.faults().sync_is_a_lie(lie);
    sim.cut_at_io(nth, moment, kind);
    let acknowledged = Rc::new(Cell::new(0));
    let process = boot(&mut sim, append_all(Rc::clone(&acknowledged)));
    if sim.run_until_ended(process) == Ending::Returned {
        return None;
    }
    let left = sim.run(async {
        match File::open(
            Path::new("/d/log"),
            OpenOptions {
                create_new: false,
                write: true,
            },
        )
        .await
        {
            Ok(file) => recovered(&file).await,
            Err(_) => 0,
        }
    });
    Some((acknowledged.get(), left))
}

#[test]
fn a_log_that_waits_for_durable_writes_loses_nothing_acknowledged_wherever_it_is_cut() {
    for kind in [CutKind::PowerCut, CutKind::Kill] {
        for moment in [CutMoment::Submitted, CutMoment::Completed] {
            let cuts = Cell::new(0);
            for seed in 0..10 {
                for nth in 1.. {
                    let Some((acknowledged, left)) =
                        acknowledged_and_left(seed, nth, moment, kind, false)
                    else {
                        break;
                    };
                    cuts.set(cuts.get() + 1);
                    assert!(
                        left >= acknowledged,
                        "seed {seed}, operation {nth}, {moment:?}"
                    );
                    assert!(left <= acknowledged + 1, "no more than was in flight");
                }
            }
            assert!(cuts.get() > 200, "every operation had its turn");
        }
    }
}

#[test]
fn the_same_log_on_a_disk_that_lies_is_caught() {
    let lost = (0..20).any(|seed| {
        acknowledged_and_left(seed, 10, CutMoment::Submitted, CutKind::PowerCut, true)
            .is_some_and(|(acknowledged, left)| left < acknowledged)
    });
    assert!(lost);
}

#[test]
fn the_disk_persists_over_boots() {
    let mut sim = Simulation::new(3);
    let seen = Rc::new(RefCell::new(Vec::new()));
    for generation in 1..4_u8 {
        let to = Rc::clone(&seen);
        let process = boot(&mut sim, async move {
            let name = format!("/generation-{generation}");
            write(&create(&name).await, 0, generation).await;
            let names = dir::list(Path::new("/")).await.expect("listed");
            to.borrow_mut().push(names.len());
        });
        assert_eq!(sim.run_until_ended(process), Ending::Returned);
    }
    assert_eq!(*seen.borrow(), [1, 2, 3]);
}

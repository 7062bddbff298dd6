//! Snapshots of groups: a load reads one and what follows it, and never believes one that is wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::compacting::{COMMITTED_AT_ONCE, commit_all};
use super::groups::{ask, commit, committed, settled};
use super::harness::Machine;
use crate::metadata::OFFSETS_TOPIC;
use crate::{Broker, BrokerSettings};
use tailwater_group::{GroupError, Reply, Request};
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::sim::{CutKind, CutMoment, IoKind, Matching};
use tailwater_shards::sleep;

/// Groups of a history.
const GROUPS: usize = 5;

/// A machine with one coordinator, whose snapshots are due after so many bytes.
fn with_snapshots(seed: u64, shards: u16, bytes_min: u64) -> Machine {
    let mut machine = Machine::with_settings(seed, shards, settings(bytes_min));
    machine.create("t", 1, &[]);
    let ensured = machine.on(0, |broker| async move {
        broker.ensure_group_coordinators().await
    });
    ensured.unwrap();
    loaded(&mut machine, shards);
    machine
}

/// One coordinator, whose log is compacted as soon as can be.
fn settings(bytes_min: u64) -> BrokerSettings {
    let pairs = [
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.segment.bytes", "1048576"),
        ("log.cleaner.min.cleanable.ratio", "0.0"),
        ("log.cleaner.delete.retention.ms", "0"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut settings = BrokerSettings::from_pairs(&pairs.into()).unwrap();
    settings.groups.snapshot_bytes_min = bytes_min;
    settings
}

fn group(index: usize) -> String {
    format!("group-{index}")
}

/// What the load of the one coordinator has read: bytes of its snapshot, and of the log.
fn loaded(machine: &mut Machine, shards: u16) -> (u64, u64) {
    let found: Vec<_> = (0..shards)
        .map(|shard| {
            machine.on(shard, |broker| async move {
                let runtime = broker.inner.groups.find(0)?;
                while runtime.is_loading() {
                    sleep(Duration::from_millis(1)).await;
                }
                Some(runtime.loaded())
            })
        })
        .collect();
    found.into_iter().flatten().next().unwrap()
}

/// A commit so large that every few of them make a snapshot due.
fn large_commit(group: &str, offset: i64) -> Request {
    let mut request = commit(group, -1, "", offset);
    if let Request::Commit(commit) = &mut request {
        commit.offsets[0].metadata = Some("m".repeat(2_000).into());
    }
    request
}

/// Where the snapshot of the one coordinator is.
fn path(machine: &mut Machine) -> PathBuf {
    let topic = machine.on(0, |broker| async move {
        broker.image().topic(OFFSETS_TOPIC).unwrap().id
    });
    PathBuf::from(format!("/data/{topic}/0/snapshot"))
}

#[test]
fn a_load_after_a_hundred_thousand_commits_reads_little() {
    const COMMITS: i64 = 100_000;
    let mut machine = with_snapshots(1, 1, 1 << 20);
    machine.on(0, |broker| async move {
        for round in 0..COMMITS / 1_000 {
            let asks = (0..1_000).map(|at| {
                let group = group(at as usize % 100);
                let request = commit(&group, -1, "", round * 1_000 + at);
                (Arc::from(group), request)
            });
            for answer in broker.ask_groups(asks.collect()).await {
                assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
            }
        }
    });
    let written = machine.on(0, |broker| async move {
        let runtime = broker.inner.groups.find(0).unwrap();
        runtime.partition().log().bytes()
    });
    machine.restart_after_kill(1);
    let (snapshot, log) = loaded(&mut machine, 1);
    println!("{written} bytes of log; read {snapshot} of a snapshot and {log} of the log");
    assert!(written > 10 << 20, "{written}");
    assert!(snapshot > 0 && snapshot < 64 << 10, "{snapshot}");
    assert!(log < 2 << 20, "{log}");
    machine.on(0, |broker| async move {
        for at in 0..100 {
            let last = COMMITS - 100 + at as i64;
            assert_eq!(committed(&broker, &group(at)).await, last);
        }
    });
}

/// Commits to groups by turns until the machine ends; what was acknowledged last of each, and sent.
struct History {
    machine: Machine,
    acknowledged: Vec<i64>,
    sent: Vec<i64>,
    turn: usize,
}

impl History {
    fn new(seed: u64, shards: u16) -> Self {
        Self {
            machine: with_snapshots(seed, shards, 600),
            acknowledged: vec![-1; GROUPS],
            sent: vec![-1; GROUPS],
            turn: 0,
        }
    }

    /// Commits so many times, or until the process has ended.
    fn commit(&mut self, count: usize) {
        for _ in 0..count {
            self.turn = (self.turn + 1) % GROUPS;
            let index = self.turn;
            let offset = self.sent[index] + 1;
            self.sent[index] = offset;
            let name = group(index);
            let call = self.machine.begin(0, move |broker: Broker| async move {
                ask(&broker, &name, large_commit(&name, offset)).await
            });
            let Some(answer) = self.machine.finish_while_running(call) else {
                return;
            };
            match answer {
                Ok(reply) => {
                    assert_eq!(reply, Reply::Committed(vec![Ok(())]));
                    self.acknowledged[index] = offset;
                }
                Err(error) => assert_eq!(error, GroupError::CoordinatorNotAvailable),
            }
        }
    }

    /// What was acknowledged is there, and nothing that was never sent.
    fn check(&mut self) {
        for index in 0..GROUPS {
            let name = group(index);
            let found = self.machine.on(
                0,
                move |broker| async move { committed(&broker, &name).await },
            );
            let (least, most) = (self.acknowledged[index], self.sent[index]);
            assert!(
                (least..=most).contains(&found),
                "{}: {found} is committed, {least} was acknowledged, {most} sent",
                group(index)
            );
            // What is shown is durable.
            self.acknowledged[index] = found;
            self.sent[index] = found;
        }
    }
}

/// A history that is cut at some operation of the disk, and what it has read from a snapshot.
fn cut(seed: u64) -> u64 {
    let shards = 1 + (seed % 3) as u16;
    let mut history = History::new(seed, shards);
    history.commit(20);
    // A commit takes longer than all that a snapshot does, or some commits come while one is made.
    let slow = [Some(("/wal/", 20)), Some(("/snapshot", 2)), None];
    if let Some((path, ms)) = slow[seed as usize % 3] {
        let matching = Matching::kind(IoKind::Write).on(path);
        let faults = history.machine.sim.faults();
        faults.slow(matching, 1_000, Duration::from_millis(ms));
    }
    let moment = match seed % 2 {
        0 => CutMoment::Submitted,
        _ => CutMoment::Completed,
    };
    let kind = match seed / 2 % 2 {
        0 => CutKind::PowerCut,
        _ => CutKind::Kill,
    };
    history.machine.sim.cut_at_io(1 + seed / 4, moment, kind);
    history.commit(100);
    if history.machine.is_running() {
        history.machine.sim.power_cut();
    }
    history.machine.sim.faults().clear();
    let mut read = 0;
    for shards in [1 + (seed / 3 % 3) as u16, shards] {
        history.machine.start(shards);
        read += loaded(&mut history.machine, shards).0;
        history.check();
        history.commit(1 + seed as usize % 20);
        history.machine.sim.power_cut();
    }
    history.machine.start(2);
    history.check();
    read
}

#[test]
fn cut_at_any_operation_of_the_disk_nothing_acknowledged_is_lost() {
    let read: Vec<u64> = (0..160).map(cut).collect();
    let with_snapshot = read.iter().filter(|read| **read > 0).count();
    assert!(with_snapshot > 100, "only {with_snapshot} read a snapshot");
}

#[test]
fn a_snapshot_that_is_damaged_or_of_another_log_is_left_aside() {
    let mut machine = {
        let mut history = History::new(3, 1);
        history.commit(150);
        history.machine
    };
    let path = path(&mut machine);
    machine.restart_after_kill(1);
    assert!(loaded(&mut machine, 1).0 > 0);
    let size = machine.sim.read_file(&path).unwrap().len() as u64;
    // A bit of its header, of a piece's header, and of a piece.
    for at in [9, 40, 4096 + 3, 4096 + 12, 4096 + 100] {
        assert!(at < size);
        let faults = machine.sim.faults();
        faults.corrupt(&path, at, 4).unwrap();
        machine.restart_after_kill(1);
        let (snapshot, log) = loaded(&mut machine, 1);
        assert!(snapshot == 0 && log > 0, "bit at {at}: {snapshot}, {log}");
        machine.on(0, |broker| async move {
            assert_eq!(committed(&broker, &group(1)).await, 29);
        });
        faults.corrupt(&path, at, 4).unwrap();
    }
    let faults = machine.sim.faults();
    faults.unreadable(Path::new(&path), 4096).unwrap();
    machine.restart_after_kill(1);
    assert_eq!(loaded(&mut machine, 1).0, 0);
}

#[test]
fn what_compaction_has_removed_does_not_come_back_with_an_old_snapshot() {
    let mut machine = with_snapshots(8, 1, 1);
    machine.create("u", COMMITTED_AT_ONCE, &[]);
    machine.on(0, |broker| async move {
        let answer = ask(&broker, "old", commit("old", -1, "", 7)).await;
        assert_eq!(answer, Ok(Reply::Committed(vec![Ok(())])));
    });
    machine.sim.run_for(Duration::from_secs(1));
    machine.set_settings(settings(1 << 40));
    machine.restart_after_kill(1);
    assert!(loaded(&mut machine, 1).0 > 0);
    machine.on(0, |broker| async move {
        let deleted = ask(&broker, "old", Request::Delete("old".into())).await;
        assert_eq!(deleted, Ok(Reply::Deleted(Ok(()))));
    });
    for round in 0..3 {
        machine.on(0, move |broker| async move {
            for offset in 0..10 {
                let request = commit_all(10 * round + offset);
                ask(&broker, "g", request).await.unwrap();
            }
        });
        machine.sim.run_for(Duration::from_secs(60));
    }
    machine.restart_after_kill(1);
    let (snapshot, log) = loaded(&mut machine, 1);
    assert!(snapshot == 0 && log > 0, "{snapshot}, {log}");
    machine.on(0, |broker| async move {
        assert_eq!(committed(&broker, "old").await, -1);
        assert_eq!(committed(&broker, "g").await, 29);
    });
}

#[test]
fn a_snapshot_has_groups_with_members_too() {
    let mut machine = with_snapshots(5, 2, 600);
    for round in 0..10 {
        machine.on(round % 2, move |broker| async move {
            settled(&broker, &format!("g{round}"), i64::from(round)).await;
        });
    }
    machine.restart_after_power_cut(1);
    assert!(loaded(&mut machine, 1).0 > 0);
    machine.on(0, |broker| async move {
        for round in 0..10_i64 {
            assert_eq!(committed(&broker, &format!("g{round}")).await, round);
        }
        let listed = broker.list_groups(Default::default()).await.unwrap();
        assert!(listed.iter().all(|group| group.state == "Stable"));
    });
}

#[test]
fn mistakes_in_snapshots_are_caught() {
    for bug in [Planted::SnapshotSkipsRecords, Planted::SnapshotAheadOfLog] {
        planted::set(Some(bug));
        let caught = (0..160).find(|seed| {
            let ran = catch_unwind(AssertUnwindSafe(|| cut(*seed)));
            ran.is_err()
        });
        planted::set(None);
        assert!(caught.is_some(), "{bug:?} was not caught");
        println!("{bug:?}: seed {caught:?}");
    }
}

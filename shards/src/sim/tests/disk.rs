use std::io;
use std::path::Path;
use std::time::Duration;

use super::{BLOCK, boot, create, durable_file, filled, open, sync, write};
use crate::file::{File, OpenOptions};
use crate::io_class::IoClass;
use crate::sim::{EIO, ENOSPC, Ending, IoKind, Matching, Simulation};
use crate::{dir, now, spawn};

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

#[test]
fn what_is_written_is_read_and_short_only_at_the_end() {
    Simulation::new(1).run(async {
        let file = create("/f").await;
        write(&file, 2, 7).await;
        assert_eq!(file.size().await.expect("open"), 3 * BLOCK);
        let read = file
            .read(IoClass::ColdRead, 0, 8 * 4096)
            .await
            .expect("read");
        assert_eq!(read.len(), 3 * 4096);
        assert!(read[..2 * 4096].iter().all(|byte| *byte == 0), "a hole");
        assert!(read[2 * 4096..].iter().all(|byte| *byte == 7));
        assert!(
            file.read(IoClass::ColdRead, 4 * BLOCK, 4096)
                .await
                .expect("read")
                .is_empty()
        );
    });
}

#[test]
fn unaligned_operations_are_refused_as_by_direct_io() {
    use crate::sim::disk::Op;
    Simulation::new(1).run(async {
        drop(create("/f").await);
        let shard = crate::sim::engine::Shard::current();
        for (pos, len) in [(1, 4096), (0, 4095), (512, 512), (0, 0)] {
            let data = bytes::Bytes::from(vec![0; len]);
            let op = Op::Write {
                fd: 3,
                pos,
                data,
                then_sync: false,
            };
            assert_eq!(
                errno(shard.submit(op).await),
                Some(22),
                "{len} bytes at {pos}"
            );
        }
        assert_eq!(
            errno(
                shard
                    .submit(Op::Read {
                        fd: 3,
                        pos: 1,
                        len: 4096
                    })
                    .await
            ),
            Some(22)
        );
    });
}

#[test]
fn a_truncated_tail_reads_as_zeros_when_the_file_grows_again() {
    Simulation::new(1).run(async {
        let file = create("/f").await;
        file.write(IoClass::Commit, 0, &filled(9, 2))
            .await
            .expect("written");
        file.truncate(100).await.expect("truncated");
        file.truncate(2 * BLOCK).await.expect("extended");
        let read = file.read(IoClass::ColdRead, 0, 8192).await.expect("read");
        assert!(read[..100].iter().all(|byte| *byte == 9));
        assert!(read[100..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn names_follow_the_rules_of_posix() {
    Simulation::new(1).run(async {
        let path = Path::new;
        dir::create_all(path("/a/b/c")).await.expect("made");
        dir::create_all(path("/a/b")).await.expect("there already");
        drop(create("/a/x").await);
        let options = OpenOptions {
            create_new: true,
            write: true,
        };
        let again = File::open(path("/a/x"), options).await;
        assert_eq!(
            again.expect_err("taken").kind(),
            io::ErrorKind::AlreadyExists
        );
        let missing = File::open(path("/a/y"), OpenOptions::default()).await;
        assert_eq!(
            missing.expect_err("not there").kind(),
            io::ErrorKind::NotFound
        );
        let no_dir = dir::rename(path("/a/x"), path("/z/x")).await;
        assert_eq!(
            no_dir.expect_err("no such directory").kind(),
            io::ErrorKind::NotFound
        );
        let over_dir = dir::rename(path("/a/x"), path("/a/b")).await;
        assert_eq!(
            over_dir.expect_err("a directory").kind(),
            io::ErrorKind::IsADirectory
        );
        dir::rename(path("/a/x"), path("/a/b/x"))
            .await
            .expect("renamed");
        let names = dir::list(path("/a/b")).await.expect("listed");
        let names: Vec<_> = names
            .into_iter()
            .map(|entry| (entry.name, entry.is_dir))
            .collect();
        assert_eq!(names, [("c".to_owned(), true), ("x".to_owned(), false)]);
        let full = dir::remove_dir(path("/a/b")).await.expect_err("not empty");
        assert_eq!(full.kind(), io::ErrorKind::DirectoryNotEmpty);
        dir::remove_dir(path("/a/b/c")).await.expect("removed");
        assert!(!dir::exists(path("/a/b/c")).await.expect("asked"));
        dir::remove_dir_all(path("/a")).await.expect("removed");
        assert!(!dir::exists(path("/a")).await.expect("asked"));
    });
}

#[test]
fn a_removed_file_lives_until_it_is_closed_and_then_gives_its_space_back() {
    let mut sim = Simulation::new(1);
    sim.run(async {
        let file = create("/f").await;
        write(&file, 0, 5).await;
        let before = dir::free_bytes(Path::new("/")).await.expect("asked").0;
        dir::remove_file(Path::new("/f")).await.expect("removed");
        assert_eq!(
            file.read(IoClass::ColdRead, 0, 4096).await.expect("read")[0],
            5
        );
        assert_eq!(
            dir::free_bytes(Path::new("/")).await.expect("asked").0,
            before
        );
        file.close().await;
        assert_eq!(
            dir::free_bytes(Path::new("/")).await.expect("asked").0,
            before + BLOCK
        );
    });
    assert_eq!(sim.disk_used_bytes(), 0);
}

#[test]
fn a_full_disk_refuses_new_blocks_and_takes_overwrites() {
    let mut sim = Simulation::new(1);
    sim.faults().disk_bytes(4 * BLOCK);
    sim.run(async {
        let file = create("/f").await;
        file.preallocate(2 * BLOCK).await.expect("there is space");
        assert_eq!(
            file.size().await.expect("open"),
            0,
            "preallocation leaves the length"
        );
        write(&file, 0, 1).await;
        let full = file.write(IoClass::Commit, BLOCK, &filled(1, 4)).await;
        assert_eq!(errno(full), Some(ENOSPC));
        file.write(IoClass::Commit, BLOCK, &filled(1, 3))
            .await
            .expect("just fits");
        assert_eq!(
            dir::free_bytes(Path::new("/f")).await.expect("asked"),
            (0, 4 * BLOCK)
        );
        write(&file, 3, 2).await;
        assert_eq!(
            errno(file.write(IoClass::Commit, 4 * BLOCK, &filled(1, 1)).await),
            Some(ENOSPC)
        );
        file.truncate(BLOCK).await.expect("truncated");
        assert_eq!(
            dir::free_bytes(Path::new("/f")).await.expect("asked").0,
            3 * BLOCK
        );
    });
}

#[test]
fn the_nth_matching_operation_fails_and_no_other() {
    let mut sim = Simulation::new(1);
    sim.faults()
        .fail(Matching::kind(IoKind::Write).on("wal"), 1, EIO);
    sim.run(async {
        let other = create("/other").await;
        let wal = create("/wal-0").await;
        for block in 0..4 {
            write(&other, block, 1).await;
            let written = wal
                .write(IoClass::Commit, block * BLOCK, &filled(1, 1))
                .await;
            assert_eq!(errno(written), (block == 1).then_some(EIO));
        }
    });
}

#[test]
fn slowed_operations_take_longer() {
    let mut sim = Simulation::new(1);
    sim.faults()
        .slow(Matching::kind(IoKind::Sync), 1, Duration::from_secs(2));
    sim.run(async {
        let file = create("/f").await;
        let begin = now();
        sync(&file).await;
        assert!(now() - begin >= Duration::from_secs(2));
        let begin = now();
        sync(&file).await;
        assert!(now() - begin < Duration::from_secs(1));
    });
}

#[test]
fn flipped_bits_and_unreadable_blocks_are_seen_until_they_are_written_again() {
    let mut sim = Simulation::new(1);
    durable_file(&mut sim, 0b0000_1111, 2);
    sim.faults()
        .corrupt(Path::new("/f"), 4097, 0b1000_0001)
        .expect("within the file");
    sim.faults().unreadable(Path::new("/f"), 0).expect("there");
    assert!(sim.faults().corrupt(Path::new("/f"), 2 * BLOCK, 1).is_err());
    assert!(sim.faults().corrupt(Path::new("/g"), 0, 1).is_err());
    sim.power_cut();
    sim.run(async {
        let file = open("/f").await;
        assert_eq!(
            errno(file.read(IoClass::ColdRead, 0, 8192).await),
            Some(EIO)
        );
        let second = file
            .read(IoClass::ColdRead, BLOCK, 4096)
            .await
            .expect("readable");
        assert_eq!(second[..3], [0b0000_1111, 0b1000_1110, 0b0000_1111]);
        write(&file, 0, 1).await;
        assert!(file.read(IoClass::ColdRead, 0, 8192).await.is_ok());
    });
}

#[test]
fn a_lock_is_held_by_one_descriptor_until_it_is_closed() {
    Simulation::new(1).run(async {
        let first = create("/lock").await;
        let second = open("/lock").await;
        assert!(first.try_lock().expect("open"));
        assert!(
            first.try_lock().expect("open"),
            "asking again changes nothing"
        );
        assert!(!second.try_lock().expect("open"));
        first.close().await;
        assert!(second.try_lock().expect("open"));
    });
}

#[test]
fn two_processes_share_the_disk_and_its_locks() {
    let mut sim = Simulation::new(1);
    let first = boot(&mut sim, async {
        let file = create("/lock").await;
        assert!(file.try_lock().expect("open"));
        std::future::pending().await
    });
    sim.run_until_idle();
    let second = boot(&mut sim, async {
        assert!(!open("/lock").await.try_lock().expect("open"));
    });
    assert_eq!(sim.run_until_ended(second), Ending::Returned);
    assert!(sim.is_running(first));
}

#[test]
fn a_dropped_open_leaves_no_descriptor_and_no_lock() {
    let mut sim = Simulation::new(1);
    sim.run(async {
        drop(create("/lock").await);
        let opening = spawn("opening", async { open("/lock").await });
        crate::yield_now().await;
        drop(opening);
    });
    sim.run_until_idle();
    assert!(sim.run(async { open("/lock").await.try_lock().expect("open") }));
}

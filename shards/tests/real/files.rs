//! Files and directories.

use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;

use tailwater_shards::{self as shards, DmaBuf, File, IoClass, OpenOptions, dir};

use super::support::{filled, on_shards_with_files, scratch};

const CREATE: OpenOptions = OpenOptions {
    create_new: true,
    write: true,
};
const WRITE: OpenOptions = OpenOptions {
    create_new: false,
    write: true,
};
const READ: OpenOptions = OpenOptions {
    create_new: false,
    write: false,
};

/// Runs `main` on one shard, with a scratch directory.
fn with_dir<F, Fut>(main: F)
where
    F: Fn(std::path::PathBuf) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let scratch = scratch();
    let path = scratch.path().to_owned();
    on_shards_with_files(1, scratch.path(), move |_| main(path.clone())).unwrap();
}

async fn create(dir: &Path, name: &str) -> File {
    File::open(&dir.join(name), CREATE).await.unwrap()
}

#[test]
fn what_was_written_is_read_back_and_counted_by_class() {
    with_dir(|path| async move {
        let file = create(&path, "log").await;
        let first = filled(64 << 10, 1).freeze();
        let second = filled(4096, 2).freeze();
        file.write_durable(IoClass::Commit, 0, &first)
            .await
            .unwrap();
        file.write(IoClass::WriteBehind, 64 << 10, &second)
            .await
            .unwrap();
        file.sync(IoClass::WriteBehind).await.unwrap();

        let read = file.read(IoClass::ColdRead, 0, 64 << 10).await.unwrap();
        assert_eq!(read, first.bytes());
        let read = file.read(IoClass::TailRead, 64 << 10, 4096).await.unwrap();
        assert_eq!(read, second.bytes());
        assert_eq!(file.size().await.unwrap(), (64 << 10) + 4096);

        let stats = shards::io_stats();
        let commit = stats.class(IoClass::Commit);
        assert_eq!(
            (commit.writes, commit.syncs, commit.bytes_written),
            (1, 1, 65536)
        );
        let behind = stats.class(IoClass::WriteBehind);
        assert_eq!(
            (behind.writes, behind.syncs, behind.bytes_written),
            (1, 1, 4096)
        );
        assert_eq!(stats.class(IoClass::ColdRead).bytes_read, 65536);
        assert_eq!(stats.total().reads, 2);
        file.close().await;
    });
}

#[test]
fn a_read_is_short_only_at_the_end_of_the_file() {
    with_dir(|path| async move {
        let file = create(&path, "log").await;
        let buf = filled(12288, 3).freeze();
        file.write(IoClass::Commit, 0, &buf).await.unwrap();
        file.truncate(9000).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 9000);
        let read = file.read(IoClass::ColdRead, 4096, 1 << 20).await.unwrap();
        assert_eq!(read[..], buf[4096..9000]);
        let beyond = file.read(IoClass::ColdRead, 12288, 4096).await.unwrap();
        assert!(beyond.is_empty());
        // At a block's end too.
        file.truncate(8192).await.unwrap();
        let read = file.read(IoClass::ColdRead, 0, 1 << 20).await.unwrap();
        assert_eq!(read[..], buf[..8192]);
    });
}

#[test]
fn many_writes_at_once_all_land_and_share_the_limits() {
    with_dir(|path| async move {
        let file = create(&path, "log").await;
        let tasks: Vec<_> = (0..64u64)
            .map(|index| {
                let file = file.clone();
                shards::spawn("writer", async move {
                    let buf = filled(8192, index as u8).freeze();
                    file.write(IoClass::Maintenance, index * 8192, &buf).await
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let whole = file.read(IoClass::ColdRead, 0, 64 * 8192).await.unwrap();
        for (index, part) in whole.chunks(8192).enumerate() {
            assert_eq!(*part, filled(8192, index as u8)[..]);
        }
    });
}

#[test]
fn opening_says_what_is_there_and_what_is_not() {
    with_dir(|path| async move {
        let name = path.join("file");
        let missing = File::open(&name, WRITE).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        drop(File::open(&name, CREATE).await.unwrap());
        let there = File::open(&name, CREATE).await.unwrap_err();
        assert_eq!(there.kind(), ErrorKind::AlreadyExists);
        let reader = File::open(&name, READ).await.unwrap();
        let buf = DmaBuf::zeroed(4096).freeze();
        assert!(reader.write(IoClass::Commit, 0, &buf).await.is_err());
        assert!(
            reader
                .read(IoClass::Commit, 0, 4096)
                .await
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn a_lock_holds_until_its_descriptor_is_closed() {
    with_dir(|path| async move {
        let first = create(&path, "lock").await;
        assert!(first.try_lock().unwrap());
        let second = File::open(&path.join("lock"), WRITE).await.unwrap();
        assert!(!second.try_lock().unwrap());
        // Truncation goes through a copy of the descriptor, which must not keep the lock.
        first.truncate(4096).await.unwrap();
        let clone = first.clone();
        first.close().await;
        assert!(!second.try_lock().unwrap());
        clone.close().await;
        assert!(second.try_lock().unwrap());
    });
}

#[test]
fn preallocated_space_does_not_change_the_size() {
    with_dir(|path| async move {
        let file = create(&path, "segment").await;
        file.preallocate(1 << 20).await.unwrap();
        assert_eq!(file.size().await.unwrap(), 0);
        let meta = std::fs::metadata(path.join("segment")).unwrap();
        assert!(std::os::unix::fs::MetadataExt::blocks(&meta) * 512 >= 1 << 20);
    });
}

#[test]
fn the_size_follows_the_file_through_a_rename() {
    with_dir(|path| async move {
        let file = create(&path, "old").await;
        let buf = filled(4096, 1).freeze();
        file.write(IoClass::Maintenance, 0, &buf).await.unwrap();
        dir::rename(&path.join("old"), &path.join("new"))
            .await
            .unwrap();
        dir::sync(&path).await.unwrap();
        drop(create(&path, "old").await);
        assert_eq!(file.size().await.unwrap(), 4096);
    });
}

#[test]
fn directories_are_made_listed_and_removed() {
    with_dir(|path| async move {
        let deep = path.join("a/b");
        dir::create_all(&deep).await.unwrap();
        dir::create_all(&deep).await.unwrap();
        drop(create(&path.join("a"), "z").await);
        drop(create(&path.join("a"), "c").await);
        let names: Vec<_> = dir::list(&path.join("a"))
            .await
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name, entry.is_dir))
            .collect();
        let expected = [("b", true), ("c", false), ("z", false)];
        assert_eq!(
            names,
            expected.map(|(name, is_dir)| (name.to_owned(), is_dir))
        );
        dir::remove_file(&path.join("a/c")).await.unwrap();
        assert!(!dir::exists(&path.join("a/c")).await.unwrap());
        let full = dir::remove_dir(&path.join("a")).await.unwrap_err();
        assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
        dir::create_all(&path.join("a/e")).await.unwrap();
        dir::remove_dir(&path.join("a/e")).await.unwrap();
        assert!(!dir::exists(&path.join("a/e")).await.unwrap());
        dir::remove_dir_all(&path.join("a")).await.unwrap();
        assert!(!dir::exists(&path.join("a")).await.unwrap());
        let gone = dir::list(&path.join("a")).await.unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
        let (free, total) = dir::free_bytes(&path).await.unwrap();
        assert!(free > 0 && free <= total);
    });
}

#[test]
fn a_directory_call_that_is_given_up_is_done_when_its_shard_has_ended() {
    let scratch = scratch();
    let doomed = scratch.path().join("doomed");
    std::fs::create_dir(&doomed).unwrap();
    for number in 0..400 {
        std::fs::write(doomed.join(number.to_string()), b"").unwrap();
    }
    let path = doomed.clone();
    on_shards_with_files(1, scratch.path(), move |_| {
        let path = path.clone();
        async move {
            let removed = shards::timeout(std::time::Duration::ZERO, dir::remove_dir_all(&path));
            assert!(removed.await.is_err(), "it takes longer than no time");
        }
    })
    .unwrap();
    // Its thread would have nobody to answer to, and panic.
    assert!(!doomed.exists());
}

//! Buffers that end their life on another shard than they began on.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tailwater_shards::{self as shards, DmaBuf, File, IoClass, OpenOptions, ShardId, Shutdown};

use super::support::{filled, on_shards, on_shards_with_files, scratch};

const CREATE: OpenOptions = OpenOptions {
    create_new: true,
    write: true,
};

/// A channel to the other shard. The test blocks it while it waits.
fn pipe<T>() -> (Sender<T>, Arc<Mutex<Receiver<T>>>) {
    let (sender, receiver) = channel();
    (sender, Arc::new(Mutex::new(receiver)))
}

#[test]
fn buffers_written_and_read_are_dropped_on_another_shard() {
    const ROUNDS: u64 = 200;
    let scratch = scratch();
    let path = scratch.path().join("log");
    let (sender, receiver) = pipe::<Bytes>();
    on_shards_with_files(2, scratch.path(), move |id| {
        let (path, sender, receiver) = (path.clone(), sender.clone(), Arc::clone(&receiver));
        async move {
            if id == ShardId(1) {
                drop(sender);
                let mut bytes = 0;
                for _ in 0..2 * ROUNDS {
                    bytes += receiver.lock().unwrap().recv().unwrap().len();
                }
                assert_eq!(bytes, 2 * ROUNDS as usize * 32768);
                return;
            }
            let file = File::open(&path, CREATE).await.unwrap();
            for round in 0..ROUNDS {
                let buf = filled(32768, round as u8).freeze();
                let sent = buf.bytes();
                file.write(IoClass::Commit, 0, &buf).await.unwrap();
                drop(buf);
                let read = file.read(IoClass::TailRead, 0, 32768).await.unwrap();
                assert_eq!(read, sent);
                sender.send(sent).unwrap();
                sender.send(read).unwrap();
            }
            // More than wakes the shard to free them; and then it frees the rest.
            shards::sleep(std::time::Duration::from_millis(1)).await;
            file.close().await;
        }
    })
    .unwrap();
}

#[test]
fn a_write_that_nobody_waits_for_keeps_its_buffer() {
    let scratch = scratch();
    let path = scratch.path().join("log");
    let (sender, receiver) = pipe::<Bytes>();
    on_shards_with_files(2, scratch.path(), move |id| {
        let (path, sender, receiver) = (path.clone(), sender.clone(), Arc::clone(&receiver));
        async move {
            if id == ShardId(1) {
                for _ in 0..100 {
                    drop(receiver.lock().unwrap().recv().unwrap());
                }
                return;
            }
            let file = File::open(&path, CREATE).await.unwrap();
            for round in 0..100u64 {
                let buf = filled(65536, round as u8).freeze();
                let last = buf.bytes();
                let mut write = Box::pin(file.write(IoClass::Commit, round * 65536, &buf));
                // In the ring, and then dropped: the other shard has the last reference.
                let polled = futures_util::poll!(&mut write);
                assert!(polled.is_pending());
                shards::yield_now().await;
                drop(write);
                drop(buf);
                sender.send(last).unwrap();
                shards::yield_now().await;
            }
            file.sync(IoClass::Commit).await.unwrap();
        }
    })
    .unwrap();
}

#[test]
fn bytes_may_outlive_the_shards() {
    let (sender, receiver) = channel();
    on_shards(1, move |_| {
        let sender = sender.clone();
        async move {
            sender.send(filled(4096, 9).freeze().bytes()).unwrap();
        }
    })
    .unwrap();
    let bytes = receiver.recv().unwrap();
    assert_eq!(bytes[..], filled(4096, 9)[..]);
}

#[test]
fn a_buffer_comes_back_to_be_filled_again_only_to_its_sole_owner() {
    let done = Shutdown::new();
    let (sender, receiver) = pipe();
    on_shards(2, move |id| {
        let (done, sender, receiver) = (done.clone(), sender.clone(), Arc::clone(&receiver));
        async move {
            if id == ShardId(1) {
                let foreign: shards::SharedBuf = receiver.lock().unwrap().recv().unwrap();
                assert!(foreign.try_unfreeze().is_err());
                done.trigger();
                return;
            }
            let buf = DmaBuf::zeroed(8192).freeze();
            let bytes = buf.bytes();
            assert_eq!(buf.strong_refs(), 2);
            let buf = buf.try_unfreeze().unwrap_err();
            drop(bytes);
            let mut again = buf.try_unfreeze().unwrap();
            again[0] = 7;
            sender.send(again.freeze()).unwrap();
            done.triggered().await;
        }
    })
    .unwrap();
}

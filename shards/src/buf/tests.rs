//! Where a buffer's memory is freed. What buffers are for is tested with files.

use std::rc::{Rc, Weak};
use std::thread;

use glommio::io::DmaBuffer;

use super::{DmaBuf, Pack, SharedBuf, allocation_of};
use crate::engine::current_home;
use crate::{RunConfig, run, usable_cpus};

/// Runs `test` on a shard.
fn on_a_shard(test: fn()) {
    let cpus = usable_cpus().unwrap();
    let running = run(RunConfig::new(cpus[..1].to_vec()), move |_| async move {
        test();
    });
    running.unwrap().join().unwrap();
}

fn watch(buf: &SharedBuf) -> Weak<DmaBuffer> {
    Rc::downgrade(buf.inner.buffer.as_ref().unwrap())
}

#[test]
fn what_is_dropped_elsewhere_is_freed_at_home_and_not_before() {
    on_a_shard(|| {
        let buf = DmaBuf::zeroed(8192).freeze();
        let watched = watch(&buf);
        let bytes = buf.bytes().slice(5..10);
        drop(buf);
        thread::spawn(move || drop(bytes)).join().unwrap();
        assert_eq!(watched.strong_count(), 1);
        current_home().unwrap().free();
        assert_eq!(watched.strong_count(), 0);
    });
}

#[test]
fn what_is_dropped_at_home_is_freed_at_once() {
    on_a_shard(|| {
        let buf = DmaBuf::zeroed(8192).freeze();
        let watched = watch(&buf);
        drop(buf);
        assert_eq!(watched.strong_count(), 0);
    });
}

#[test]
fn what_comes_home_after_the_end_is_left_alone() {
    on_a_shard(|| {
        let buf = DmaBuf::zeroed(8192).freeze();
        let watched = watch(&buf);
        current_home().unwrap().close();
        thread::spawn(move || drop(buf)).join().unwrap();
        assert_eq!(watched.strong_count(), 1);
    });
}

#[test]
fn a_buffer_of_no_shard_is_freed_anywhere_and_never_written() {
    let buf = DmaBuf::zeroed(4096).freeze();
    let other = buf.clone();
    let refused = thread::spawn(move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| other.write_source())).is_err()
    });
    assert!(refused.join().unwrap());
    let mut again = buf.try_unfreeze().unwrap();
    again.fill(1);
    let buf = again.freeze();
    assert_eq!((buf.len(), buf[4095]), (4096, 1));
}

#[test]
fn a_slice_tells_the_memory_that_it_keeps_as_long_as_that_lives() {
    on_a_shard(|| {
        let (first, second) = (DmaBuf::zeroed(8192).freeze(), DmaBuf::zeroed(4096).freeze());
        let of = |buf: &SharedBuf| Some((buf.as_ptr().addr(), buf.len()));
        let slice = first.bytes().slice(8000..8100);
        assert_eq!(allocation_of(&slice), of(&first));
        assert_eq!(allocation_of(&second), of(&second));
        assert_eq!(allocation_of(&[1, 2, 3]), None);
        let at = of(&second).unwrap().0;
        let second = second.try_unfreeze().unwrap();
        assert_eq!((allocation_of(&second), second.as_ptr().addr()), (None, at));
        let (address, kept) = (first.as_ptr(), slice);
        drop(first);
        assert!(allocation_of(&kept).is_some(), "a slice is left");
        thread::spawn(move || drop(kept)).join().unwrap();
        current_home().unwrap().free();
        // Looked up by its address alone: the memory is gone.
        assert!(!current_home().unwrap().is_lent(address.addr()));
    });
}

#[test]
fn parts_of_a_pack_are_copies_that_never_move_and_tell_of_their_chunk_until_the_last_is_gone() {
    on_a_shard(|| {
        let mut pack = Pack::new(1000);
        let mut parts = Vec::new();
        let mut firsts = 0;
        for number in 0..100u8 {
            let source = vec![number; 1 + usize::from(number) % 250];
            let packed = pack.put(&source);
            firsts += usize::from(packed.is_first);
            assert_eq!(
                packed.is_first,
                number == 0 || packed.bytes.len() > 1000 - used(&parts)
            );
            if packed.is_first {
                parts.push(Vec::new());
            }
            parts.last_mut().unwrap().push((source, packed.bytes));
        }
        assert_eq!(firsts, parts.len());
        for chunk in &parts {
            let of = allocation_of(&chunk[0].1).unwrap();
            assert_eq!(of, (chunk[0].1.as_ptr().addr(), 1000));
            for (source, bytes) in chunk {
                assert_eq!((&bytes[..], allocation_of(bytes)), (&source[..], Some(of)));
            }
        }
        // The last chunk is the pack's until it begins another.
        drop(pack);
        let addresses: Vec<_> = parts
            .iter()
            .map(|chunk| chunk[0].1.as_ptr().addr())
            .collect();
        let home = current_home().unwrap();
        thread::spawn(move || drop(parts)).join().unwrap();
        assert!(addresses.iter().all(|address| !home.is_lent(*address)));
    });
}

/// Bytes in the chunk that was begun last.
fn used(chunks: &[Vec<(Vec<u8>, bytes::Bytes)>]) -> usize {
    let last = chunks.last().into_iter().flatten();
    last.map(|(_, bytes)| bytes.len()).sum()
}

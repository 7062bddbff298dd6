//! An allocator that keeps freed buffers of a commit's size for the next one.
//!
//! A commit, a write to a segment and a large frame each want a buffer of some hundred KiB. glibc maps
//! such memory anew each time, and the kernel clears it page by page while it is filled: a third of
//! a shard's time when batches are large. So each shard's thread keeps some of what was freed on it.
//!
//! Invariants:
//! - what is kept was allocated by the C library's allocator, aligned to a page, and belongs to the
//!   thread that keeps it alone;
//! - a thread keeps [`KEPT_BYTES`] and [`KEPT_COUNT`] at most. At the bound the oldest is given back;
//! - a kept block serves an allocation at most an eighth smaller than it: what a cache counts is what
//!   it weighs, but for an eighth.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;

/// What is kept when it is freed: as much and more is mapped anew by the C library each time.
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = 128 << 10..=2 << 20;
const KEPT_BYTES: usize = 5 << 20;
const KEPT_COUNT: usize = 32;
const PAGE_BYTES: usize = 4096;

/// The program's allocator, to be declared `#[global_allocator]`: the system's, but for buffers on the
/// threads of shards.
#[derive(Debug, Default, Clone, Copy)]
pub struct Recycling;

/// One thread's, the oldest first.
struct Kept {
    is_on: bool,
    bytes: usize,
    count: usize,
    blocks: [*mut u8; KEPT_COUNT],
}

thread_local! {
    // Without a destructor, so that it may be used while a thread ends.
    static KEPT: UnsafeCell<Kept> = const {
        UnsafeCell::new(Kept {
            is_on: false,
            bytes: 0,
            count: 0,
            blocks: [ptr::null_mut(); KEPT_COUNT],
        })
    };
}

/// Has this thread keep buffers from now on, until the guard is dropped, which gives them back.
pub(crate) fn keep_buffers() -> KeepsBuffers {
    with_kept(|kept| kept.is_on = true);
    KeepsBuffers(())
}

pub(crate) struct KeepsBuffers(());

impl Drop for KeepsBuffers {
    fn drop(&mut self) {
        with_kept(|kept| {
            kept.is_on = false;
            while kept.count > 0 {
                kept.give_back_oldest();
            }
        });
    }
}

fn with_kept<T>(work: impl FnOnce(&mut Kept) -> T) -> T {
    // SAFETY: of this thread alone; nothing that `work` does in this file allocates, so no second
    // reference exists meanwhile.
    KEPT.with(|kept| work(unsafe { &mut *kept.get() }))
}

/// What a block of the C library's allocator holds.
fn usable(block: *mut u8) -> usize {
    // SAFETY: `block` came from that allocator and is not freed.
    unsafe { libc::malloc_usable_size(block.cast::<c_void>()) }
}

impl Kept {
    /// The smallest block that holds `bytes` and is not much larger.
    fn take(&mut self, bytes: usize) -> Option<*mut u8> {
        let mut best: Option<(usize, usize)> = None;
        for (at, &block) in self.blocks[..self.count].iter().enumerate() {
            let holds = usable(block);
            if (bytes..=bytes + bytes / 8 + PAGE_BYTES).contains(&holds)
                && best.is_none_or(|(_, least)| holds < least)
            {
                best = Some((at, holds));
            }
        }
        let (at, holds) = best?;
        self.bytes -= holds;
        Some(self.remove(at))
    }

    /// Takes a block that was freed; false if it is to be given back instead.
    fn put(&mut self, block: *mut u8) -> bool {
        if !self.is_on || !block.addr().is_multiple_of(PAGE_BYTES) {
            return false;
        }
        let holds = usable(block);
        while self.count == KEPT_COUNT || (self.count > 0 && self.bytes + holds > KEPT_BYTES) {
            self.give_back_oldest();
        }
        self.blocks[self.count] = block;
        self.count += 1;
        self.bytes += holds;
        true
    }

    fn give_back_oldest(&mut self) {
        self.bytes -= usable(self.blocks[0]);
        let block = self.remove(0);
        // SAFETY: it came from the C library's allocator, and nobody has it any more.
        unsafe { libc::free(block.cast::<c_void>()) };
    }

    fn remove(&mut self, at: usize) -> *mut u8 {
        let block = self.blocks[at];
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        block
    }
}

/// Where [`Recycling`] does more than the system's allocator.
fn is_buffer(layout: Layout) -> bool {
    BUFFER_BYTES.contains(&layout.size()) && layout.align() <= PAGE_BYTES
}

// SAFETY: blocks of buffers are the C library's, aligned to a page and so to what the layout wants, hold
// as much as the layout says, and are freed as such, or kept by nobody but one thread until they are
// given out again. Of all others the system's allocator takes care; which of both it is follows from
// the layout alone, the same for the allocation and its end.
unsafe impl GlobalAlloc for Recycling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_buffer(layout) {
            // SAFETY: as of the caller.
            return unsafe { System.alloc(layout) };
        }
        if let Some(block) = with_kept(|kept| kept.take(layout.size())) {
            return block;
        }
        let mut block = ptr::null_mut();
        // SAFETY: it writes where a block is, aligned to a power of two.
        let failed = unsafe { libc::posix_memalign(&raw mut block, PAGE_BYTES, layout.size()) };
        if failed == 0 {
            block.cast()
        } else {
            ptr::null_mut()
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_buffer(layout) {
            // SAFETY: as of the caller.
            unsafe { System.dealloc(block, layout) }
        } else if !with_kept(|kept| kept.put(block)) {
            // SAFETY: all buffers come from the C library's allocator.
            unsafe { libc::free(block.cast::<c_void>()) };
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_buffer(layout) {
            // SAFETY: as of the caller.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: as of the caller.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: it holds as much.
            unsafe { ptr::write_bytes(block, 0, layout.size()) };
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's size is not 0 and does not overflow.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_buffer(layout) && !is_buffer(new) {
            // SAFETY: as of the caller.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: as of the caller.
        let moved = unsafe { self.alloc(new) };
        if !moved.is_null() {
            // SAFETY: both hold as much, and are two.
            unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: as of the caller, who has the new one now.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn layout(bytes: usize, align: usize) -> Layout {
        Layout::from_size_align(bytes, align).unwrap()
    }

    fn new(bytes: usize) -> *mut u8 {
        // SAFETY: it is not empty.
        let block = unsafe { Recycling.alloc(layout(bytes, 1)) };
        assert!(!block.is_null());
        // SAFETY: it holds as much.
        unsafe { block.write_bytes(7, bytes) };
        block
    }

    fn free(block: *mut u8, bytes: usize) {
        // SAFETY: allocated by `new` with as many.
        unsafe { Recycling.dealloc(block, layout(bytes, 1)) };
    }

    fn kept() -> (usize, usize) {
        with_kept(|kept| (kept.count, kept.bytes))
    }

    #[test]
    fn what_was_freed_serves_the_next_of_about_its_size() {
        let keeps = keep_buffers();
        let first = new(MIB);
        free(first, MIB);
        assert_eq!(kept().0, 1);
        let smaller = new(MIB / 2);
        assert_ne!(smaller, first, "half of it would lie idle");
        let second = new(MIB - 50_000);
        assert_eq!(second, first);
        assert_eq!(kept(), (0, 0));
        free(second, MIB - 50_000);
        free(smaller, MIB / 2);
        // SAFETY: it is not empty, and ends below.
        let zeroed = unsafe { Recycling.alloc_zeroed(layout(MIB, 4096)) };
        assert_eq!(zeroed, first);
        // SAFETY: it holds a MiB, all of it written.
        let bytes = unsafe { std::slice::from_raw_parts(zeroed, MIB) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        // SAFETY: allocated so.
        unsafe { Recycling.dealloc(zeroed, layout(MIB, 4096)) };
        drop(keeps);
        assert_eq!(kept(), (0, 0), "all is given back");
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let _keeps = keep_buffers();
        let blocks: Vec<_> = (0..6).map(|_| new(MIB)).collect();
        for block in &blocks {
            free(*block, MIB);
        }
        let (count, bytes) = kept();
        assert!(bytes <= KEPT_BYTES && count == 4, "{count} of {bytes}");
        let again = new(MIB);
        assert!(blocks[2..].contains(&again));
        free(again, MIB);
        let small: Vec<_> = (0..2 * KEPT_COUNT).map(|_| new(128 << 10)).collect();
        for block in small {
            free(block, 128 << 10);
        }
        let (count, bytes) = kept();
        assert!(
            bytes <= KEPT_BYTES && count <= KEPT_COUNT,
            "{count} of {bytes}"
        );
    }

    #[test]
    fn what_grows_and_shrinks_keeps_what_it_holds() {
        let _keeps = keep_buffers();
        let mut bytes = 1000;
        let mut block = new(bytes);
        for next in [
            100_000,
            128 << 10,
            MIB,
            3 * MIB,
            8 * MIB,
            2 * MIB,
            200_000,
            500,
        ] {
            // SAFETY: allocated with `bytes`.
            block = unsafe { Recycling.realloc(block, layout(bytes, 1), next) };
            // SAFETY: both hold as much.
            let same = unsafe { std::slice::from_raw_parts(block, bytes.min(next)) };
            assert!(same.iter().all(|byte| *byte == 7));
            // SAFETY: it holds as much.
            unsafe { block.write_bytes(7, next) };
            bytes = next;
        }
        free(block, bytes);
    }

    #[test]
    fn threads_without_a_shard_keep_nothing_and_may_free_what_another_allocated() {
        let _keeps = keep_buffers();
        let block = new(MIB).expose_provenance();
        let elsewhere = std::thread::spawn(move || {
            free(std::ptr::with_exposed_provenance_mut(block), MIB);
            free(new(MIB), MIB);
            assert_eq!(kept(), (0, 0));
        });
        elsewhere.join().unwrap();
        assert_eq!(kept(), (0, 0));
    }
}

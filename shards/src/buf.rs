//! Buffers that direct I/O can use.
//!
//! A [`DmaBuf`] is filled by one owner, then frozen to a [`SharedBuf`], which files write from
//! and the network sends slices of, without a copy.
//!
//! Invariants:
//! - the memory comes from the process's allocator, never from a ring's registered memory, so
//!   it may be read on any thread;
//! - the `uring` engine holds a clone of the [`SharedBuf`] while it writes from it;
//! - glommio counts the references of a write in flight without atomics (`Rc`). So every clone
//!   of that `Rc` lives on the shard that froze the buffer, its home, and the last one is
//!   dropped there: a `SharedBuf` whose last reference goes away elsewhere sends its memory
//!   home (see [`home`]).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use glommio::io::DmaBuffer;

pub(crate) mod home;
mod pack;
#[cfg(test)]
mod tests;

use home::{HomeRef, Payload};
pub use pack::{Pack, Packed};

/// The unit of direct I/O: positions and lengths of file operations are multiples of it.
pub const BLOCK_BYTES: usize = 4096;

/// What a [`DmaBuf`] of so many bytes takes of the process's memory, at 128 KiB and more: its
/// alignment costs a block. A smaller one may take twice its size when many come and go, and one
/// below 16 KiB three times: see [`Pack`].
#[must_use]
pub const fn footprint(len: usize) -> usize {
    len + BLOCK_BYTES
}

/// A buffer with one owner, aligned to [`BLOCK_BYTES`], all of it initialised.
pub struct DmaBuf {
    buffer: DmaBuffer,
}

impl DmaBuf {
    /// A buffer of `len` zeros. To be written to a file, `len` must be a multiple of
    /// [`BLOCK_BYTES`].
    ///
    /// # Panics
    /// When `len` is 0, or there is no memory.
    pub fn zeroed(len: usize) -> DmaBuf {
        assert!(len > 0, "a buffer has at least one byte");
        let mut buffer = glommio::allocate_dma_buffer_global(len);
        assert_eq!(buffer.len(), len);
        // SAFETY: the buffer is exclusively ours and holds `len` bytes from `as_mut_ptr`. It is
        // written through the pointer, as no slice of uninitialised bytes may exist.
        unsafe { std::ptr::write_bytes(buffer.as_mut_ptr(), 0, len) };
        DmaBuf { buffer }
    }

    /// What has been read into the first `len` bytes of `buffer`; None if that is nothing.
    pub(crate) fn filled(mut buffer: DmaBuffer, len: usize) -> Option<DmaBuf> {
        buffer.trim_to_size(len);
        (len > 0).then_some(DmaBuf { buffer })
    }

    /// Ends changes; what follows is shared and sent without a copy.
    pub fn freeze(self) -> SharedBuf {
        let data = NonNull::from(self.buffer.as_bytes());
        let home = HomeRef::current();
        home.lend(self.buffer.as_bytes());
        SharedBuf {
            inner: Arc::new(Frozen {
                data,
                buffer: Some(Rc::new(self.buffer)),
                home,
            }),
        }
    }
}

impl Deref for DmaBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.buffer.as_bytes()
    }
}

impl DerefMut for DmaBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buffer.as_bytes_mut()
    }
}

impl fmt::Debug for DmaBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DmaBuf").field("len", &self.len()).finish()
    }
}

/// The memory that `bytes` keep alive, as its address and length, if it is a buffer of this
/// shard: frozen here, or read from a file here, or a chunk of a [`Pack`] of this shard's. A slice of
/// one keeps all of it.
pub fn allocation_of(bytes: &[u8]) -> Option<(usize, usize)> {
    match HomeRef::current() {
        HomeRef::Shard(home) => home.allocation_of(bytes),
        HomeRef::Nobody => None,
    }
}

/// A frozen buffer. Clones, and the [`Bytes`] taken from it, share the memory; it is free when
/// the last of them is gone, on whichever shard.
#[derive(Clone)]
pub struct SharedBuf {
    inner: Arc<Frozen>,
}

struct Frozen {
    /// The bytes of `buffer`, which nobody changes any more.
    data: NonNull<[u8]>,
    /// Some until dropped. Touched on the home shard only, except as `home` allows.
    buffer: Option<Rc<DmaBuffer>>,
    home: HomeRef,
}

// SAFETY: `data` is memory of the process's allocator that nobody writes any more, so it may be
// read from any thread. `buffer` is used only by `write_source` and `try_unfreeze`, which check
// that they run at home, and by `drop`, which hands it home from elsewhere.
unsafe impl Send for Frozen {}
// SAFETY: as for Send: `&Frozen` gives nothing but reads of `data`, and `buffer` at home.
unsafe impl Sync for Frozen {}

impl SharedBuf {
    /// The whole buffer, without a copy.
    pub fn bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }

    /// The length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.inner.data.len()
    }

    /// How many references there are: clones and the [`Bytes`] made by each call of `bytes`
    /// (slices of one `Bytes` count once).
    pub fn strong_refs(&self) -> usize {
        Arc::strong_count(&self.inner)
    }

    /// The buffer back to be filled again (its bytes as they are), if this is the only
    /// reference, no write of it is in flight, and this is the shard which froze it.
    pub fn try_unfreeze(mut self) -> Result<DmaBuf, SharedBuf> {
        let Some(frozen) = Arc::get_mut(&mut self.inner) else {
            return Err(self);
        };
        if !frozen.home.is_here() {
            return Err(self);
        }
        let buffer = frozen.buffer.take().expect("Some until dropped");
        match Rc::try_unwrap(buffer) {
            Ok(buffer) => {
                frozen.home.take_back(buffer.as_bytes());
                Ok(DmaBuf { buffer })
            }
            Err(buffer) => {
                frozen.buffer = Some(buffer);
                Err(self)
            }
        }
    }

    /// What glommio writes from.
    ///
    /// # Panics
    /// Away from the shard that froze the buffer.
    pub(crate) fn write_source(&self) -> Rc<DmaBuffer> {
        assert!(
            self.inner.home.is_this_shard(),
            "a buffer is written by the shard that froze it"
        );
        Rc::clone(self.inner.buffer.as_ref().expect("Some until dropped"))
    }
}

impl AsRef<[u8]> for SharedBuf {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `data` points at the bytes of `buffer`, which `self` keeps alive and which
        // nobody changes while a reference exists (`try_unfreeze` needs the only one).
        unsafe { self.inner.data.as_ref() }
    }
}

impl Deref for SharedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.home.give_back(Payload::Written(buffer));
        }
    }
}

impl fmt::Debug for SharedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuf")
            .field("len", &self.len())
            .field("strong_refs", &self.strong_refs())
            .finish()
    }
}

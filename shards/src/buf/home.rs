//! Where memory goes back to that only its own shard may free.
//!
//! Each glommio shard has a [`Home`]. What is dropped on another thread is put on its list and
//! freed by the shard at its next I/O, or when it is woken because much has gathered.
//!
//! Invariants: a payload is taken apart only on its home's thread. When the shard has ended,
//! what still comes back is leaked: nothing can say that the ring has let go of it.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use glommio::io::{DmaBuffer, ReadResult};

use crate::engine::here::ThreadMark;

/// Bytes on the list that make it worth waking the shard to free them.
const WAKE_BYTES: usize = 1 << 20;

/// What goes home.
pub(crate) enum Payload {
    /// Held by a frozen buffer, and by writes of it in flight.
    Written(Rc<DmaBuffer>),
    /// The result of a read: it may lie in the ring's registered memory.
    Read(ReadResult),
}

impl Payload {
    fn bytes(&self) -> usize {
        match self {
            Payload::Written(buffer) => buffer.len(),
            Payload::Read(result) => result.len(),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Payload::Written(buffer) => buffer.as_bytes(),
            Payload::Read(result) => result,
        }
    }
}

/// A payload on its way home: not to be touched before it is there.
struct InTransit(ManuallyDrop<Payload>);

// SAFETY: nothing is done with the payload away from home but moving it; it is taken out by
// `Home::free`, on the home's thread, or leaked.
unsafe impl Send for InTransit {}

/// The list of one shard.
pub(crate) struct Home {
    thread: ThreadMark,
    /// Bytes on the list, so that the shard need not take the lock to see that there are none.
    waiting_bytes: AtomicUsize,
    /// None when the shard has ended. Bounded by what the shard has allocated.
    list: Mutex<Option<List>>,
    /// Address and length of every payload that is lent out, and of every chunk of a
    /// [`Pack`](super::Pack). Locked at home, and elsewhere only for as long as it takes to take one
    /// out.
    lent: Mutex<BTreeMap<usize, usize>>,
}

#[derive(Default)]
struct List {
    payloads: Vec<InTransit>,
    waker: Option<Waker>,
}

impl Home {
    /// The home of the shard that runs on this thread.
    pub(crate) fn here() -> Arc<Home> {
        Arc::new(Home {
            thread: ThreadMark::of_this_thread(),
            waiting_bytes: AtomicUsize::new(0),
            list: Mutex::new(Some(List::default())),
            lent: Mutex::default(),
        })
    }

    /// The payload's bytes may be held by others from now on.
    fn lend(&self, payload: &[u8]) {
        self.lend_at(payload.as_ptr().addr(), payload.len());
    }

    fn lend_at(&self, address: usize, bytes: usize) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        lent.insert(address, bytes);
    }

    fn end_loan(&self, payload: &[u8]) {
        self.end_loan_at(payload.as_ptr().addr());
    }

    fn end_loan_at(&self, address: usize) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        lent.remove(&address);
    }

    /// Whether a payload at that address is lent out.
    #[cfg(test)]
    pub(crate) fn is_lent(&self, address: usize) -> bool {
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        lent.contains_key(&address)
    }

    /// The memory that those bytes keep alive: its address and length.
    pub(crate) fn allocation_of(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = bytes.as_ptr().addr();
        let (begin, len) = lent.range(..=at).next_back()?;
        (at + bytes.len() <= begin + len).then_some((*begin, *len))
    }

    /// Frees what has come back. Cheap when nothing has.
    pub(crate) fn free(&self) {
        assert!(self.thread.is_here(), "only at home");
        if self.waiting_bytes.load(Ordering::Acquire) == 0 {
            return;
        }
        let payloads = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting_bytes.store(0, Ordering::Release);
            list.as_mut().map(|list| std::mem::take(&mut list.payloads))
        };
        for payload in payloads.into_iter().flatten() {
            let payload = ManuallyDrop::into_inner(payload.0);
            self.end_loan(payload.as_bytes());
        }
    }

    /// Frees all, and leaks whatever comes later: the shard ends.
    pub(crate) fn close(&self) {
        self.free();
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        *list = None;
    }

    /// Ready when so much has gathered that the shard should free it now.
    pub(crate) fn poll_due(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        if self.waiting_bytes.load(Ordering::Acquire) >= WAKE_BYTES {
            return Poll::Ready(());
        }
        if let Some(list) = list.as_mut() {
            list.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn put(&self, payload: Payload) {
        let bytes = payload.bytes();
        let payload = InTransit(ManuallyDrop::new(payload));
        let waker = {
            let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(list) = list.as_mut() else { return };
            list.payloads.push(payload);
            let before = self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
            if before + bytes >= WAKE_BYTES {
                list.waker.take()
            } else {
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Whose a payload is.
#[derive(Clone)]
pub(crate) enum HomeRef {
    /// A glommio shard's.
    Shard(Arc<Home>),
    /// Nobody's: frozen outside a glommio shard, so no ring ever sees it and no second `Rc` of
    /// it is ever made.
    Nobody,
}

impl HomeRef {
    /// The home of the shard that runs here.
    pub(crate) fn current() -> HomeRef {
        crate::engine::current_home().map_or(HomeRef::Nobody, HomeRef::Shard)
    }

    /// Whether this is the shard whose ring may see the payload.
    pub(crate) fn is_this_shard(&self) -> bool {
        match self {
            HomeRef::Shard(home) => home.thread.is_here(),
            HomeRef::Nobody => false,
        }
    }

    /// Whether the sole owner may take the payload apart on this thread.
    pub(crate) fn is_here(&self) -> bool {
        match self {
            HomeRef::Shard(home) => home.thread.is_here(),
            HomeRef::Nobody => true,
        }
    }

    /// The payload's bytes are lent out from now on, until it is given back or taken back.
    pub(crate) fn lend(&self, payload: &[u8]) {
        if let HomeRef::Shard(home) = self {
            home.lend(payload);
        }
    }

    /// So many bytes at that address may be held by others, until their loan ends.
    pub(crate) fn lend_at(&self, address: usize, bytes: usize) {
        if let HomeRef::Shard(home) = self {
            home.lend_at(address, bytes);
        }
    }

    /// Nobody holds what is there any more; from any thread.
    pub(crate) fn end_loan_at(&self, address: usize) {
        if let HomeRef::Shard(home) = self {
            home.end_loan_at(address);
        }
    }

    /// Nobody holds the payload's bytes any more. At home.
    pub(crate) fn take_back(&self, payload: &[u8]) {
        if let HomeRef::Shard(home) = self {
            home.end_loan(payload);
        }
    }

    /// Frees the payload if this is its home, else sends it there.
    pub(crate) fn give_back(&self, payload: Payload) {
        match self {
            HomeRef::Shard(home) if !home.thread.is_here() => home.put(payload),
            HomeRef::Shard(home) => home.end_loan(payload.as_bytes()),
            HomeRef::Nobody => drop(payload),
        }
    }
}

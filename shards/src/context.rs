//! The current shard: who it is, its engine and its counters.
//!
//! Owns the one thread-local of the code base. Invariant: it is set exactly while code of that
//! shard runs, so nothing reached through it is ever seen by another shard. It must not know
//! what any engine does with it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::engine::EngineHandle;
use crate::figures::Figures;
use crate::io_class::ClassBudget;

/// A shard of this process: one core, its executor and all it owns. Counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {}", self.0)
    }
}

/// All that the free functions need to know of the shard they run on.
pub(crate) struct ShardContext {
    pub(crate) id: ShardId,
    pub(crate) shard_count: u16,
    pub(crate) engine: EngineHandle,
    /// In-flight limits and counters for each class of file operation.
    pub(crate) io: ClassBudget,
    /// Panics caught at a spawn since the shard began.
    pub(crate) caught_panics: Cell<u64>,
    /// What all the process's shards write down.
    pub(crate) figures: Figures,
}

impl ShardContext {
    /// What an engine builds for each shard that it starts.
    pub(crate) fn new(
        id: ShardId,
        shard_count: u16,
        engine: EngineHandle,
        figures: Figures,
    ) -> Rc<ShardContext> {
        assert!(id.0 < shard_count, "{id} of {shard_count}");
        Rc::new(ShardContext {
            id,
            shard_count,
            engine,
            io: ClassBudget::new(shard_count),
            caught_panics: Cell::new(0),
            figures,
        })
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<ShardContext>>> = const { RefCell::new(None) };
}

/// Makes `context` current until the guard is dropped, then what was current before.
#[must_use = "the context is left when the guard is dropped"]
pub(crate) fn enter(context: Rc<ShardContext>) -> ContextGuard {
    ContextGuard {
        before: CURRENT.with(|current| current.replace(Some(context))),
    }
}

/// Undoes one [`enter`].
pub(crate) struct ContextGuard {
    before: Option<Rc<ShardContext>>,
}

impl Drop for ContextGuard {
    fn drop(&mut self) {
        let before = self.before.take();
        // The thread-local is gone only when the thread is ending: nothing is left to restore.
        drop(CURRENT.try_with(|current| current.replace(before)));
    }
}

/// Runs `f` on the current shard's context.
///
/// # Panics
/// Outside a shard.
pub(crate) fn with<R>(f: impl FnOnce(&Rc<ShardContext>) -> R) -> R {
    CURRENT.with(|current| {
        let current = current.borrow();
        f(current
            .as_ref()
            .expect("called outside a shard: no executor of ours runs this code"))
    })
}

/// Runs `f` on the current shard's context, if there is one.
pub(crate) fn with_current(f: impl FnOnce(&ShardContext)) {
    // The thread-local is gone only when the thread is ending: then no shard runs.
    let _ran = CURRENT.try_with(|current| {
        if let Some(context) = current.borrow().as_ref() {
            f(context);
        }
    });
}

/// The current shard's context, to hold across an await.
pub(crate) fn current() -> Rc<ShardContext> {
    with(Rc::clone)
}

/// The current shard's context, or None outside a shard (or when the thread is ending).
pub(crate) fn try_current() -> Option<Rc<ShardContext>> {
    CURRENT
        .try_with(|current| current.try_borrow().ok().and_then(|c| c.clone()))
        .ok()
        .flatten()
}

/// Whether this code runs on a shard, so that the free functions may be used.
pub fn in_shard() -> bool {
    try_current().is_some()
}

/// The shard this code runs on. Panics outside one.
pub fn shard() -> ShardId {
    with(|context| context.id)
}

/// How many shards the process has. Panics outside a shard.
pub fn shard_count() -> u16 {
    with(|context| context.shard_count)
}

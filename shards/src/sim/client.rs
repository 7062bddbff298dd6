//! Client tasks: what runs in the simulation outside any process.

use std::cell::RefCell;
use std::rc::Rc;

/// A task spawned by `Simulation::spawn`. It goes on when this is dropped.
#[derive(Debug)]
pub struct ClientTask<T> {
    pub(super) name: &'static str,
    pub(super) output: Rc<RefCell<Option<T>>>,
}

impl<T> ClientTask<T> {
    /// Whether it has returned, and its output has not been taken.
    pub fn is_done(&self) -> bool {
        self.output.borrow().is_some()
    }

    /// Its output, once, when it has returned.
    pub fn take(&self) -> Option<T> {
        self.output.borrow_mut().take()
    }

    /// The name it was given.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

//! Waiting between tasks of one shard. Nothing here is Send, nothing here knows an engine.

mod notify;
mod semaphore;
#[cfg(test)]
mod tests;

pub use notify::{Notified, Notify};
pub use semaphore::{Permit, Semaphore};

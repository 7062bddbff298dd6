//! The mesh: how shards ask each other.
//!
//! Owns, for each ordered pair of shards, one bounded ring with one producer and one consumer; for
//! each shard a cell where it says that it sleeps; and the flags that coalesce ([`ReadySet`]).
//! Must not know what is asked or answered. The lock-free parts are [`ring`], [`wake_cell`] and
//! [`ready_set`]; with the link and the credits on top they run under loom in `tests/loom`.
//!
//! Invariants:
//! - Requests of one shard to one other are handled in the order in which they were sent.
//! - A request takes a credit, which reserves its slot and the slot of its reply: replies never
//!   wait. Without a credit, [`Mesh::send`] waits, and with it whatever fed the sender (a
//!   connection stops reading its socket). Nothing is dropped.
//! - A shard always drains its inbound rings. A handler's synchronous part runs in the drain task,
//!   so it must be short; what it awaits runs in a task of its own.
//! - A peer is woken only if it sleeps; a spinning shard does not, see [`look_on`].
//!
//! Credits bound what each shard has under way, so a handler may await another shard, but not a
//! chain that needs a credit which its own caller holds: shard 0 asking 1 while handling a request
//! from 1 is fine as long as 1 answers that without asking 0 again.

mod cache_line;
mod credits;
mod drain;
mod endpoint;
mod ends;
mod handle;
mod link;
mod look_on;
mod ready_set;
mod reply;
mod ring;
mod sync;
#[cfg(test)]
mod tests;
mod wake_cell;

pub use endpoint::{Answer, MeshStats};
pub use ends::{MeshEnds, mesh};
pub use handle::Mesh;
pub use ready_set::{Marker, ReadySet};
pub use reply::{MeshClosed, PendingReply};
pub(crate) use wake_cell::WakeCell;

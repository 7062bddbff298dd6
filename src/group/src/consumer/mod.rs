//! Groups of the consumer rebalance protocol (KIP-848), and the way between them and the classic
//! ones.
//!
//! A group's epoch rises with every change of its members, their subscriptions or the topics. For
//! each epoch an assignor says what every member is to have, and each heartbeat brings its member a
//! step nearer to that: it lets go, then moves to the epoch, then gets what others have let go of.
//!
//! Owns the groups' states; knows nothing of requests to other groups, of offsets, or of who waits
//! for a reply. Invariants: a partition is with one member at most, from when it is given until the
//! member says that it has let go or is fenced; epochs never go back.

mod classic;
mod convert;
mod describe;
mod embedded;
mod group;
mod heartbeat;
mod member;
mod pattern;
mod reconcile;
mod room;
mod target;
mod timers;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use convert::{ClassicState, ClassicStateMember};
pub(crate) use group::ConsumerGroup;
pub(crate) use heartbeat::{Aftermath, Context, check_heartbeat};
pub use pattern::TopicPattern;

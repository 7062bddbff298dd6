//! Groups of the consumer rebalance protocol (KIP-848).

mod pattern;

pub use pattern::TopicPattern;

//! How a request names a topic.

use std::sync::Arc;
use uuid::Uuid;

/// A topic as a request named it, already looked up: see `MetadataImage::resolve_name` and
/// `resolve_id`. Outcomes come in the order of the request, so the caller keeps the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicTarget {
    /// The topic's id.
    Known(Uuid),
    /// No topic has the name that was given.
    UnknownName,
    /// No topic has the id that was given.
    UnknownId,
}

/// A topic by name or by id, as fetch sessions and administrative requests keep it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKey {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id(Uuid),
}

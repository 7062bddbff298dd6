//! What a coordinator may ask about topics.

use uuid::Uuid;

/// A topic as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
}

/// The topics of now.
pub trait Topics {
    /// The topic of this name.
    fn by_name(&self, name: &str) -> Option<TopicInfo>;
    /// The name of the topic with this id.
    fn name_of(&self, id: Uuid) -> Option<&str>;
    /// Calls for each topic, in the order of their names.
    fn each(&self, visit: &mut dyn FnMut(&str, TopicInfo));
    /// Changes whenever a topic comes, goes or grows.
    fn version(&self) -> u64;
}

//! The topics as a coordinator sees them.

use tailwater_group::{TopicInfo, Topics};
use uuid::Uuid;

use crate::metadata::{MetadataImage, Topic};

impl Topics for MetadataImage {
    fn by_name(&self, name: &str) -> Option<TopicInfo> {
        self.topic(name).map(|topic| info(topic))
    }

    fn name_of(&self, id: Uuid) -> Option<&str> {
        self.topic_by_id(id).map(|topic| &*topic.name)
    }

    fn each(&self, visit: &mut dyn FnMut(&str, TopicInfo)) {
        for topic in self.topics() {
            visit(&topic.name, info(topic));
        }
    }

    fn version(&self) -> u64 {
        MetadataImage::version(self)
    }
}

fn info(topic: &Topic) -> TopicInfo {
    TopicInfo {
        id: topic.id,
        partitions: topic.partitions,
    }
}

//! DeleteTopics.

use super::{Controller, Decision};
use crate::BrokerError;
use crate::metadata::change::Change;
use crate::metadata::{DeletedTopic, TopicKey};
use std::collections::BTreeSet;

impl Controller {
    /// Deletes topics. A name or id that the request has twice gets one outcome, as in Kafka.
    pub(crate) fn delete_topics(&mut self, keys: &[TopicKey]) -> Decision<Vec<DeletedTopic>> {
        let mut seen = BTreeSet::new();
        let doubled: BTreeSet<&TopicKey> = keys.iter().filter(|key| !seen.insert(*key)).collect();
        let mut outcomes: Vec<DeletedTopic> =
            doubled.iter().map(|key| refused_double(key)).collect();
        let mut changes = Vec::new();
        // Ids go first: a name that means one of them is the one at fault.
        let unique = || keys.iter().filter(|key| !doubled.contains(key));
        let by_id = unique().filter(|key| matches!(key, TopicKey::Id(_)));
        let by_name = unique().filter(|key| matches!(key, TopicKey::Name(_)));
        let mut ids = BTreeSet::new();
        for key in by_id.chain(by_name) {
            if let Some(topic) = self.state.image().topic_by_key(key)
                && !ids.insert(topic.id)
            {
                let sentence = "The provided topic name maps to an ID that was already supplied.";
                let error = BrokerError::InvalidRequest(sentence.to_owned());
                let (name, id) = (Some(topic.name.clone()), None);
                outcomes.push(DeletedTopic {
                    key: key.clone(),
                    name,
                    id,
                    result: Err(error),
                });
            }
        }
        let mut deleted = BTreeSet::new();
        let refused: BTreeSet<TopicKey> =
            outcomes.iter().map(|outcome| outcome.key.clone()).collect();
        for key in keys.iter().filter(|key| !refused.contains(key)) {
            let outcome = self.delete_topic(key, &mut deleted, &mut changes);
            outcomes.push(outcome);
        }
        Decision { outcomes, changes }
    }

    fn delete_topic(
        &mut self,
        key: &TopicKey,
        deleted: &mut BTreeSet<uuid::Uuid>,
        changes: &mut Vec<Change>,
    ) -> DeletedTopic {
        let image = self.state.image();
        let Some(topic) = image.topic_by_key(key).cloned() else {
            let (name, id, error) = match key {
                TopicKey::Name(name) => (
                    Some(name.clone()),
                    None,
                    BrokerError::UnknownTopicOrPartition,
                ),
                TopicKey::Id(id) => (None, Some(*id), BrokerError::UnknownTopicId),
            };
            return DeletedTopic {
                key: key.clone(),
                name,
                id,
                result: Err(error),
            };
        };
        let (name, id) = (Some(topic.name.clone()), Some(topic.id));
        if !image.settings().delete_topics {
            return DeletedTopic {
                key: key.clone(),
                name,
                id,
                result: Err(BrokerError::TopicDeletionDisabled),
            };
        }
        assert!(deleted.insert(topic.id), "one topic is deleted once");
        let change = Change::DeleteTopic { id: topic.id };
        self.take(&change);
        changes.push(change);
        DeletedTopic {
            key: key.clone(),
            name,
            id,
            result: Ok(()),
        }
    }
}

fn refused_double(key: &TopicKey) -> DeletedTopic {
    let (name, id, sentence) = match key {
        TopicKey::Name(name) => (Some(name.clone()), None, "Duplicate topic name."),
        TopicKey::Id(id) => (None, Some(*id), "Duplicate topic id."),
    };
    let error = BrokerError::InvalidRequest(sentence.to_owned());
    DeletedTopic {
        key: key.clone(),
        name,
        id,
        result: Err(error),
    }
}

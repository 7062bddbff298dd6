//! What was answered about topics holds after every start: those created are there with their
//! partitions and configurations, those deleted are not, and no id comes back.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;

#[derive(Default)]
pub(crate) struct Metadata;

impl Property for Metadata {
    fn name(&self) -> &'static str {
        "metadata"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Created { id, name, .. } => {
                let again = facts
                    .topics
                    .get(id)
                    .filter(|topic| topic.is_sure || topic.deleted);
                match again {
                    Some(_) => Err(format!("the id of the new topic {name} was given before")),
                    None => Ok(()),
                }
            }
            Event::Started(started) if !started.unknown_losses => {
                for (id, topic) in &facts.topics {
                    let found = started.topics.iter().find(|found| found.id == *id);
                    let name = &topic.name;
                    match found {
                        Some(_) if topic.deleted => {
                            return Err(format!("topic {name} ({id}) was deleted and is back"));
                        }
                        None if topic.is_sure && !topic.maybe_deleted && !topic.deleted => {
                            return Err(format!("topic {name} ({id}) is gone"));
                        }
                        Some(found) if found.partitions < topic.partitions => {
                            return Err(format!("topic {name} has lost partitions"));
                        }
                        Some(found) if topic.is_sure => {
                            for (key, value) in &topic.configs {
                                if found.overrides.get(key) != Some(value) {
                                    return Err(format!("topic {name} has lost {key}={value}"));
                                }
                            }
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

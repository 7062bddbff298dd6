//! The client that creates, deletes and changes topics, deletes records and asks for offsets.

use std::rc::Rc;
use std::time::Duration;

use tailwater_broker::Broker;
use tailwater_broker::config::{ConfigChange, ConfigResource, ResourceKind};
use tailwater_broker::metadata::{CreatePartitions, CreateTopic, Topic, TopicKey, TopicTarget};
use tailwater_broker::offsets::{DeleteRecords, Isolation, OffsetQuery};
use tailwater_shards::wall_clock_ms;

use super::{Client, name, tp_of};
use crate::event::Event;
use crate::history::Command;

const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) async fn carry_out(broker: &Broker, client: &Rc<Client>, command: &Command) {
    match command {
        Command::Create {
            topic,
            partitions,
            configs,
        } => {
            create(broker, client, *topic, *partitions, configs).await;
        }
        Command::Delete { topic } => {
            if let Some(topic) = client.topic(broker, *topic) {
                delete(broker, client, &topic).await;
            }
        }
        Command::Grow { topic } => {
            if let Some(topic) = client.topic(broker, *topic) {
                grow(broker, client, &topic).await;
            }
        }
        Command::Configure { topic, name, value } => {
            if let Some(topic) = client.topic(broker, *topic) {
                configure(broker, client, &topic, name, value).await;
            }
        }
        Command::DeleteRecords {
            topic,
            partition,
            upto,
        } => {
            if let Some(topic) = client.topic(broker, *topic) {
                delete_records(broker, client, &topic, *partition, *upto).await;
            }
        }
        Command::AskOffsets { topic, partition } => {
            if let Some(topic) = client.topic(broker, *topic) {
                ask_offsets(broker, client, &topic, *partition).await;
            }
        }
        Command::Produce(_)
        | Command::SendAgain
        | Command::AskProducerId
        | Command::LeaveGap { .. }
        | Command::Fetch(_)
        | Command::ProduceKeyed(_)
        | Command::ReadKeyed(_)
        | Command::Group(_) => {
            unreachable!("the other clients' part")
        }
    }
}

async fn create(
    broker: &Broker,
    client: &Client,
    topic: u8,
    partitions: u8,
    configs: &[(&'static str, &'static str)],
) {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let configs: Vec<(String, String)> = configs.iter().map(own).collect();
    let some = |(name, value): &(String, String)| (name.clone(), Some(value.clone()));
    let request = CreateTopic {
        name: name(topic),
        num_partitions: i32::from(partitions),
        replication_factor: 1,
        assignments: Vec::new(),
        configs: configs.iter().map(some).collect(),
    };
    let outcome = broker.create_topics(vec![request], false, TIMEOUT).await;
    if let Some((name, Ok(created))) = outcome.into_iter().next() {
        client.world().tell(Event::Created {
            id: created.id,
            name,
            partitions: created.partitions,
            configs,
        });
    }
}

async fn delete(broker: &Broker, client: &Client, topic: &Topic) {
    let id = topic.id;
    client.world().tell(Event::DeleteBegan { id });
    client
        .world()
        .facts
        .borrow_mut()
        .apply(&Event::DeleteBegan { id });
    let outcome = broker.delete_topics(vec![TopicKey::Id(id)], TIMEOUT).await;
    if outcome
        .first()
        .is_some_and(|deleted| deleted.result.is_ok())
    {
        client.world().tell(Event::Deleted { id });
    }
}

async fn grow(broker: &Broker, client: &Client, topic: &Topic) {
    let partitions = (topic.partitions + 1).min(4);
    let request = CreatePartitions {
        name: topic.name.to_string(),
        count: partitions,
        assignments: None,
    };
    let outcome = broker
        .create_partitions(vec![request], false, TIMEOUT)
        .await;
    if outcome.first().is_some_and(|(_, grown)| grown.is_ok()) {
        client.world().tell(Event::Grown {
            id: topic.id,
            partitions,
        });
    }
}

async fn configure(
    broker: &Broker,
    client: &Client,
    topic: &Topic,
    name: &'static str,
    value: &'static str,
) {
    let id = topic.id;
    let began = Event::ConfigureBegan { id, name, value };
    client.world().facts.borrow_mut().apply(&began);
    client.world().tell(began);
    let change = ConfigChange {
        resource: ConfigResource {
            kind: ResourceKind::Topic,
            name: topic.name.to_string(),
        },
        operations: vec![(name.to_owned(), 0, Some(value.to_owned()))],
    };
    let outcome = broker.incremental_alter_configs(vec![change], false).await;
    if outcome.first().is_some_and(|(_, altered)| altered.is_ok()) {
        client.world().tell(Event::Configured { id, name, value });
    }
}

async fn delete_records(broker: &Broker, client: &Client, topic: &Topic, partition: u8, upto: u8) {
    let tp = tp_of(topic, partition);
    let known = client.world().facts.borrow().known_span(tp);
    let offset = known.0 + (known.1 - known.0) * i64::from(upto) / 256;
    client.world().tell(Event::LogStartAsked { tp, offset });
    client
        .world()
        .facts
        .borrow_mut()
        .apply(&Event::LogStartAsked { tp, offset });
    let part = DeleteRecords {
        topic: TopicTarget::Known(tp.0),
        partition: tp.1,
        offset,
    };
    let outcome = broker.delete_records(vec![part], TIMEOUT).await;
    if let Some(Ok(low_watermark)) = outcome.first() {
        let low_watermark = *low_watermark;
        client
            .world()
            .tell(Event::LogStartMoved { tp, low_watermark });
    }
}

async fn ask_offsets(broker: &Broker, client: &Client, topic: &Topic, partition: u8) {
    let tp = tp_of(topic, partition);
    let asked = wall_clock_ms() - 30_000;
    let query = OffsetQuery {
        topic: TopicTarget::Known(tp.0),
        partition: tp.1,
        current_leader_epoch: -1,
        timestamp: asked,
    };
    let outcome = broker
        .list_offsets(Isolation::ReadUncommitted, vec![query])
        .await;
    if let Some(Ok(found)) = outcome.first() {
        client.world().tell(Event::TimeFound {
            tp,
            asked,
            offset: found.offset,
            timestamp: found.timestamp,
        });
    }
}

mod replay;

use super::*;
use crate::config::{
    BrokerSettings, ConfigChange, ConfigReplacement, ConfigResource, ResourceKind,
};
use crate::error_code as code;
use crate::metadata::{CreatePartitions, CreateTopic, TopicKey};
use std::sync::Arc;

const NODE: i32 = 1;

struct World {
    controller: Controller,
    logged: Vec<Change>,
    next_id: u128,
}

impl World {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, &str)]) -> Self {
        let pairs = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Arc::new(BrokerSettings::from_pairs(&pairs).unwrap());
        let controller = Controller::new(MetadataState::new(settings), 7, Nodes::one(NODE));
        Self {
            controller,
            logged: Vec::new(),
            next_id: 1,
        }
    }

    fn take<T>(&mut self, decision: Decision<T>) -> T {
        self.logged.extend(decision.changes);
        self.controller.state().image().check_invariants();
        decision.outcomes
    }

    fn create(&mut self, topics: &[CreateTopic]) -> Vec<(String, Result<i32, BrokerError>)> {
        let next_id = &mut self.next_id;
        let mut fresh = || {
            *next_id += 1;
            Uuid::from_u128(*next_id)
        };
        let decision = self.controller.create_topics(topics, false, &mut fresh);
        let outcomes = self.take(decision).into_iter();
        outcomes
            .map(|(name, outcome)| (name, outcome.map(|created| created.partitions)))
            .collect()
    }

    fn create_one(&mut self, topic: CreateTopic) -> Result<i32, BrokerError> {
        self.create(&[topic]).remove(0).1
    }

    fn increase(
        &mut self,
        name: &str,
        count: i32,
        assignments: Option<Vec<Vec<i32>>>,
    ) -> Result<(), BrokerError> {
        let request = CreatePartitions {
            name: name.to_owned(),
            count,
            assignments,
        };
        let decision = self.controller.create_partitions(&[request], false);
        self.take(decision).remove(0).1
    }

    fn delete(&mut self, keys: &[TopicKey]) -> Vec<(TopicKey, Result<(), BrokerError>)> {
        let decision = self.controller.delete_topics(keys);
        self.take(decision)
            .into_iter()
            .map(|outcome| (outcome.key, outcome.result))
            .collect()
    }

    fn alter(
        &mut self,
        resource: ConfigResource,
        operations: &[(&str, i8, Option<&str>)],
    ) -> Result<(), BrokerError> {
        let operations = operations
            .iter()
            .map(|(name, operation, value)| {
                ((*name).to_owned(), *operation, value.map(str::to_owned))
            })
            .collect();
        let change = ConfigChange {
            resource,
            operations,
        };
        let decision = self.controller.incremental_alter_configs(&[change], false);
        self.take(decision).remove(0).1
    }

    fn overrides(&self, name: &str) -> Vec<(String, String)> {
        let topic = self.controller.state().image().topic(name).unwrap();
        topic.overrides.clone().into_iter().collect()
    }
}

fn topic(name: &str) -> CreateTopic {
    CreateTopic {
        name: name.to_owned(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: Vec::new(),
        configs: Vec::new(),
    }
}

fn of_topic(name: &str) -> ConfigResource {
    ConfigResource {
        kind: ResourceKind::Topic,
        name: name.to_owned(),
    }
}

fn of_broker(name: &str) -> ConfigResource {
    ConfigResource {
        kind: ResourceKind::Broker,
        name: name.to_owned(),
    }
}

type Assignments<'a> = &'a [(i32, &'a [i32])];

fn assigned(name: &str, assignments: Assignments<'_>) -> CreateTopic {
    let assignments = assignments
        .iter()
        .map(|(index, brokers)| (*index, brokers.to_vec()))
        .collect();
    CreateTopic {
        assignments,
        ..topic(name)
    }
}

fn told(outcome: Result<i32, BrokerError>) -> (i16, String) {
    let error = outcome.unwrap_err();
    (error.code(), error.to_string())
}

#[test]
fn a_topic_gets_the_brokers_number_of_partitions_unless_it_asks_for_its_own() {
    let mut world = World::with(&[("num.partitions", "3")]);
    assert_eq!(world.create_one(topic("a")), Ok(3));
    assert_eq!(
        world.create_one(CreateTopic {
            num_partitions: 5,
            replication_factor: 1,
            ..topic("b")
        }),
        Ok(5)
    );
    assert_eq!(
        world.create_one(assigned("c", &[(1, &[NODE]), (0, &[NODE])])),
        Ok(2)
    );
    let image = world.controller.state().image();
    assert_eq!(image.partition_count(), 10);
    assert_eq!(image.topic("a").unwrap().created_generation, 7);
}

#[test]
fn layouts_are_refused_in_kafkas_words() {
    let mut world = World::new();
    let of = |num_partitions, replication_factor| CreateTopic {
        num_partitions,
        replication_factor,
        ..topic("t")
    };
    let positive = "Number of partitions was set to an invalid non-positive value.";
    assert_eq!(
        told(world.create_one(of(0, 1))),
        (code::INVALID_PARTITIONS, positive.to_owned())
    );
    assert_eq!(
        told(world.create_one(of(-2, 1))).0,
        code::INVALID_PARTITIONS
    );
    assert_eq!(
        told(world.create_one(of(1, 0))).0,
        code::INVALID_REPLICATION_FACTOR
    );
    assert_eq!(
        told(world.create_one(of(1, 3))).0,
        code::INVALID_REPLICATION_FACTOR
    );
    assert_eq!(
        told(world.create_one(of(10_001, 1))).0,
        code::POLICY_VIOLATION
    );
    let by_hand: [(Assignments<'_>, &str); 5] = [
        (
            &[(0, &[7])],
            "The manual partition assignment includes broker 7, but no such broker is registered.",
        ),
        (
            &[(0, &[NODE]), (2, &[NODE])],
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            &[(0, &[NODE, NODE])],
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            &[(0, &[])],
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            &[(0, &[NODE]), (0, &[NODE])],
            "Found multiple manual partition assignments for partition 0",
        ),
    ];
    for (assignments, sentence) in by_hand {
        let expected = (code::INVALID_REPLICA_ASSIGNMENT, sentence.to_owned());
        assert_eq!(told(world.create_one(assigned("t", assignments))), expected);
    }
    let both = CreateTopic {
        num_partitions: 1,
        ..assigned("t", &[(0, &[NODE])])
    };
    assert_eq!(told(world.create_one(both)).0, code::INVALID_REQUEST);
    assert!(world.logged.is_empty(), "nothing that is refused is logged");
}

#[test]
fn names_that_are_taken_or_collide_or_come_twice_are_refused() {
    let mut world = World::new();
    world.create_one(topic("a.b")).unwrap();
    let taken = (
        code::TOPIC_ALREADY_EXISTS,
        "Topic 'a.b' already exists.".to_owned(),
    );
    assert_eq!(told(world.create_one(topic("a.b"))), taken);
    let collides = "Topic 'a_b' collides with existing topic: a.b".to_owned();
    assert_eq!(
        told(world.create_one(topic("a_b"))),
        (code::INVALID_TOPIC_EXCEPTION, collides)
    );
    let outcomes = world.create(&[topic("x"), topic("y"), topic("x")]);
    assert_eq!(outcomes.len(), 2);
    assert_eq!(outcomes[0].0, "x");
    assert_eq!(
        told(outcomes[0].1.clone()),
        (code::INVALID_REQUEST, "Duplicate topic name.".to_owned())
    );
    assert_eq!(outcomes[1], ("y".to_owned(), Ok(1)));
}

#[test]
fn configurations_of_a_new_topic_are_checked() {
    let mut world = World::new();
    let of = |name: &str, value: Option<&str>| CreateTopic {
        configs: vec![(name.to_owned(), value.map(str::to_owned))],
        ..topic("t")
    };
    let cases = [
        (of("foo", Some("1")), "Unknown topic config name: foo"),
        (
            of("retention.ms", Some("abc")),
            "Invalid value abc for configuration retention.ms: Not a number of type LONG",
        ),
        (
            of("retention.ms", Some("-5")),
            "Invalid value -5 for configuration retention.ms: Value must be at least -1",
        ),
        (
            of("retention.ms", None),
            "Null value not supported for topic configs: retention.ms",
        ),
        (
            of("min.insync.replicas", Some("2")),
            "Invalid value 2 for configuration min.insync.replicas: this broker supports only 1",
        ),
        (
            of("max.compaction.lag.ms", Some("0")),
            "Invalid value 0 for configuration max.compaction.lag.ms: Value must be at least 1",
        ),
        (
            CreateTopic {
                configs: vec![
                    ("min.compaction.lag.ms".to_owned(), Some("9".to_owned())),
                    ("max.compaction.lag.ms".to_owned(), Some("8".to_owned())),
                ],
                ..topic("u")
            },
            "conflict topic config setting min.compaction.lag.ms (9) > max.compaction.lag.ms (8)",
        ),
        (
            of("compression.gzip.level", Some("44")),
            "Invalid value 44 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
    ];
    for (topic, sentence) in cases {
        assert_eq!(
            told(world.create_one(topic)),
            (code::INVALID_CONFIG, sentence.to_owned())
        );
    }
    world.create_one(of("retention.ms", Some(" 5 "))).unwrap();
    assert_eq!(
        world.overrides("t"),
        [("retention.ms".to_owned(), "5".to_owned())]
    );
    assert_eq!(
        world
            .controller
            .state()
            .image()
            .topic("t")
            .unwrap()
            .config
            .retention_ms,
        5
    );
}

#[test]
fn validating_changes_nothing() {
    let mut world = World::new();
    let decision = world
        .controller
        .create_topics(&[topic("t")], true, &mut || {
            unreachable!("no id is used up")
        });
    let outcomes = world.take(decision);
    assert_eq!(outcomes[0].1.as_ref().unwrap().id, Uuid::nil());
    assert!(world.logged.is_empty());
    assert!(world.controller.state().image().topic("t").is_none());
}

#[test]
fn partitions_are_only_added() {
    let mut world = World::new();
    world
        .create_one(CreateTopic {
            num_partitions: 2,
            ..topic("t")
        })
        .unwrap();
    let sentence = |outcome: Result<(), BrokerError>| outcome.unwrap_err().to_string();
    assert_eq!(
        sentence(world.increase("t", 2, None)),
        "Topic already has 2 partition(s)."
    );
    let fewer = "The topic t currently has 2 partition(s); 1 would not be an increase.";
    assert_eq!(sentence(world.increase("t", 1, None)), fewer);
    assert_eq!(
        world.increase("nope", 3, None),
        Err(BrokerError::UnknownTopicOrPartition)
    );
    let few =
        "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.";
    assert_eq!(
        sentence(world.increase("t", 4, Some(vec![vec![NODE]]))),
        few
    );
    assert_eq!(
        world.increase("t", 100_000, None).unwrap_err().code(),
        code::POLICY_VIOLATION
    );
    assert_eq!(world.increase("t", 3, Some(vec![vec![NODE]])), Ok(()));
    assert_eq!(
        world
            .controller
            .state()
            .image()
            .topic("t")
            .unwrap()
            .partitions,
        3
    );
}

#[test]
fn a_deleted_name_is_free_and_its_id_is_gone() {
    let mut world = World::new();
    world.create_one(topic("t")).unwrap();
    let id = world.controller.state().image().topic("t").unwrap().id;
    let by_name = TopicKey::Name("t".into());
    assert_eq!(
        world.delete(std::slice::from_ref(&by_name)),
        [(by_name.clone(), Ok(()))]
    );
    assert_eq!(
        world.delete(std::slice::from_ref(&by_name)),
        [(by_name, Err(BrokerError::UnknownTopicOrPartition))]
    );
    assert_eq!(
        world.delete(&[TopicKey::Id(id)]),
        [(TopicKey::Id(id), Err(BrokerError::UnknownTopicId))]
    );
    world.create_one(topic("t")).unwrap();
    assert_ne!(world.controller.state().image().topic("t").unwrap().id, id);
}

#[test]
fn a_topic_deleted_by_name_and_id_at_once_is_deleted_once() {
    let mut world = World::new();
    world.create_one(topic("t")).unwrap();
    let id = world.controller.state().image().topic("t").unwrap().id;
    let (by_name, by_id) = (TopicKey::Name("t".into()), TopicKey::Id(id));
    let outcomes = world.delete(&[by_name.clone(), by_id.clone()]);
    assert_eq!(outcomes[0].0, by_name);
    assert_eq!(
        outcomes[0].1.as_ref().unwrap_err().code(),
        code::INVALID_REQUEST
    );
    assert_eq!(outcomes[1], (by_id, Ok(())));
}

#[test]
fn deletion_can_be_disabled() {
    let mut world = World::with(&[("delete.topic.enable", "false")]);
    world.create_one(topic("t")).unwrap();
    let outcome = world.delete(&[TopicKey::Name("t".into())]).remove(0).1;
    assert_eq!(outcome, Err(BrokerError::TopicDeletionDisabled));
}

#[test]
fn overrides_are_set_deleted_and_replaced() {
    let mut world = World::new();
    world.create_one(topic("t")).unwrap();
    world
        .alter(
            of_topic("t"),
            &[("retention.ms", 0, Some("5")), ("flush.ms", 0, Some("7"))],
        )
        .unwrap();
    world
        .alter(
            of_topic("t"),
            &[("retention.ms", 1, None), ("foo", 1, None)],
        )
        .unwrap();
    assert_eq!(
        world.overrides("t"),
        [("flush.ms".to_owned(), "7".to_owned())]
    );
    let replacement = ConfigReplacement {
        resource: of_topic("t"),
        entries: vec![("segment.ms".to_owned(), Some("9".to_owned()))],
    };
    let decision = world.controller.alter_configs(&[replacement], false);
    world.take(decision).remove(0).1.unwrap();
    assert_eq!(
        world.overrides("t"),
        [("segment.ms".to_owned(), "9".to_owned())]
    );
    let logged = world.logged.len();
    world
        .alter(of_topic("t"), &[("segment.ms", 0, Some("9"))])
        .unwrap();
    assert_eq!(
        world.logged.len(),
        logged,
        "what changes nothing is not logged"
    );
}

#[test]
fn operations_are_refused_in_kafkas_words() {
    let mut world = World::new();
    world.create_one(topic("t")).unwrap();
    let append = world
        .alter(of_topic("t"), &[("retention.ms", 2, Some("3"))])
        .unwrap_err();
    let sentence = "Can't APPEND to key retention.ms because its type is not LIST.".to_owned();
    assert_eq!(
        (append.code(), append.to_string()),
        (code::INVALID_CONFIG, sentence)
    );
    // Appending what is there already changes nothing.
    world
        .alter(of_topic("t"), &[("cleanup.policy", 2, Some("delete"))])
        .unwrap();
    world
        .alter(of_topic("t"), &[("cleanup.policy", 2, Some("compact"))])
        .unwrap();
    let other = world
        .alter(of_topic("t"), &[("cleanup.policy", 2, Some("shrink"))])
        .unwrap_err();
    assert_eq!(other.code(), code::INVALID_CONFIG);
    // As in Kafka, what is set must fit what holds besides.
    world
        .alter(of_topic("t"), &[("max.compaction.lag.ms", 0, Some("5"))])
        .unwrap();
    let lags = world
        .alter(of_topic("t"), &[("min.compaction.lag.ms", 0, Some("6"))])
        .unwrap_err();
    assert_eq!(lags.code(), code::INVALID_CONFIG);
    let missing = world
        .alter(of_topic("nope"), &[("retention.ms", 0, Some("3"))])
        .unwrap_err();
    let sentence = "The topic 'nope' does not exist.".to_owned();
    assert_eq!(
        (missing.code(), missing.to_string()),
        (code::UNKNOWN_TOPIC_OR_PARTITION, sentence)
    );
    let bad_name = world.alter(of_topic("a b"), &[]).unwrap_err();
    assert_eq!(bad_name.code(), code::INVALID_TOPIC_EXCEPTION);
    let group = ConfigResource {
        kind: ResourceKind::Other(32),
        name: "g".to_owned(),
    };
    assert_eq!(
        world.alter(group, &[]).unwrap_err().code(),
        code::INVALID_REQUEST
    );
}

#[test]
fn the_brokers_own_values_change_what_topics_live_by() {
    let mut world = World::with(&[("log.retention.hours", "2")]);
    world.create_one(topic("t")).unwrap();
    world
        .create_one(CreateTopic {
            configs: vec![("retention.ms".to_owned(), Some("5".to_owned()))],
            ..topic("u")
        })
        .unwrap();
    let retention = |world: &World, name: &str| {
        world
            .controller
            .state()
            .image()
            .topic(name)
            .unwrap()
            .config
            .retention_ms
    };
    assert_eq!(retention(&world, "t"), 2 * 3_600_000);
    world
        .alter(of_broker(""), &[("log.retention.ms", 0, Some("3000"))])
        .unwrap();
    assert_eq!(retention(&world, "t"), 3000);
    world
        .alter(of_broker("1"), &[("log.retention.ms", 0, Some("4000"))])
        .unwrap();
    assert_eq!(retention(&world, "t"), 4000);
    assert_eq!(retention(&world, "u"), 5);
    world
        .alter(of_broker("1"), &[("log.retention.ms", 1, None)])
        .unwrap();
    assert_eq!(retention(&world, "t"), 3000);
    let error = world
        .alter(of_broker("1"), &[("num.partitions", 0, Some("3"))])
        .unwrap_err();
    let sentence = "Cannot update these configs dynamically: [num.partitions]".to_owned();
    assert_eq!(
        (error.code(), error.to_string()),
        (code::INVALID_REQUEST, sentence)
    );
    assert_eq!(
        world.alter(of_broker("9"), &[]).unwrap_err().code(),
        code::INVALID_REQUEST
    );
}

use super::harness::*;
use crate::config::{ConfigChange, ConfigQuery, ConfigResource, ConfigSource, ResourceKind};
use crate::error_code as code;
use crate::metadata::{CreatePartitions, CreateTopic, TopicKey};
use std::collections::BTreeSet;

fn on_topic(name: &str) -> ConfigResource {
    ConfigResource {
        kind: ResourceKind::Topic,
        name: name.to_owned(),
    }
}

#[test]
fn a_topic_is_known_to_every_shard_when_its_creation_is_answered() {
    let mut machine = Machine::new(1, 3);
    for name in ["a", "b", "c"] {
        machine.create(name, 3, &[]);
        for shard in 0..3 {
            let known = machine.on(shard, move |broker| async move {
                broker.image().topic(name).is_some()
            });
            assert!(known);
        }
    }
}

#[test]
fn a_name_is_free_after_its_deletion_and_the_new_topic_is_empty() {
    let mut machine = Machine::new(2, 2);
    for round in 0..3_u8 {
        machine.create("t", 2, &[]);
        assert_eq!(machine.list_offset("t", 0, -1).unwrap().offset, 0);
        machine
            .produce(0, "t", 0, -1, batch(&[&round.to_string()]))
            .unwrap();
        assert_eq!(machine.values("t", 0, 0), [round.to_string()]);
        if round == 1 {
            machine.restart_after_power_cut(2);
        }
        machine.delete("t").unwrap();
        assert_eq!(
            machine.list_offset("t", 0, -1).unwrap_err().code(),
            code::UNKNOWN_TOPIC_OR_PARTITION
        );
        assert_eq!(
            machine.delete("t").unwrap_err().code(),
            code::UNKNOWN_TOPIC_OR_PARTITION
        );
    }
    machine.restart_after_power_cut(2);
    assert_eq!(
        machine.list_offset("t", 0, -1).unwrap_err().code(),
        code::UNKNOWN_TOPIC_OR_PARTITION
    );
}

#[test]
fn changes_of_many_clients_at_once_all_come_about() {
    let mut machine = Machine::new(3, 3);
    let calls: Vec<_> = (0..30_u16)
        .map(|count| {
            machine.begin(count % 3, move |broker| async move {
                let topic = CreateTopic {
                    name: format!("t{}", count / 2),
                    num_partitions: 2,
                    replication_factor: -1,
                    assignments: Vec::new(),
                    configs: Vec::new(),
                };
                broker
                    .create_topics(vec![topic], false, 10 * SECOND)
                    .await
                    .remove(0)
                    .1
                    .map(|created| created.id)
            })
        })
        .collect();
    let outcomes: Vec<_> = calls.into_iter().map(|call| machine.finish(call)).collect();
    let ids: BTreeSet<_> = outcomes.iter().flatten().collect();
    assert_eq!(ids.len(), 15, "each name was created once");
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert_eq!(refused.code(), code::TOPIC_ALREADY_EXISTS);
    }
}

#[test]
fn changes_that_wait_for_the_controller_hold_no_credit_that_a_produce_needs() {
    let mut machine = Machine::new(9, 2);
    machine.create("t", 4, &[]);
    let changes: Vec<_> = (0..600)
        .map(|number| {
            machine.begin(1, move |broker| async move {
                let topic = CreateTopic {
                    name: format!("new-{number}"),
                    num_partitions: 1,
                    replication_factor: 1,
                    assignments: Vec::new(),
                    configs: Vec::new(),
                };
                broker.create_topics(vec![topic], false, 60 * SECOND).await
            })
        })
        .collect();
    for partition in 0..4 {
        let produced = machine.produce(1, "t", partition, -1, batch(&["x"]));
        assert_eq!(produced.unwrap().base_offset, 0);
    }
    let done = changes.iter().filter(|change| change.is_done()).count();
    assert!(done < 100, "they waited for {done} changes");
    for change in changes {
        machine.finish(change)[0].1.as_ref().unwrap();
    }
}

#[test]
fn a_caller_that_goes_away_stops_no_change_in_its_midst() {
    let mut machine = Machine::new(4, 2);
    machine.on(1, |broker| async move {
        let names = vec!["t".into()];
        let creation = broker.auto_create_topics(names);
        // Given up as soon as it is asked.
        assert!(
            tailwater_shards::timeout(std::time::Duration::from_nanos(1), creation)
                .await
                .is_err()
        );
    });
    machine.sim.run_for(SECOND);
    for shard in 0..2 {
        assert!(machine.on(shard, |broker| async move {
            broker.image().topic("t").is_some()
        }));
    }
    machine.produce(0, "t", 0, -1, batch(&["x"])).unwrap();
}

#[test]
fn metadata_creates_topics_if_the_broker_is_told_to() {
    let mut machine = Machine::with(5, 2, &[("num.partitions", "3")]);
    let create = |machine: &mut Machine| {
        let names = || vec!["new".into(), "a b".into(), "new".into()];
        let outcomes = machine.on(1, move |broker| async move {
            broker.auto_create_topics(names()).await
        });
        outcomes
            .into_iter()
            .map(|(_, outcome)| outcome.map_or_else(|error| error.code(), |()| 0))
            .collect::<Vec<_>>()
    };
    assert_eq!(create(&mut machine), [0, code::INVALID_TOPIC_EXCEPTION, 0]);
    assert_eq!(
        create(&mut machine),
        [0, code::INVALID_TOPIC_EXCEPTION, 0],
        "again is no error"
    );
    assert_eq!(
        machine.on(0, |broker| async move {
            broker.image().topic("new").unwrap().partitions
        }),
        3
    );
    let mut machine = Machine::with(5, 2, &[("auto.create.topics.enable", "false")]);
    let unknown = code::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(
        create(&mut machine),
        [unknown, code::INVALID_TOPIC_EXCEPTION, unknown]
    );
}

#[test]
fn added_partitions_take_records_at_once() {
    let mut machine = Machine::new(6, 2);
    machine.create("t", 1, &[]);
    let more = CreatePartitions {
        name: "t".to_owned(),
        count: 4,
        assignments: None,
    };
    let outcome = machine.on(1, move |broker| async move {
        broker.create_partitions(vec![more], false, SECOND).await
    });
    outcome[0].1.as_ref().unwrap();
    for partition in 0..4 {
        machine
            .produce(0, "t", partition, -1, batch(&["x"]))
            .unwrap();
    }
    machine.restart_after_power_cut(2);
    for partition in 0..4 {
        assert_eq!(machine.values("t", partition, 0), ["x"]);
    }
}

#[test]
fn a_changed_configuration_holds_at_once_and_after_a_restart() {
    let mut machine = Machine::new(7, 2);
    machine.create("t", 2, &[]);
    let large = "x".repeat(1000);
    machine.produce(0, "t", 0, -1, batch(&[&large])).unwrap();
    let change = ConfigChange {
        resource: on_topic("t"),
        operations: vec![("max.message.bytes".to_owned(), 0, Some("500".to_owned()))],
    };
    let outcome = machine.on(1, move |broker| async move {
        broker.incremental_alter_configs(vec![change], false).await
    });
    outcome[0].1.as_ref().unwrap();
    for round in 0..2 {
        for shard in 0..2 {
            let refusal = machine
                .produce(shard, "t", 0, -1, batch(&[&large]))
                .unwrap_err();
            assert_eq!(refusal.error.code(), code::MESSAGE_TOO_LARGE);
            let query = ConfigQuery {
                resource: on_topic("t"),
                names: Some(vec!["max.message.bytes".to_owned()]),
            };
            let described = machine.on(shard, move |broker| async move {
                broker.describe_configs(vec![query], false, false)
            });
            let entry = described[0].1.as_ref().unwrap()[0].clone();
            assert_eq!(
                (entry.value.as_deref(), entry.source),
                (Some("500"), ConfigSource::DynamicTopic)
            );
        }
        if round == 0 {
            machine.restart_after_power_cut(2);
        }
    }
}

#[test]
fn configurations_of_what_is_not_there_are_refused() {
    let mut machine = Machine::new(8, 2);
    let query = |kind, name: &str| ConfigQuery {
        resource: ConfigResource {
            kind,
            name: name.to_owned(),
        },
        names: None,
    };
    let queries = vec![
        query(ResourceKind::Topic, "nope"),
        query(ResourceKind::Topic, "a b"),
        query(ResourceKind::Broker, "9"),
        query(ResourceKind::Broker, "x"),
        query(ResourceKind::Other(32), "g"),
    ];
    let described = machine.on(1, move |broker| async move {
        broker.describe_configs(queries, true, true)
    });
    let codes: Vec<i16> = described
        .into_iter()
        .map(|(_, outcome)| outcome.unwrap_err().code())
        .collect();
    let expected = [
        code::UNKNOWN_TOPIC_OR_PARTITION,
        code::INVALID_TOPIC_EXCEPTION,
        code::INVALID_REQUEST,
        code::INVALID_REQUEST,
        code::INVALID_REQUEST,
    ];
    assert_eq!(codes, expected);
}

#[test]
fn producer_ids_are_given_once_over_all_shards_and_restarts() {
    let mut machine = Machine::new(9, 3);
    let mut given = BTreeSet::new();
    for round in 0..3 {
        for shard in 0..3 {
            let ids = machine.on(shard, |broker| async move {
                let asked = (0..1100).map(|_| broker.init_producer_id(None));
                futures_util::future::join_all(asked).await
            });
            for outcome in ids {
                let (id, epoch) = outcome.unwrap();
                assert_eq!(epoch, 0);
                assert!(given.insert(id), "{id} was given twice");
            }
        }
        match round {
            0 => machine.restart_after_power_cut(3),
            _ => machine.restart_after_kill(3),
        }
    }
    let refused = machine.on(1, |broker| async move {
        broker.init_producer_id(Some("tx".to_owned())).await
    });
    assert_eq!(
        refused.unwrap_err().code(),
        code::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    );
}

#[test]
fn sizes_of_partitions_are_real() {
    let mut machine = Machine::new(10, 2);
    machine.create("t", 2, &[]);
    machine.create("u", 1, &[]);
    let bytes = i64::try_from(batch(&["x"]).len()).unwrap();
    machine.produce(0, "t", 1, -1, batch(&["x"])).unwrap();
    let all = machine.on(0, |broker| async move {
        broker.describe_log_dirs(None).await.unwrap()
    });
    assert_eq!(
        all.topics,
        [
            ("t".into(), vec![(0, 0), (1, bytes)]),
            ("u".into(), vec![(0, 0)])
        ]
    );
    assert_eq!(all.path, "/data");
    assert!(all.total_bytes >= all.usable_bytes && all.usable_bytes > 0);
    let query = Some(vec![("t".into(), vec![1, 7]), ("nope".into(), vec![0])]);
    let some = machine.on(1, move |broker| async move {
        broker.describe_log_dirs(query).await.unwrap()
    });
    assert_eq!(some.topics, [("t".into(), vec![(1, bytes)])]);
}

#[test]
fn a_topic_is_deleted_by_its_id_too() {
    let mut machine = Machine::new(11, 2);
    machine.create("t", 1, &[]);
    let id = machine.on(
        0,
        |broker| async move { broker.image().topic("t").unwrap().id },
    );
    let outcome = machine.on(1, move |broker| async move {
        broker.delete_topics(vec![TopicKey::Id(id)], SECOND).await
    });
    assert_eq!(
        (outcome[0].name.as_deref(), outcome[0].result.clone()),
        (Some("t"), Ok(()))
    );
    let outcome = machine.on(1, move |broker| async move {
        broker.delete_topics(vec![TopicKey::Id(id)], SECOND).await
    });
    assert_eq!(
        outcome[0].result.as_ref().unwrap_err().code(),
        code::UNKNOWN_TOPIC_ID
    );
}

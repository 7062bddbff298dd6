//! What replay gives.

use super::*;

#[test]
fn producer_ids_come_in_blocks_that_never_overlap() {
    let mut world = World::new();
    let decision = world.controller.grant_producer_ids();
    assert_eq!(world.take(decision), Ok(0));
    let decision = world.controller.grant_producer_ids();
    assert_eq!(world.take(decision), Ok(PRODUCER_ID_BLOCK));
}

#[test]
fn replay_gives_the_same_state_from_changes_from_a_snapshot_and_from_both() {
    let mut world = World::new();
    world.create(&[topic("a"), topic("b"), topic("c")]);
    world.delete(&[TopicKey::Name("b".into())]);
    world
        .alter(of_topic("a"), &[("retention.ms", 0, Some("5"))])
        .unwrap();
    world
        .alter(of_broker(""), &[("log.retention.ms", 0, Some("3000"))])
        .unwrap();
    let half = world.controller.state().snapshot();
    let logged_by_half = world.logged.len();
    world.increase("c", 4, None).unwrap();
    world.create_one(topic("b")).unwrap();
    let decision = world.controller.grant_producer_ids();
    world.take(decision).unwrap();
    let entries: Vec<_> = world.logged.iter().map(Change::encode).collect();
    let whole = world.controller.state().snapshot();
    let settings = Arc::new(BrokerSettings::default());
    let replayed = [
        MetadataState::replay(settings.clone(), None, &entries),
        MetadataState::replay(settings.clone(), Some(&half), &entries[logged_by_half..]),
        MetadataState::replay(settings.clone(), Some(&whole), Vec::<Vec<u8>>::new()),
    ];
    for state in replayed {
        let state = state.unwrap();
        state.image().check_invariants();
        assert_eq!(state.snapshot(), whole);
        assert_eq!(state.image().topic("a").unwrap().config.retention_ms, 5);
        assert_eq!(state.image().topic("b").unwrap().config.retention_ms, 3000);
    }
    for end in 0..whole.len() {
        MetadataState::replay(settings.clone(), Some(&whole[..end]), Vec::<Vec<u8>>::new())
            .unwrap_err();
    }
}

#[test]
fn a_replacement_without_a_value_is_an_invalid_request_as_in_kafka() {
    let mut world = World::new();
    world.create_one(topic("t")).unwrap();
    let replacement = ConfigReplacement {
        resource: of_topic("t"),
        entries: vec![("segment.ms".to_owned(), None)],
    };
    let decision = world.controller.alter_configs(&[replacement], false);
    let refused = world.take(decision).remove(0).1.unwrap_err();
    assert!(
        matches!(refused, BrokerError::InvalidRequest(_)),
        "{refused}"
    );
}

use super::*;
use uuid::Uuid;

fn wanted(partition: i32, fetch_offset: i64) -> FetchPartition {
    FetchPartition {
        topic: TopicKey::Name("t".into()),
        partition,
        current_leader_epoch: -1,
        fetch_offset,
        last_fetched_epoch: -1,
        max_bytes: 1,
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new(Uuid::from_u128(1), partition)
}

fn of(partitions: i32) -> Interest {
    Interest::new(
        1,
        (0..partitions)
            .map(|partition| wanted(partition, 0))
            .collect(),
    )
}

/// Looks at all, watches them, finds nothing.
fn settle_all(interest: &mut Interest) -> Vec<Marker> {
    let mut markers = Vec::new();
    for place in interest.take_ready() {
        markers.extend(interest.watch(place, tp(i32::try_from(place).unwrap())));
        interest.make_idle(place);
    }
    markers
}

#[test]
fn only_marked_or_changed_partitions_are_ready() {
    let mut interest = of(100);
    let markers = settle_all(&mut interest);
    assert_eq!(interest.take_ready(), []);
    markers[7].mark(1);
    markers[3].mark(1);
    markers[7].mark(1);
    assert_eq!(interest.take_ready(), [3, 7]);
    interest.make_idle(3);
    interest.put(wanted(50, 9));
    assert_eq!(
        interest.take_ready(),
        [7, 50],
        "what was not settled stays ready"
    );
}

#[test]
fn those_served_come_last_next_time() {
    let mut interest = of(4);
    assert_eq!(interest.take_ready(), [0, 1, 2, 3]);
    interest.serve_last(&[0, 1]);
    assert_eq!(interest.take_ready(), [2, 3, 0, 1]);
}

#[test]
fn a_partition_named_twice_is_there_once_with_the_last_offset() {
    let mut interest = Interest::new(1, vec![wanted(0, 1), wanted(1, 1), wanted(0, 5)]);
    assert_eq!(interest.len(), 2);
    assert_eq!(interest.take_ready(), [0, 1]);
    assert_eq!(interest.slot(0).unwrap().wanted.fetch_offset, 5);
}

#[test]
fn a_forgotten_partition_is_not_ready_and_its_slot_is_used_again() {
    let mut interest = of(2);
    let markers = settle_all(&mut interest);
    assert_eq!(interest.forget(&TopicKey::Name("t".into()), 1), Some(tp(1)));
    assert_eq!(interest.forget(&TopicKey::Name("t".into()), 1), None);
    markers[1].mark(1);
    assert_eq!(interest.take_ready(), []);
    interest.put(wanted(9, 0));
    assert_eq!(interest.take_ready(), [1]);
    assert!(
        interest.watch(1, tp(9)).is_some(),
        "the new one needs a watch of its own"
    );
}

#[test]
fn a_larger_set_watches_everything_anew() {
    let mut interest = of(2);
    let old = settle_all(&mut interest);
    interest.put(wanted(2, 0));
    assert_eq!(interest.take_ready().len(), 3);
    assert!(old[0].is_dead());
    assert_eq!(settle_all(&mut interest).len(), 3);
    assert_eq!(interest.take_ready(), []);
}

#[test]
fn a_partition_is_watched_again_when_its_name_means_another_topic() {
    let mut interest = of(1);
    settle_all(&mut interest);
    assert!(interest.watch(0, tp(0)).is_none());
    let other = TopicPartition::new(Uuid::from_u128(2), 0);
    assert!(interest.watch(0, other).is_some());
}

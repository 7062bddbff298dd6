use super::*;
use crate::fetch::FetchPartition;
use crate::metadata::TopicKey;

const SHARD: ShardId = ShardId(1);

fn interest(partitions: i32) -> Interest {
    let partition = |partition| FetchPartition {
        topic: TopicKey::Name("t".into()),
        partition,
        current_leader_epoch: -1,
        fetch_offset: 0,
        last_fetched_epoch: -1,
        max_bytes: 1,
    };
    Interest::new(1, (0..partitions).map(partition).collect())
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

/// Random numbers that are none, but others each time.
fn counter(from: u64) -> impl FnMut() -> u64 {
    let mut count = from;
    move || {
        count += 1;
        count
    }
}

fn cache(slots: usize) -> SessionCache {
    SessionCache::new(slots, SHARD, 2)
}

fn create(cache: &mut SessionCache, partitions: i32, seconds: u64) -> Option<i32> {
    let created = cache.create(
        interest(partitions),
        false,
        at(seconds),
        counter(seconds * 1000),
    );
    cache.check_invariants();
    created.ok().map(|session| session.id)
}

/// One incremental fetch, answered.
fn use_once(
    cache: &mut SessionCache,
    id: i32,
    epoch: i32,
    seconds: u64,
) -> Result<(), BrokerError> {
    cache
        .resume(id, epoch, false, at(seconds))
        .map(|session| session.finish())
}

#[test]
fn epochs_go_up_one_by_one_and_any_other_is_refused() {
    let mut cache = cache(10);
    let id = create(&mut cache, 1, 0).unwrap();
    use_once(&mut cache, id, 1, 0).unwrap();
    for wrong in [1, 3, i32::MAX] {
        let refused = use_once(&mut cache, id, wrong, 0);
        assert_eq!(
            refused,
            Err(BrokerError::InvalidFetchSessionEpoch {
                got: wrong,
                expected: 2
            })
        );
    }
    use_once(&mut cache, id, 2, 0).unwrap();
}

#[test]
fn after_the_largest_epoch_comes_one() {
    assert_eq!(next_epoch(INITIAL_EPOCH), 1);
    assert_eq!(next_epoch(i32::MAX), 1);
}

#[test]
fn an_unknown_or_ended_session_is_not_found() {
    let mut cache = cache(10);
    let id = create(&mut cache, 1, 0).unwrap();
    assert!(cache.remove(id).is_some());
    assert_eq!(
        use_once(&mut cache, id, 1, 0),
        Err(BrokerError::FetchSessionIdNotFound { id })
    );
}

#[test]
fn names_and_ids_do_not_mix_in_a_session() {
    let mut cache = cache(10);
    let id = create(&mut cache, 1, 0).unwrap();
    assert_eq!(
        cache.resume(id, 1, true, at(0)).err(),
        Some(BrokerError::FetchSessionTopicId)
    );
}

#[test]
fn a_session_whose_fetch_waits_or_was_given_up_takes_no_other() {
    let mut cache = cache(10);
    let id = create(&mut cache, 1, 0).unwrap();
    let waiting = cache.resume(id, 1, false, at(0)).unwrap();
    let refused = Err(BrokerError::InvalidFetchSessionEpoch {
        got: 2,
        expected: 2,
    });
    assert_eq!(use_once(&mut cache, id, 2, 0), refused);
    drop(waiting);
    assert_eq!(use_once(&mut cache, id, 2, 0), refused);
}

#[test]
fn an_id_tells_its_shard_and_is_positive() {
    let mut cache = cache(1000);
    for _ in 0..100 {
        let id = create(&mut cache, 1, 0).unwrap();
        assert!(id > 0);
        assert_eq!(SessionCache::home(id, 2), SHARD);
    }
}

#[test]
fn a_full_cache_gives_way_to_stale_and_to_smaller_sessions_only() {
    let mut cache = cache(4);
    let small = create(&mut cache, 1, 0).unwrap();
    let large = create(&mut cache, 9, 0).unwrap();
    assert_eq!(
        create(&mut cache, 100, 119),
        None,
        "young sessions stay, however small"
    );
    use_once(&mut cache, small, 1, 119).unwrap();
    use_once(&mut cache, large, 1, 119).unwrap();
    // Both have lived long enough now, and neither is stale.
    let middle = create(&mut cache, 5, 121).unwrap();
    assert_eq!(
        use_once(&mut cache, small, 2, 121),
        Err(BrokerError::FetchSessionIdNotFound { id: small })
    );
    assert_eq!(
        create(&mut cache, 4, 122),
        None,
        "the smallest old one is larger"
    );
    use_once(&mut cache, middle, 1, 239).unwrap();
    // Not used for more than two minutes.
    assert!(create(&mut cache, 1, 240).is_some());
    assert_eq!(
        use_once(&mut cache, large, 2, 240),
        Err(BrokerError::FetchSessionIdNotFound { id: large })
    );
}

#[test]
fn without_slots_there_are_no_sessions() {
    assert_eq!(create(&mut cache(0), 1, 0), None);
}

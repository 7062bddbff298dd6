use super::*;
use tailwater_record::{BatchBuilder, NewRecord};

const DAY_MS: i64 = 86_400_000;

fn header(id: i64, epoch: i16, base_sequence: i32, records: i32) -> BatchHeader {
    let mut builder = BatchBuilder::new();
    for _ in 0..records {
        builder.push(NewRecord::default());
    }
    let mut header = BatchHeader::parse(&builder.build()).unwrap();
    header.producer_id = id;
    header.producer_epoch = epoch;
    header.base_sequence = base_sequence;
    header
}

/// A partition's producers with its log end.
#[derive(Default)]
struct Log {
    states: ProducerStates,
    end: i64,
    now_ms: i64,
}

impl Log {
    fn check(&mut self, header: &BatchHeader) -> Result<Verdict, BrokerError> {
        self.states
            .check(header, self.end, &|| "t-0".to_owned(), self.now_ms, DAY_MS)
    }

    fn produce(
        &mut self,
        id: i64,
        epoch: i16,
        base_sequence: i32,
        records: i32,
    ) -> Result<Verdict, BrokerError> {
        let header = header(id, epoch, base_sequence, records);
        let verdict = self.check(&header)?;
        if verdict == Verdict::New {
            self.states.append(&header, self.end, self.now_ms, DAY_MS);
            self.end += i64::from(records);
        }
        self.states.check_invariants(self.end);
        Ok(verdict)
    }
}

#[test]
fn an_unknown_producer_may_begin_with_any_sequence() {
    let mut log = Log::default();
    assert_eq!(log.produce(1, 0, 17, 3), Ok(Verdict::New));
    assert_eq!(log.produce(1, 0, 20, 1), Ok(Verdict::New));
}

#[test]
fn an_unknown_producer_begins_with_the_batch_that_was_refused() {
    let mut log = Log::default();
    log.states.refused(&header(1, 0, 4, 3));
    log.states.refused(&header(1, 0, 7, 2));
    assert!(matches!(
        log.produce(1, 0, 7, 2),
        Err(BrokerError::OutOfOrderSequence {
            got: 7,
            last: 3,
            ..
        })
    ));
    assert_eq!(log.produce(2, 0, 7, 2), Ok(Verdict::New), "another one");
    assert_eq!(log.produce(1, 0, 4, 3), Ok(Verdict::New));
    assert_eq!(log.produce(1, 0, 7, 2), Ok(Verdict::New));
    // Whoever gives the batch up begins a new epoch, or a new id.
    log.states.refused(&header(3, 0, 4, 3));
    assert_eq!(log.produce(3, 1, 0, 1), Ok(Verdict::New));
    assert_eq!(log.produce(3, 1, 1, 1), Ok(Verdict::New));
}

#[test]
fn refused_beginnings_are_bounded() {
    let mut log = Log::default();
    for id in 0..1000 {
        log.states.refused(&header(id, 0, 0, 1));
        log.states.check_invariants(0);
    }
    assert_eq!(log.produce(0, 0, 1, 1), Ok(Verdict::New), "forgotten");
    assert!(log.produce(999, 0, 1, 1).is_err());
}

#[test]
fn each_of_the_last_five_batches_is_recognized_and_an_older_one_is_out_of_order() {
    let mut log = Log::default();
    for batch in 0..6 {
        assert_eq!(log.produce(1, 0, batch * 2, 2), Ok(Verdict::New));
    }
    for batch in 1..6 {
        let base_offset = i64::from(batch) * 2;
        let verdict = log.produce(1, 0, batch * 2, 2);
        assert_eq!(
            verdict,
            Ok(Verdict::Duplicate {
                base_offset,
                last_offset: base_offset + 1
            })
        );
    }
    let error = log.produce(1, 0, 0, 2).unwrap_err();
    assert_eq!(
        error.code(),
        crate::error_code::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    assert_eq!(
        error.to_string(),
        "Out of order sequence number for producer 1 at offset 12 in partition t-0: 0 (incoming seq. number), 11 (current end sequence number)"
    );
}

#[test]
fn a_gap_or_a_partly_repeated_batch_is_out_of_order() {
    let mut log = Log::default();
    log.produce(1, 0, 0, 4).unwrap();
    for (base_sequence, records) in [(5, 1), (3, 2), (0, 3), (0, 5)] {
        let error = log.produce(1, 0, base_sequence, records).unwrap_err();
        assert_eq!(
            error.code(),
            crate::error_code::OUT_OF_ORDER_SEQUENCE_NUMBER
        );
    }
    assert_eq!(log.produce(1, 0, 4, 1), Ok(Verdict::New));
}

#[test]
fn a_higher_epoch_begins_at_zero_and_fences_the_lower_one() {
    let mut log = Log::default();
    log.produce(1, 3, 0, 4).unwrap();
    let error = log.produce(1, 4, 4, 1).unwrap_err();
    assert_eq!(
        error.code(),
        crate::error_code::OUT_OF_ORDER_SEQUENCE_NUMBER
    );
    assert_eq!(log.produce(1, 4, 0, 4), Ok(Verdict::New));
    let error = log.produce(1, 3, 4, 1).unwrap_err();
    assert_eq!(error.code(), crate::error_code::INVALID_PRODUCER_EPOCH);
    // The same sequences under the new epoch are the new epoch's.
    assert_eq!(
        log.produce(1, 4, 0, 4),
        Ok(Verdict::Duplicate {
            base_offset: 4,
            last_offset: 7
        })
    );
}

#[test]
fn sequences_wrap_after_the_largest() {
    let mut log = Log::default();
    log.produce(1, 0, i32::MAX, 1).unwrap();
    assert_eq!(log.produce(1, 0, 0, 2), Ok(Verdict::New));
    let mut log = Log::default();
    // One batch across the wrap: its last sequence is 1.
    log.produce(2, 0, i32::MAX - 1, 4).unwrap();
    assert_eq!(log.produce(2, 0, 2, 1), Ok(Verdict::New));
    assert_eq!(
        log.produce(2, 0, i32::MAX - 1, 4),
        Ok(Verdict::Duplicate {
            base_offset: 0,
            last_offset: 3
        })
    );
}

#[test]
fn a_producer_is_forgotten_when_it_was_idle_long_enough() {
    let mut log = Log::default();
    log.produce(1, 5, 0, 1).unwrap();
    log.now_ms = DAY_MS - 1;
    log.produce(1, 4, 1, 1).unwrap_err();
    log.now_ms = DAY_MS;
    assert_eq!(log.produce(1, 4, 9, 1), Ok(Verdict::New));
}

#[test]
fn at_the_bound_the_longest_idle_producers_are_forgotten() {
    let mut log = Log::default();
    let bound = i64::try_from(PRODUCERS_MAX).unwrap();
    for id in 0..bound {
        log.now_ms = id;
        log.states
            .append(&header(id, 0, 0, 1), log.end, log.now_ms, DAY_MS);
        log.end += 1;
    }
    // The first one is used again, so the second is now the longest idle one.
    log.produce(0, 0, 1, 1).unwrap();
    assert_eq!(log.states.len(), PRODUCERS_MAX);
    log.produce(bound, 0, 0, 1).unwrap();
    assert_eq!(
        log.states.len(),
        PRODUCERS_MAX - PRODUCERS_MAX / EVICTED_PART + 1
    );
    assert!(log.states.producers.contains_key(&0));
    assert!(!log.states.producers.contains_key(&1));
    log.states.check_invariants(log.end);
}

#[test]
fn a_snapshot_gives_the_same_state_back() {
    let mut log = Log::default();
    for sequence in 0..7 {
        log.now_ms = 1000 + i64::from(sequence);
        log.produce(1, 0, sequence, 1).unwrap();
        log.produce(2, 9, sequence, 1).unwrap();
    }
    let snapshot = log.states.snapshot();
    let states = ProducerStates::recover(Some(&snapshot), &[], i64::MAX, 5).unwrap();
    assert_eq!(states.producers, log.states.producers);
    assert_eq!(states.snapshot(), snapshot);
    for end in 1..snapshot.len() {
        ProducerStates::recover(Some(&snapshot[..end]), &[], i64::MAX, 5).unwrap_err();
    }
}

#[test]
fn batches_after_the_snapshot_are_replayed() {
    let mut log = Log::default();
    log.produce(1, 0, 0, 2).unwrap();
    let snapshot = log.states.snapshot();
    let after = BatchSummary {
        base_offset: 2,
        last_offset: 4,
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: 2,
        last_sequence: 4,
        max_timestamp: -1,
    };
    let states = ProducerStates::recover(Some(&snapshot), &[after], i64::MAX, 0).unwrap();
    let mut log = Log {
        states,
        end: 5,
        now_ms: 0,
    };
    assert_eq!(
        log.produce(1, 0, 2, 3),
        Ok(Verdict::Duplicate {
            base_offset: 2,
            last_offset: 4
        })
    );
    assert_eq!(log.produce(1, 0, 5, 1), Ok(Verdict::New));
}

#[test]
fn a_batch_that_the_log_has_lost_is_no_duplicate() {
    let mut log = Log::default();
    for sequence in 0..3 {
        log.produce(1, 0, sequence, 1).unwrap();
    }
    log.produce(2, 0, 0, 1).unwrap();
    let snapshot = log.states.snapshot();
    log.states = ProducerStates::recover(Some(&snapshot), &[], 2, 0).unwrap();
    log.end = 2;
    log.states.check_invariants(2);
    assert!(matches!(
        log.produce(1, 0, 1, 1),
        Ok(Verdict::Duplicate { .. })
    ));
    assert_eq!(log.produce(1, 0, 2, 1), Ok(Verdict::New));
    assert_eq!(log.produce(2, 0, 0, 1), Ok(Verdict::New));
}

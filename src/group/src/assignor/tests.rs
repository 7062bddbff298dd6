use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::{Assignor, Partitions, Subscriber};

fn topic(number: usize) -> Uuid {
    Uuid::from_u128(number as u128 + 1)
}

/// A group by numbers: partitions of each topic, topics of each member.
#[derive(Debug, Clone)]
struct Case {
    partitions: Vec<i32>,
    subscriptions: Vec<BTreeSet<usize>>,
}

impl Case {
    fn topics(&self) -> BTreeMap<Uuid, i32> {
        let numbered = self.partitions.iter().enumerate();
        numbered.map(|(at, count)| (topic(at), *count)).collect()
    }

    fn assign(&self, assignor: Assignor, before: &[Partitions]) -> Vec<Partitions> {
        let ids: Vec<String> = (0..self.subscriptions.len())
            .map(|at| format!("m{at:04}"))
            .collect();
        let subscribed: Vec<BTreeSet<Uuid>> = self
            .subscriptions
            .iter()
            .map(|topics| topics.iter().map(|&at| topic(at)).collect())
            .collect();
        let none = Partitions::new();
        let members: Vec<Subscriber<'_>> = (0..ids.len())
            .map(|at| Subscriber {
                id: &ids[at],
                instance: None,
                topics: &subscribed[at],
                target: before.get(at).unwrap_or(&none),
            })
            .collect();
        let targets = assignor.assign(&members, &self.topics());
        assert_eq!(targets, assignor.assign(&members, &self.topics()));
        self.check_covers(&targets);
        targets
    }

    /// Each partition of a subscribed topic is with one member that is subscribed to it.
    fn check_covers(&self, targets: &[Partitions]) {
        let mut given = BTreeSet::new();
        for (at, target) in targets.iter().enumerate() {
            for (id, partitions) in target {
                assert!(!partitions.is_empty());
                assert!(
                    self.subscriptions[at]
                        .iter()
                        .any(|&number| topic(number) == *id)
                );
                for partition in partitions {
                    assert!(given.insert((*id, *partition)), "given twice");
                }
            }
        }
        let mut wanted = BTreeSet::new();
        for (number, &count) in self.partitions.iter().enumerate() {
            if self.subscriptions.iter().any(|of| of.contains(&number)) {
                wanted.extend((0..count).map(|partition| (topic(number), partition)));
            }
        }
        assert_eq!(given, wanted);
    }

    fn loads(targets: &[Partitions]) -> Vec<usize> {
        let load = |target: &Partitions| target.values().map(BTreeSet::len).sum();
        targets.iter().map(load).collect()
    }

    /// No partition could go to a subscriber that has two fewer than its owner.
    fn check_balanced(&self, targets: &[Partitions]) {
        let loads = Case::loads(targets);
        for (owner, target) in targets.iter().enumerate() {
            for id in target.keys() {
                for (other, topics) in self.subscriptions.iter().enumerate() {
                    if topics.iter().any(|&number| topic(number) == *id) {
                        assert!(loads[owner] <= loads[other] + 1, "{owner} to {other}");
                    }
                }
            }
        }
    }
}

fn moves(before: &[Partitions], after: &[Partitions]) -> usize {
    let none = Partitions::new();
    let mut count = 0;
    for (at, target) in after.iter().enumerate() {
        let had = before.get(at).unwrap_or(&none);
        for (id, partitions) in target {
            let had = had.get(id);
            count += partitions
                .iter()
                .filter(|partition| !had.is_some_and(|had| had.contains(partition)))
                .count();
        }
    }
    count
}

fn cases() -> impl Strategy<Value = Case> {
    let topics = prop::collection::vec(0..12_i32, 1..6);
    topics.prop_flat_map(|partitions| {
        let numbers = partitions.len();
        let subscription = prop::collection::btree_set(0..numbers, 0..=numbers);
        prop::collection::vec(subscription, 1..9).prop_map(move |subscriptions| Case {
            partitions: partitions.clone(),
            subscriptions,
        })
    })
}

proptest! {
    #[test]
    fn uniform_balances_whatever_was_before_and_then_rests(first in cases(), second in cases()) {
        let before = first.assign(Assignor::Uniform, &[]);
        first.check_balanced(&before);
        prop_assert_eq!(moves(&before, &first.assign(Assignor::Uniform, &before)), 0);
        let after = second.assign(Assignor::Uniform, &before);
        second.check_balanced(&after);
        prop_assert_eq!(moves(&after, &second.assign(Assignor::Uniform, &after)), 0);
    }

    #[test]
    fn uniform_with_equal_subscriptions_differs_by_one_and_moves_only_what_it_must(
        partitions in prop::collection::vec(0..12_i32, 1..5),
        members in 1..9_usize,
        joined in 0..4_usize,
    ) {
        let all: BTreeSet<usize> = (0..partitions.len()).collect();
        let mut case = Case { partitions, subscriptions: vec![all.clone(); members] };
        let before = case.assign(Assignor::Uniform, &[]);
        case.subscriptions = vec![all; members + joined];
        let after = case.assign(Assignor::Uniform, &before);
        let loads = Case::loads(&after);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1);
        let newcomers: usize = loads[members..].iter().sum();
        prop_assert_eq!(moves(&before, &after), newcomers);
    }

    #[test]
    fn range_cuts_each_topic_and_joins_topics_of_equal_size(case in cases()) {
        let targets = case.assign(Assignor::Range, &[]);
        for (number, &count) in case.partitions.iter().enumerate() {
            let mut next = 0;
            for target in &targets {
                if let Some(partitions) = target.get(&topic(number)) {
                    let run: Vec<i32> = partitions.iter().copied().collect();
                    let end = next + i32::try_from(run.len()).unwrap();
                    prop_assert_eq!(run, (next..end).collect::<Vec<_>>());
                    next = end;
                }
            }
            for (other, &size) in case.partitions.iter().enumerate() {
                let same = case.subscriptions.iter().all(|of| {
                    of.contains(&number) == of.contains(&other)
                });
                if same && size == count {
                    for target in &targets {
                        prop_assert_eq!(target.get(&topic(number)), target.get(&topic(other)));
                    }
                }
            }
        }
    }
}

#[test]
fn range_serves_static_members_first_by_their_instance_ids() {
    let topics = BTreeSet::from([topic(0)]);
    let none = Partitions::new();
    let member = |id, instance| Subscriber {
        id,
        instance,
        topics: &topics,
        target: &none,
    };
    let members = [
        member("a", None),
        member("b", Some("z")),
        member("c", Some("y")),
    ];
    let targets = Assignor::Range.assign(&members, &BTreeMap::from([(topic(0), 3)]));
    let of = |at: usize| targets[at][&topic(0)].clone();
    assert_eq!(
        (of(2), of(1), of(0)),
        (
            BTreeSet::from([0]),
            BTreeSet::from([1]),
            BTreeSet::from([2])
        )
    );
}

#[test]
fn a_partition_that_two_had_stays_with_one() {
    let case = Case {
        partitions: vec![4],
        subscriptions: vec![BTreeSet::from([0]), BTreeSet::from([0])],
    };
    let both = Partitions::from([(topic(0), BTreeSet::from([0, 1, 2, 3, 9]))]);
    let targets = case.assign(Assignor::Uniform, &[both.clone(), both]);
    assert_eq!(Case::loads(&targets), [2, 2]);
}

#[test]
fn a_thousand_members_share_a_thousand_partitions_and_one_more_moves_one_at_most() {
    let mut case = Case {
        partitions: vec![100; 10],
        subscriptions: vec![(0..10).collect(); 1_000],
    };
    let before = case.assign(Assignor::Uniform, &[]);
    assert!(Case::loads(&before).iter().all(|&load| load == 1));
    case.subscriptions.push((0..10).collect());
    let after = case.assign(Assignor::Uniform, &before);
    assert_eq!(moves(&before, &after), 0);
    case.subscriptions.truncate(999);
    let left = case.assign(Assignor::Uniform, &before[..999]);
    assert_eq!(moves(&before, &left), 1);
}

#[test]
fn a_thousand_members_with_unequal_subscriptions_are_balanced() {
    let case = Case {
        partitions: vec![100; 10],
        subscriptions: (0..1_000)
            .map(|at| BTreeSet::from([at % 10, (at / 10) % 10]))
            .collect(),
    };
    let targets = case.assign(Assignor::Uniform, &[]);
    case.check_balanced(&targets);
    assert!(Case::loads(&targets).iter().all(|&load| load <= 2));
}

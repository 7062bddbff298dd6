//! The uniform assignor: balance first, then as few moves as balance allows.
//!
//! With equal subscriptions no two members differ by more than one partition. With unequal ones no
//! single move of a partition could bring two members closer that differ by more than one.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Partitions, Subscriber, is_homogeneous};

pub(super) fn assign(members: &[Subscriber<'_>], topics: &BTreeMap<Uuid, i32>) -> Vec<Partitions> {
    let mut draft = Draft::keeping(members, topics);
    if is_homogeneous(members) {
        draft.level();
    } else {
        draft.fill();
        draft.balance(members);
    }
    draft.targets
}

/// An assignment in the making.
struct Draft {
    targets: Vec<Partitions>,
    /// How many partitions each member has.
    loads: Vec<usize>,
    /// Who is subscribed to each topic that exists.
    subscribers: BTreeMap<Uuid, Vec<usize>>,
    /// Partitions that nobody has.
    free: BTreeSet<(Uuid, i32)>,
}

impl Draft {
    /// What members have already and may keep. Should two have a partition, the first keeps it.
    fn keeping(members: &[Subscriber<'_>], topics: &BTreeMap<Uuid, i32>) -> Draft {
        let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        let mut free = BTreeSet::new();
        for (index, member) in members.iter().enumerate() {
            for topic in member.topics {
                let Some(&partitions) = topics.get(topic) else {
                    continue;
                };
                let of_topic = subscribers.entry(*topic).or_insert_with(|| {
                    free.extend((0..partitions).map(|partition| (*topic, partition)));
                    Vec::new()
                });
                of_topic.push(index);
            }
        }
        let mut targets = vec![Partitions::new(); members.len()];
        let mut loads = vec![0; members.len()];
        for (index, member) in members.iter().enumerate() {
            for (topic, partitions) in member.target {
                if !member.topics.contains(topic) {
                    continue;
                }
                let kept: BTreeSet<i32> = partitions
                    .iter()
                    .copied()
                    .filter(|&partition| free.remove(&(*topic, partition)))
                    .collect();
                if !kept.is_empty() {
                    loads[index] += kept.len();
                    targets[index].insert(*topic, kept);
                }
            }
        }
        Draft {
            targets,
            loads,
            subscribers,
            free,
        }
    }

    fn give(&mut self, to: usize, topic: Uuid, partition: i32) {
        self.targets[to].entry(topic).or_default().insert(partition);
        self.loads[to] += 1;
    }

    /// Takes a partition of a topic from a member, rather one that it did not have before.
    fn take(&mut self, from: usize, topic: Uuid, before: &Partitions) -> i32 {
        let of_topic = self.targets[from].entry(topic).or_default();
        let had = before.get(&topic);
        let partition = of_topic
            .iter()
            .rev()
            .find(|&partition| !had.is_some_and(|had| had.contains(partition)))
            .or_else(|| of_topic.last())
            .copied();
        let partition = partition.expect("a member that gives a partition of a topic has one");
        of_topic.remove(&partition);
        if of_topic.is_empty() {
            self.targets[from].remove(&topic);
        }
        self.loads[from] -= 1;
        partition
    }

    /// Equal subscriptions: everybody gets the same number, and as many as the rest comes to get
    /// one more. Who has more than the least already is the first to keep one more.
    fn level(&mut self) {
        let members = self.targets.len();
        if members == 0 {
            return;
        }
        let all = self.free.len() + self.loads.iter().sum::<usize>();
        let (least, mut extra) = (all / members, all % members);
        let mut quotas = vec![least; members];
        let rich = (0..members).filter(|&index| self.loads[index] > least);
        let others = (0..members).filter(|&index| self.loads[index] <= least);
        for index in rich.chain(others) {
            let more = usize::from(extra > 0);
            quotas[index] += more;
            extra -= more;
        }
        for (index, &quota) in quotas.iter().enumerate() {
            while self.loads[index] > quota {
                let last = self.targets[index].last_key_value();
                let (&topic, _) = last.expect("a member with partitions has a topic");
                let partition = self.take(index, topic, &Partitions::new());
                self.free.insert((topic, partition));
            }
        }
        for (index, &quota) in quotas.iter().enumerate() {
            while self.loads[index] < quota {
                let Some((topic, partition)) = self.free.pop_first() else {
                    return;
                };
                self.give(index, topic, partition);
            }
        }
    }

    /// Unequal subscriptions: gives what is free to the subscriber that has least, topics with the
    /// fewest subscribers first, since they have the least choice.
    fn fill(&mut self) {
        let mut free: Vec<(usize, Uuid, i32)> = std::mem::take(&mut self.free)
            .into_iter()
            .map(|(topic, partition)| (self.subscribers[&topic].len(), topic, partition))
            .collect();
        free.sort_unstable();
        let mut at = 0;
        while let Some(&(_, topic, _)) = free.get(at) {
            let mut by_load: BTreeSet<(usize, usize)> = self.subscribers[&topic]
                .iter()
                .map(|&index| (self.loads[index], index))
                .collect();
            while let Some(&(_, same, partition)) = free.get(at).filter(|next| next.1 == topic) {
                let (load, index) = by_load.pop_first().expect("a topic has a subscriber");
                self.give(index, same, partition);
                by_load.insert((load + 1, index));
                at += 1;
            }
        }
    }

    /// Moves partitions from who has more to who has less by two or more, until no topic has
    /// such a pair. Each move makes the sum of the squares of the loads smaller, so it ends.
    fn balance(&mut self, members: &[Subscriber<'_>]) {
        let topics: Vec<Uuid> = self.subscribers.keys().copied().collect();
        loop {
            let mut moved = false;
            for &topic in &topics {
                moved |= self.balance_topic(topic, members);
            }
            if !moved {
                return;
            }
        }
    }

    fn balance_topic(&mut self, topic: Uuid, members: &[Subscriber<'_>]) -> bool {
        let subscribers = &self.subscribers[&topic];
        let owns = |targets: &[Partitions], index: usize| targets[index].contains_key(&topic);
        let poorest = subscribers.iter().map(|&index| self.loads[index]).min();
        let richest = subscribers
            .iter()
            .filter(|&&index| owns(&self.targets, index))
            .map(|&index| self.loads[index])
            .max();
        match (poorest, richest) {
            (Some(poorest), Some(richest)) if richest > poorest + 1 => {}
            _ => return false,
        }
        let mut all: BTreeSet<(usize, usize)> = BTreeSet::new();
        let mut owners: BTreeSet<(usize, usize)> = BTreeSet::new();
        for &index in subscribers {
            all.insert((self.loads[index], index));
            if owns(&self.targets, index) {
                owners.insert((self.loads[index], index));
            }
        }
        let mut moved = false;
        while let (Some(&(most, from)), Some(&(least, to))) = (owners.last(), all.first())
            && most > least + 1
        {
            let partition = self.take(from, topic, members[from].target);
            self.give(to, topic, partition);
            for (index, load) in [(from, most), (to, least)] {
                all.remove(&(load, index));
                owners.remove(&(load, index));
                all.insert((self.loads[index], index));
                if owns(&self.targets, index) {
                    owners.insert((self.loads[index], index));
                }
            }
            moved = true;
        }
        moved
    }
}

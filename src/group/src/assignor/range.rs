//! The range assignor: each topic is cut into as many ranges as it has subscribers.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Partitions, Subscriber};

/// What is left of a topic while its subscribers are served in turn.
struct Cut {
    partitions: i32,
    least: i32,
    extra: i32,
    next: i32,
}

/// Static members come first, by their instance ids, so that a restart does not move anything;
/// then the others by their member ids.
pub(super) fn assign(members: &[Subscriber<'_>], topics: &BTreeMap<Uuid, i32>) -> Vec<Partitions> {
    let mut subscribers: BTreeMap<Uuid, i32> = BTreeMap::new();
    for topic in members.iter().flat_map(|member| member.topics) {
        *subscribers.entry(*topic).or_default() += 1;
    }
    let mut cuts: BTreeMap<Uuid, Cut> = BTreeMap::new();
    for (topic, subscribers) in subscribers {
        if let Some(&partitions) = topics.get(&topic) {
            let cut = Cut {
                partitions,
                least: partitions / subscribers,
                extra: partitions % subscribers,
                next: 0,
            };
            cuts.insert(topic, cut);
        }
    }
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&index| {
        let member = members[index];
        (member.instance.is_none(), member.instance, member.id)
    });
    let mut targets = vec![Partitions::new(); members.len()];
    for index in order {
        for topic in members[index].topics {
            let Some(cut) = cuts.get_mut(topic) else {
                continue;
            };
            let more = i32::from(cut.extra > 0);
            cut.extra -= more;
            let end = (cut.next + cut.least + more).min(cut.partitions);
            if cut.next < end {
                targets[index].insert(*topic, (cut.next..end).collect());
            }
            cut.next = end;
        }
    }
    targets
}

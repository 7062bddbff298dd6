//! A compacted topic keeps the newest record of each key that was promised, over every end of the
//! process, and each record at its offset: an offset never shows two of them, nor one two offsets.
//! A tombstone stays for `delete.retention.ms` at least, and when it goes what it has deleted does
//! not come back.

use std::collections::BTreeMap;

use super::Property;
use crate::event::{Ended, Event, KeyedRead, KeyedRecord, Tp};
use crate::facts::{Facts, Since};

/// A record as it was sent.
struct Sent {
    tp: Tp,
    record: KeyedRecord,
    /// How many times of the wall clock had been told.
    clocks: usize,
    offset: Option<i64>,
}

/// What is known of a partition.
#[derive(Default)]
struct Partition {
    /// Records that were acknowledged or seen, superseded or not.
    placed: BTreeMap<i64, u64>,
    /// What is below is there after a kill, and after a power cut.
    kill_end: i64,
    power_end: i64,
    since: Since,
}

impl Partition {
    /// What must be there after the ends since it was read last.
    fn promised(&self) -> i64 {
        match self.since {
            Since::PowerCut => self.power_end,
            Since::Nothing | Since::Kill => self.kill_end,
        }
    }
}

#[derive(Default)]
pub(crate) struct Compacted {
    sent: BTreeMap<u64, Sent>,
    partitions: BTreeMap<Tp, Partition>,
    /// Every time of the wall clock that was told.
    clocks: Vec<i64>,
}

impl Compacted {
    fn place(&mut self, tp: Tp, id: u64, offset: i64) -> Result<(), String> {
        let Some(sent) = self.sent.get_mut(&id).filter(|sent| sent.tp == tp) else {
            return Err(format!("{tp:?}: nobody has sent record {id}, at {offset}"));
        };
        let before = *sent.offset.get_or_insert(offset);
        if before != offset {
            return Err(format!(
                "{tp:?}: record {id} is at {before} and at {offset}"
            ));
        }
        let placed = &mut self.partitions.entry(tp).or_default().placed;
        match *placed.entry(offset).or_insert(id) {
            had if had == id => Ok(()),
            had => Err(format!(
                "{tp:?}: {offset} showed record {had} and shows {id}"
            )),
        }
    }

    fn answered(&mut self, tp: Tp, ids: &[u64], acks: i16, base: i64) -> Result<(), String> {
        let mut end = base;
        for id in ids {
            self.place(tp, *id, end)?;
            end += 1;
        }
        let partition = self.partitions.entry(tp).or_default();
        partition.kill_end = partition.kill_end.max(end);
        if acks == -1 {
            partition.power_end = partition.power_end.max(end);
        }
        Ok(())
    }

    fn read(&mut self, facts: &Facts, read: &KeyedRead) -> Result<(), String> {
        let tp = read.tp;
        if read.error.is_some() {
            if read.is_full {
                self.may_lack_the_end(tp);
            }
            let excused = facts.failing || facts.is_hurt(tp) || facts.unknown_losses;
            return match read.is_full && facts.lives(tp) && !excused {
                true => Err(format!("{tp:?} cannot be read: error {:?}", read.error)),
                false => Ok(()),
            };
        }
        if read.is_full {
            self.read_after_start(read)?;
        }
        for found in &read.found {
            self.place(tp, found.record.id, found.offset)?;
            let sent = &self.sent[&found.record.id].record;
            if *sent != found.record {
                return Err(format!(
                    "{tp:?}: {sent:?} was sent and {:?} is at {}",
                    found.record, found.offset
                ));
            }
        }
        let partition = self.partitions.entry(tp).or_default();
        partition.kill_end = partition.kill_end.max(read.high_watermark);
        partition.power_end = partition.power_end.max(read.high_watermark);
        self.newest_are_there(facts, read)
    }

    /// A partition that cannot be read after a start, since a read fails or something in it has
    /// rotted, does not show what an end has taken of what was not promised to outlive it: its offsets
    /// may be given to other records. What had been promised is held to its place all the same.
    fn may_lack_the_end(&mut self, tp: Tp) {
        let partition = self.partitions.entry(tp).or_default();
        let promised = partition.promised();
        partition.placed.split_off(&promised);
    }

    /// The first read of a life of the process shows what is left.
    fn read_after_start(&mut self, read: &KeyedRead) -> Result<(), String> {
        let (tp, high) = (read.tp, read.high_watermark);
        if read.upto < high {
            return Err(format!("{tp:?}: nothing from {} to {high}", read.upto));
        }
        let partition = self.partitions.entry(tp).or_default();
        let promised = partition.promised();
        if high < promised {
            return Err(format!("{tp:?} ends at {high} and was to reach {promised}"));
        }
        partition.since = Since::Nothing;
        partition.kill_end = high;
        for id in partition.placed.split_off(&high).into_values() {
            self.sent.remove(&id);
        }
        Ok(())
    }

    fn newest_are_there(&self, facts: &Facts, read: &KeyedRead) -> Result<(), String> {
        let Some(partition) = self.partitions.get(&read.tp) else {
            return Ok(());
        };
        // What has superseded a record may lie where the read has not come to.
        if read.upto < read.high_watermark {
            return Ok(());
        }
        let mut newest = BTreeMap::new();
        for (offset, id) in partition.placed.range(read.from..read.upto) {
            newest.insert(&self.sent[id].record.key, (*offset, *id));
        }
        for found in &read.found {
            // Of each key the last one that was found counts.
            if newest.get(&found.record.key) == Some(&(found.offset, found.record.id)) {
                newest.remove(&found.record.key);
            }
        }
        for (key, (offset, id)) in newest {
            let key = String::from_utf8_lossy(key);
            let sent = &self.sent[&id];
            if sent.record.value.is_some() {
                return Err(format!(
                    "{:?}: the newest record of {key} is gone from {offset}",
                    read.tp
                ));
            }
            let times = &self.clocks[sent.clocks.saturating_sub(1)..];
            let earliest = times.iter().min().copied().unwrap_or(read.wall_ms);
            let latest = times.iter().max().copied().unwrap_or(0).max(read.wall_ms);
            let stays_ms = facts
                .topic(read.tp)
                .map_or(i64::MAX, |topic| topic.delete_retention_ms);
            if latest - earliest < stays_ms {
                return Err(format!(
                    "{:?}: the tombstone of {key} is gone from {offset} after {} ms",
                    read.tp,
                    latest - earliest
                ));
            }
            let older = |found: &&crate::event::KeyedFound| found.record.key == sent.record.key;
            if read.is_full
                && let Some(older) = read.found.iter().find(older)
            {
                return Err(format!(
                    "{:?}: {key} was deleted at {offset} and is there at {}",
                    read.tp, older.offset
                ));
            }
        }
        Ok(())
    }
}

impl Property for Compacted {
    fn name(&self) -> &'static str {
        "compacted"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::Clock { wall_ms } => self.clocks.push(*wall_ms),
            Event::KeyedSent { tp, records } => {
                for record in records {
                    let sent = Sent {
                        tp: *tp,
                        record: record.clone(),
                        clocks: self.clocks.len(),
                        offset: None,
                    };
                    self.sent.insert(record.id, sent);
                }
            }
            Event::KeyedAnswered {
                tp,
                ids,
                acks,
                base,
            } => return self.answered(*tp, ids, *acks, *base),
            Event::KeyedRead(read) => return self.read(facts, read),
            Event::Ended { how } => {
                let since = match how {
                    Ended::PowerCut => Since::PowerCut,
                    Ended::Stopped | Ended::Killed | Ended::Fatal(_) => Since::Kill,
                };
                for partition in self.partitions.values_mut() {
                    partition.since = partition.since.max(since);
                }
            }
            Event::Started(started) if started.unknown_losses => {
                self.partitions.clear();
                self.sent.values_mut().for_each(|sent| sent.offset = None);
            }
            Event::Started(_) => {
                for partition in self.partitions.values_mut() {
                    // What a start finds is durable before it serves.
                    if partition.since == Since::Kill {
                        partition.power_end = partition.power_end.max(partition.kill_end);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

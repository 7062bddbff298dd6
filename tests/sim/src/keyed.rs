//! What happens to the compacted topic of a history: drawn by a generator of its own and woven into
//! the other steps, so that histories without one are what they would be.

use crate::choices::Choices;
use crate::history::{ADMIN, Command, KEYED, PRODUCERS, Step, What};

/// One history in so many has a compacted topic.
const ONE_IN: u64 = 3;
/// Keys that come all the time, and all keys: more than a pass of compaction has room for.
const HOT_KEYS: u64 = 10;
const KEYS: u64 = 400;

/// One batch of keyed records.
#[derive(Clone, Debug)]
pub struct ProduceKeyed {
    /// To which partition, modulo their number.
    pub partition: u8,
    /// The keys' numbers.
    pub keys: Vec<u16>,
    /// Which of the records are tombstones: one in so many; 0 for none.
    pub tombstones: u8,
    /// Bytes of each value.
    pub bytes: u16,
    /// As on the wire.
    pub acks: i16,
}

/// Reads a partition from somewhere to its end.
#[derive(Clone, Debug)]
pub struct ReadKeyed {
    /// Which partition, modulo their number.
    pub partition: u8,
    /// From where, in 256ths of what there is.
    pub from: u8,
    /// The bytes wanted at a time.
    pub bytes_max: i32,
}

/// What the topic is created with, besides its policy.
const KINDS: [&[(&str, &str)]; 4] = [
    &[("segment.ms", "5"), ("min.cleanable.dirty.ratio", "0.0")],
    &[
        ("segment.ms", "10"),
        ("min.cleanable.dirty.ratio", "0.0"),
        ("delete.retention.ms", "150"),
    ],
    &[
        ("segment.ms", "20"),
        ("min.cleanable.dirty.ratio", "0.3"),
        ("delete.retention.ms", "60"),
    ],
    &[("max.compaction.lag.ms", "15"), ("compression.type", "lz4")],
];

/// What it is changed to.
const CHANGES: [(&str, &str); 5] = [
    ("min.compaction.lag.ms", "0"),
    ("min.compaction.lag.ms", "4"),
    ("min.cleanable.dirty.ratio", "0.0"),
    ("segment.ms", "3"),
    ("compression.type", "zstd"),
];

/// Puts steps of a compacted topic between those that are there, in some histories.
pub(crate) fn weave(seed: u64, steps: &mut Vec<Step>) {
    let mut choices = Choices::new(seed ^ 0xc0c0_a5a5_1f2e_3d4c);
    if !choices.one_in(ONE_IN) {
        return;
    }
    let mut configs = vec![("cleanup.policy", "compact")];
    configs.extend(choices.pick(&KINDS));
    let create = Command::Create {
        topic: KEYED,
        partitions: 1 + choices.u8(2),
        configs,
    };
    let mut woven = vec![client(ADMIN, create)];
    for step in steps.drain(..) {
        woven.push(step);
        if choices.one_in(2) {
            woven.push(draw(&mut choices));
        }
    }
    *steps = woven;
}

fn client(client: u8, command: Command) -> Step {
    Step {
        what: What::Client(client, command),
        then_us: 0,
    }
}

fn draw(choices: &mut Choices) -> Step {
    let partition = choices.u8(2);
    let mut step = match choices.below(20) {
        0 => {
            let (name, value) = choices.pick(&CHANGES);
            let topic = KEYED;
            client(ADMIN, Command::Configure { topic, name, value })
        }
        1..4 => {
            let read = ReadKeyed {
                partition,
                from: choices.u8(255),
                bytes_max: choices.pick(&[1, 1_000, 1 << 20]),
            };
            client(PRODUCERS, Command::ReadKeyed(read))
        }
        _ => {
            let keys = 1 + choices.below(6);
            let keys = (0..keys).map(|_| key(choices)).collect();
            let produce = ProduceKeyed {
                partition,
                keys,
                tombstones: choices.pick(&[0, 2, 5]),
                bytes: choices.u16(1, 300),
                acks: choices.pick(&[-1, -1, 1]),
            };
            // One without idempotence.
            client(PRODUCERS - 1, Command::ProduceKeyed(produce))
        }
    };
    if choices.one_in(4) {
        step.then_us = u32::from(choices.u16(500, 12_000));
    }
    step
}

fn key(choices: &mut Choices) -> u16 {
    let keys = choices.pick(&[HOT_KEYS, HOT_KEYS, KEYS]);
    u16::try_from(choices.below(keys)).expect("small")
}

//! What is sent: each record's bytes follow from the run's seed, its writer and its number, so
//! that whoever reads it can say what it must hold. The Java load makes the same.

use crate::rng::Rng;

/// Names a record: which writer sent it, and as which of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) writer: u32,
    pub(crate) number: u64,
}

/// Writer and number open every value.
const HEAD_BYTES: usize = 12;

/// The value of a record: mostly some hundred bytes, now and then some ten thousand.
pub(crate) fn value(seed: u64, id: Id) -> Vec<u8> {
    let mut rng = Rng::new(seed ^ u64::from(id.writer).rotate_left(40) ^ id.number);
    let length = match rng.below(100) {
        0 => rng.between(10_000, 60_000),
        1..=20 => rng.between(1_000, 4_000),
        _ => rng.between(8, 600),
    };
    let length = usize::try_from(length).expect("small");
    let mut bytes = Vec::with_capacity(HEAD_BYTES + length + 8);
    bytes.extend_from_slice(&id.writer.to_be_bytes());
    bytes.extend_from_slice(&id.number.to_be_bytes());
    while bytes.len() < HEAD_BYTES + length {
        // Half of each word repeats, so that codecs have something to do.
        let word = rng.next() & 0x00ff_00ff_00ff_00ff;
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.truncate(HEAD_BYTES + length);
    bytes
}

/// Whose record these bytes are, if they are unchanged.
pub(crate) fn identify(seed: u64, bytes: &[u8]) -> Option<Id> {
    let id = Id {
        writer: u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?),
        number: u64::from_be_bytes(bytes.get(4..HEAD_BYTES)?.try_into().ok()?),
    };
    (value(seed, id) == bytes).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_anywhere_is_no_record_of_ours() {
        let id = Id {
            writer: 3,
            number: 77,
        };
        let good = value(5, id);
        assert_eq!(identify(5, &good), Some(id));
        assert_eq!(identify(6, &good), None, "another run's");
        assert_eq!(identify(5, &good[..good.len() - 1]), None, "cut short");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert_eq!(identify(5, &bad), None, "byte {at}");
        }
    }

    #[test]
    fn the_java_load_makes_the_same_bytes() {
        // `java tests/torture/java/Load.java --sum 1 7` prints the same number.
        let mut sum = 0u64;
        for number in 0..1_000 {
            for byte in value(7, Id { writer: 1, number }) {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(byte));
            }
        }
        assert_eq!(sum, JAVA_SUM);
    }

    const JAVA_SUM: u64 = 11_175_679_359_069_058_252;
}

//! The newest offset of each key, in a table of a fixed size, as Kafka's `SkimpyOffsetMap`: keys are
//! known by 128 bits of a hash with a secret, so that nobody can choose two keys that share one.
//!
//! Bound: at three quarters of its slots it is full, and takes no new key.

use std::hash::Hasher;

/// A slot: the two halves of the key's hash, and its newest offset and one more; 0 is an empty slot.
type Slot = [u64; 3];

const SLOT_BYTES: usize = size_of::<Slot>();
/// A map that is smaller than this would not get anywhere.
const SLOTS_MIN: usize = 8;

pub(crate) struct OffsetMap {
    slots: Vec<Slot>,
    len: usize,
    secret: [u64; 2],
}

impl OffsetMap {
    /// For at most `keys_max` keys, in at most `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize, keys_max: u64, secret: [u64; 2]) -> Self {
        let wanted = usize::try_from(keys_max.saturating_mul(4) / 3).unwrap_or(usize::MAX);
        let slots = (bytes_max / SLOT_BYTES).min(wanted.saturating_add(2));
        Self {
            slots: vec![[0; 3]; slots.max(SLOTS_MIN)],
            len: 0,
            secret,
        }
    }

    fn is_full(&self) -> bool {
        self.len >= self.slots.len() / 4 * 3
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        self.secret.map(|secret| {
            // SipHash; what comes before the key nobody outside knows.
            let mut hasher = std::hash::DefaultHasher::new();
            hasher.write_u64(secret);
            hasher.write_u64(secret.rotate_left(32) ^ 0x5bd1_e995);
            hasher.write(key);
            hasher.finish()
        })
    }

    /// Where the key is, or would be.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.slots.len();
        let wide = u128::from(hash[0]) * count as u128;
        let mut at = usize::try_from(wide >> 64).expect("below the count");
        loop {
            let slot = self.slots[at];
            if slot[2] == 0 || slot[..2] == hash {
                return at;
            }
            at = (at + 1) % count;
        }
    }

    /// Remembers that the key's newest record is at `offset`; offsets come in their order. `false`:
    /// the map is full and does not know the key.
    pub(crate) fn put(&mut self, key: &[u8], offset: i64) -> bool {
        let hash = self.hash(key);
        let at = self.find(hash);
        let is_new = self.slots[at][2] == 0;
        if is_new && self.is_full() {
            return false;
        }
        self.len += usize::from(is_new);
        let stored = u64::try_from(offset).expect("offsets are not negative") + 1;
        self.slots[at] = [hash[0], hash[1], stored];
        true
    }

    /// The offset of the key's newest record that was put.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<i64> {
        let at = self.find(self.hash(key));
        let stored = self.slots[at][2].checked_sub(1)?;
        i64::try_from(stored).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_knows_what_a_map_knows_until_it_is_full() {
        let mut map = OffsetMap::new(100 * SLOT_BYTES, u64::MAX, [1, 2]);
        let mut model = BTreeMap::new();
        for offset in 0..1000_i64 {
            let key = (offset * 7 % 90).to_le_bytes();
            if map.put(&key, offset) {
                model.insert(key, offset);
            } else {
                assert_eq!(model.len(), 75, "three quarters of the slots");
                assert!(!model.contains_key(&key), "what it knows it takes");
            }
        }
        assert_eq!(model.len(), 75);
        for key in 0..90_i64 {
            let key = key.to_le_bytes();
            assert_eq!(map.newest(&key), model.get(&key).copied());
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_it_is_given_or_needs() {
        assert_eq!(
            OffsetMap::new(1 << 20, u64::MAX, [0, 0]).slots.len(),
            (1 << 20) / SLOT_BYTES
        );
        let mut small = OffsetMap::new(1 << 20, 30, [0, 0]);
        assert!(small.slots.len() < 50);
        assert!((0..30_u64).all(|key| small.put(&key.to_le_bytes(), 5)));
        let mut least = OffsetMap::new(0, 30, [0, 0]);
        assert!(
            least.put(b"a", 0) && least.put(b"b", 1),
            "it always gets on"
        );
    }
}

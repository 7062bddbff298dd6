//! One number over everything that happened, in order: two runs are the same run exactly if their
//! hashes are equal.

/// A running 64-bit hash of the simulation's steps. Not for hostile input; it only has to notice a
/// difference.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
}

const MULTIPLIER: u64 = 0x9fb2_1c65_1e98_df25;

impl Trace {
    pub(crate) fn word(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
        self.hash ^= self.hash >> 29;
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        self.word(u64::from_le_bytes(last));
    }

    /// Begins a step: what it is, when, and whom it concerns.
    pub(crate) fn step(&mut self, kind: u64, at: u64, whom: u64) {
        self.steps += 1;
        self.word(kind);
        self.word(at);
        self.word(whom);
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

//! The simulator's only source of chance: xoshiro256++, seeded through SplitMix64.
//!
//! Each part of the world (scheduler, disk, network, the programs themselves) draws from a stream
//! of its own, so that one more draw in one part does not reshuffle all others.

use std::ops::Range;

/// A deterministic generator: the same seed and stream give the same numbers on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The generator of one stream of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Rng {
        let mut mix = seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        let mut state = [0; 4];
        for word in &mut state {
            *word = split_mix(&mut mix);
        }
        Rng { state }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number in `range`, which must not be empty. The bias of the multiplication is below 2^-32
    /// for the ranges used here and matters to no one.
    pub(crate) fn range(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "an empty range has no number");
        let width = u128::from(range.end - range.start);
        let scaled = (u128::from(self.next_u64()) * width) >> 64;
        range.start + u64::try_from(scaled).expect("scaled below a u64 width")
    }

    /// An index below `len`, which must not be zero.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.range(0..len as u64)).expect("below a usize")
    }

    /// True in `of_1000` of a thousand cases.
    pub(crate) fn chance(&mut self, of_1000: u64) -> bool {
        self.range(0..1000) < of_1000
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn a_seed_and_stream_always_give_the_same_numbers() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(1, 1), draw(1, 1));
        assert_ne!(draw(1, 1), draw(1, 2));
        assert_ne!(draw(1, 1), draw(2, 1));
    }

    #[test]
    fn ranges_are_kept_and_both_ends_are_met() {
        let mut rng = Rng::new(7, 0);
        let mut seen = [false; 5];
        for _ in 0..1000 {
            seen[usize::try_from(rng.range(10..15) - 10).expect("small")] = true;
        }
        assert_eq!(seen, [true; 5]);
    }
}

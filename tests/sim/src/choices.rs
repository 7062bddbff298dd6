//! The chance of a history: one generator, from its seed.

/// A deterministic generator (SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Choices(u64);

impl Choices {
    /// The generator of a seed. Its stream has nothing to do with that of the machine.
    pub(crate) fn new(seed: u64) -> Self {
        let mut choices = Self(seed ^ 0x5851_f42d_4c95_7f2d);
        choices.next();
        choices
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is a number to choose");
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).expect("below the bound")
    }

    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let len = u64::try_from(from.len()).expect("small");
        from[usize::try_from(self.below(len)).expect("an index")]
    }

    pub(crate) fn u8(&mut self, bound: u8) -> u8 {
        u8::try_from(self.below(u64::from(bound))).expect("below a u8")
    }

    pub(crate) fn u16(&mut self, low: u16, high: u16) -> u16 {
        u16::try_from(self.between(u64::from(low), u64::from(high))).expect("below a u16")
    }
}

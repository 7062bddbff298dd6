//! The buckets of every histogram: log-linear, fixed.
//!
//! Eight buckets to each power of two, so that a bucket is an eighth of what it stands for, or
//! less; below 2 us they are 256 ns wide. The last one holds all that is longer than 4.5 minutes.

/// How many buckets there are.
pub(super) const BUCKETS: usize = 224;

/// Nanoseconds are looked at in units of 2 to this.
const UNIT_BITS: u32 = 8;

/// Each power of two has 2 to this many buckets.
const PARTS_BITS: u32 = 3;

const PARTS: u64 = 1 << PARTS_BITS;

/// The bucket of a time.
pub(super) fn bucket_of(nanos: u64) -> usize {
    let units = nanos >> UNIT_BITS;
    if units < PARTS {
        return units as usize;
    }
    let shift = units.ilog2() - PARTS_BITS;
    let part = (units >> shift) - PARTS;
    let bucket = u64::from(shift + 1) * PARTS + part;
    (bucket as usize).min(BUCKETS - 1)
}

/// The first nanosecond behind a bucket; for the last one, of what it would be if it were one.
pub(super) fn bucket_ends_at(bucket: usize) -> u64 {
    let next = bucket as u64 + 1;
    let units = match (next / PARTS).checked_sub(1) {
        None => next,
        Some(shift) => (PARTS + next % PARTS) << shift,
    };
    units << UNIT_BITS
}

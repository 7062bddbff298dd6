//! What a piece of code allocates, counted by the allocator.

/// Runs `run`, which may hold at most `bytes_max` at once.
pub fn bounded<T>(what: &str, bytes_max: usize, run: impl FnOnce() -> T) -> T {
    let mut result = None;
    let allocated = allocation_counter::measure(|| result = Some(run()));
    assert!(
        allocated.bytes_max <= bytes_max as u64,
        "{what} held {} bytes at once, {bytes_max} are allowed",
        allocated.bytes_max
    );
    result.expect("it ran")
}

//! Threads that are to leave the processors to the shards.

use std::io;

/// What such a thread's weight is a tenth of a shard's by.
const NICE: i32 = 10;

/// From now on the calling thread gets little of a processor that a shard wants.
pub fn give_way_to_shards() -> io::Result<()> {
    // Of the calling thread alone: on Linux each has its own.
    Ok(rustix::process::setpriority_process(None, NICE)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_calling_thread_that_gives_way_and_no_other() {
        let of_process = || rustix::process::getpriority_process(None).unwrap();
        let before = of_process();
        let thread = std::thread::spawn(move || {
            give_way_to_shards().unwrap();
            of_process()
        });
        assert_eq!(thread.join().unwrap(), NICE);
        assert_eq!(of_process(), before);
    }
}

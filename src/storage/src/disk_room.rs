//! What appends may still take of the disk before its reserve is touched.
//!
//! The free space is looked at now and then, and a device writes much in between. So each look
//! gives the shard a share, which appends use up; when half of it is gone the next look comes at
//! once. Plain state, no I/O.

use std::cell::Cell;

use tailwater_shards::sync::Notify;

/// One shard's share.
pub(crate) struct DiskRoom {
    /// How many shards share the disk.
    shards: u64,
    left: Cell<u64>,
    /// Below this the disk is looked at again; 0 once that was asked for.
    look_below: Cell<u64>,
    /// For the disk's watch.
    pub(crate) look: Notify,
}

impl DiskRoom {
    /// No bound, until the first look.
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            shards: u64::from(shards.max(1)),
            left: Cell::new(u64::MAX),
            look_below: Cell::new(0),
            look: Notify::new(),
        }
    }

    /// Takes note of what is free above the reserve, and of what this shard has logged and no
    /// segment holds: that takes its room a second time, when it is written there.
    pub(crate) fn looked(&self, spare: u64, outstanding: u64) {
        let left = (spare / self.shards).saturating_sub(outstanding);
        self.left.set(left);
        self.look_below.set(left / 2);
    }

    /// What appends may take until the next look.
    pub(crate) fn left(&self) -> u64 {
        self.left.get()
    }

    /// Takes room for an append. `false`: there is not so much.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let Some(left) = self.left.get().checked_sub(bytes) else {
            return false;
        };
        self.left.set(left);
        if left < self.look_below.get() {
            self.look_below.set(0);
            self.look.notify_one();
        }
        true
    }

    /// Takes room that is only convenient to have: where there is little, none.
    pub(crate) fn take_ahead(&self, bytes: u64) -> bool {
        bytes <= self.left.get() / 8 && self.take(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_used_up_and_half_of_it_asks_for_another_look() {
        let room = DiskRoom::new(2);
        assert!(room.take(1 << 40), "nothing was looked at yet");
        room.looked(1000, 100);
        assert!(room.take(200));
        assert!(room.take(1), "just above and just below half");
        assert!(!room.take_ahead(100));
        assert!(room.take_ahead(20));
        assert!(!room.take(200));
        assert!(room.take(179));
        assert!(!room.take(1));
    }
}

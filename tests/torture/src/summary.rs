//! What all rounds of a run came to.

use std::fmt;
use std::time::Duration;

use crate::broker::Recovery;

/// Sums over the rounds that passed.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) rounds: u64,
    kills: u64,
    checked: u64,
    acknowledged: u64,
    shown: u64,
    recoveries: Vec<Duration>,
    replayed_kib: Vec<u64>,
    torn_tails: u64,
}

impl Summary {
    pub(crate) fn round(&mut self, recovery: &Recovery, kills: u64, checked: u64) {
        self.rounds += 1;
        self.kills += kills;
        self.checked += checked;
        self.recoveries.push(recovery.took);
        self.replayed_kib.push(recovery.replayed_kib);
        self.torn_tails += recovery.torn_tails;
    }

    pub(crate) fn era(&mut self, acknowledged: u64, shown: u64) {
        self.acknowledged += acknowledged;
        self.shown += shown;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut took: Vec<u128> = self.recoveries.iter().map(Duration::as_millis).collect();
        took.sort_unstable();
        let mut replayed = self.replayed_kib.clone();
        replayed.sort_unstable();
        let middle = took.len() / 2;
        writeln!(
            f,
            "{} rounds, {} kills or cuts; {} records acknowledged, {} shown to the reader, {} read back in rounds",
            self.rounds, self.kills, self.acknowledged, self.shown, self.checked
        )?;
        write!(
            f,
            "start to first answer: median {} ms, most {} ms; replayed: median {} KiB, most {} KiB; {} torn tails",
            took.get(middle).unwrap_or(&0),
            took.last().unwrap_or(&0),
            replayed.get(middle).unwrap_or(&0),
            replayed.last().unwrap_or(&0),
            self.torn_tails
        )
    }
}

//! Rounds of `kill -9` under load: at random moments, also while the broker starts.

use std::time::{Duration, Instant};

use crate::broker::{Broker, Flags, Recovery, Site};
use crate::era::{Era, Plan};
use crate::failure::Failure;
use crate::java::Java;
use crate::rng::Rng;
use crate::summary::Summary;

/// Rounds that share topics and clients.
const ERA_ROUNDS: u64 = 5;
/// Topics and writers of one era are numbered from here on.
const ERA_NUMBERS: u32 = 10;

pub(crate) struct KillRun {
    pub(crate) site: Site,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
    /// Topics are deleted after some rounds; else the directory begins anew.
    pub(crate) delete: bool,
    pub(crate) java: Option<Java>,
}

/// What one round did, for its line.
#[derive(Default)]
struct Round {
    load: Duration,
    kills_in_start: u64,
    verify: Duration,
    recovery: Recovery,
    checked: u64,
}

impl KillRun {
    /// All rounds; the first broken promise ends them.
    pub(crate) fn run(mut self, summary: &mut Summary) -> Result<(), Failure> {
        let mut rng = Rng::new(self.seed);
        let bootstrap = self.site.bootstrap();
        let mut flags = Flags::drawn(&mut rng, self.site.engines);
        let (mut broker, _) = self.site.start(&flags)?;
        let mut first = 1;
        let mut round = 0;
        while round < self.rounds {
            let plan = Plan::drawn(&mut rng, first, self.java.is_some());
            first += ERA_NUMBERS;
            let mut era = Era::begin(&bootstrap, self.seed, plan, self.java.as_mut())?;
            for _ in 0..ERA_ROUNDS.min(self.rounds - round) {
                round += 1;
                let next = Flags::drawn(&mut rng, self.site.engines);
                let (after, did) = self.round(&mut rng, broker, &mut era, &next)?;
                let told = era.ledger.lock();
                println!(
                    "round {round}: {flags}; killed after {load} ms{more}; verify {verify} ms; \
                     first answer {took} ms after the start ({told}); {checked} records read",
                    flags = flags.words(),
                    load = did.load.as_millis(),
                    more = match did.kills_in_start {
                        0 => String::new(),
                        n => format!(" and {n} times more while it started"),
                    },
                    verify = did.verify.as_millis(),
                    took = did.recovery.took.as_millis(),
                    told = did.recovery.told,
                    checked = did.checked,
                );
                drop(told);
                did.recovery.say_if_slow();
                summary.round(&did.recovery, 1 + did.kills_in_start, did.checked);
                (broker, flags) = (after, next);
            }
            let told = {
                let told = era.ledger.lock();
                (told.acknowledged.values().sum::<u64>(), told.shown)
            };
            let read = era.end(&bootstrap, self.java.as_mut(), self.delete)?;
            summary.era(told.0, told.1);
            println!("after round {round}: all {read} records of the last topics are there");
            if !self.delete {
                broker = self.site.renew(broker, &flags)?;
            }
        }
        broker.stop()?;
        self.site.verify()?;
        Ok(())
    }

    fn round(
        &mut self,
        rng: &mut Rng,
        broker: Broker,
        era: &mut Era,
        flags: &Flags,
    ) -> Result<(Broker, Round), Failure> {
        let mut did = Round::default();
        self.pause(era, false)?;
        did.load = Duration::from_micros(rng.between(20_000, 700_000));
        sleep(did.load);
        broker.kill()?;
        did.verify = self.site.verify()?;
        while rng.chance(30) && did.kills_in_start < 4 {
            let broker = self.site.spawn(flags)?;
            sleep(Duration::from_micros(rng.below(60_000)));
            broker.kill()?;
            self.site.verify()?;
            did.kills_in_start += 1;
        }
        let (broker, recovery) = self.site.start(flags)?;
        did.recovery = recovery;
        // Half of the checks run while records come in, half on a quiet log.
        self.pause(era, rng.chance(50))?;
        did.checked = era.checker.check(&self.site.bootstrap(), &era.ledger)?;
        Ok((broker, did))
    }

    fn pause(&mut self, era: &Era, paused: bool) -> Result<(), Failure> {
        era.pause(paused);
        self.java.as_mut().map_or(Ok(()), |java| java.pause(paused))
    }
}

/// Lets the load run: the one thing to do meanwhile is to wait.
pub(crate) fn sleep(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

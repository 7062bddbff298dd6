//! Rounds of power cuts under load, on a disk that keeps what was synced and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::broker::{Broker, Flags, Recovery, Site};
use crate::disk::{Disk, Mount, Planted, Toll};
use crate::era::{Era, Plan};
use crate::failure::Failure;
use crate::java::Java;
use crate::kill::sleep;
use crate::rng::Rng;
use crate::summary::Summary;

const ERA_ROUNDS: u64 = 5;
const ERA_NUMBERS: u32 = 10;

pub(crate) struct PowerRun {
    /// Its data directory lies in `mountpoint`.
    pub(crate) site: Site,
    pub(crate) mountpoint: std::path::PathBuf,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
    /// Topics are deleted after some rounds; else the directory begins anew.
    pub(crate) delete: bool,
    pub(crate) planted: Option<Planted>,
    pub(crate) java: Option<Java>,
}

struct Power {
    run: PowerRun,
    disk: Arc<Mutex<Disk>>,
    mount: Option<Mount>,
}

impl PowerRun {
    pub(crate) fn run(self, summary: &mut Summary) -> Result<(), Failure> {
        let disk = Arc::new(Mutex::new(Disk::new(self.planted)));
        let mount = Mount::new(&disk, &self.mountpoint)?;
        let power = Power {
            disk,
            mount: Some(mount),
            run: self,
        };
        power.rounds(summary)
    }
}

impl Power {
    fn rounds(mut self, summary: &mut Summary) -> Result<(), Failure> {
        let mut rng = Rng::new(self.run.seed);
        let bootstrap = self.run.site.bootstrap();
        let mut flags = Flags::drawn(&mut rng, self.run.site.engines);
        let (mut broker, _) = self.run.site.start(&flags)?;
        let (mut first, mut round) = (1, 0);
        while round < self.run.rounds {
            let plan = Plan::drawn(&mut rng, first, self.run.java.is_some());
            first += ERA_NUMBERS;
            let mut era = Era::begin(&bootstrap, self.run.seed, plan, self.run.java.as_mut())?;
            for _ in 0..ERA_ROUNDS.min(self.run.rounds - round) {
                round += 1;
                let next = Flags::drawn(&mut rng, self.run.site.engines);
                self.pause(&era, false)?;
                let load = Duration::from_micros(rng.between(20_000, 500_000));
                sleep(load);
                let toll = self.cut(&mut rng, broker)?;
                let mut more = 0;
                while rng.chance(30) && more < 3 {
                    let broker = self.run.site.spawn(&next)?;
                    sleep(Duration::from_micros(rng.below(100_000)));
                    self.cut(&mut rng, broker)?;
                    more += 1;
                }
                let (after, recovery) = self.run.site.start(&next)?;
                self.pause(&era, rng.chance(50))?;
                let checked = era.checker.check(&bootstrap, &era.ledger)?;
                report(round, &flags, load, &toll, more, &recovery, checked);
                recovery.say_if_slow();
                summary.round(&recovery, 1 + more, checked);
                (broker, flags) = (after, next);
            }
            let told = {
                let told = era.ledger.lock();
                (told.acknowledged.values().sum::<u64>(), told.shown)
            };
            let read = era.end(&bootstrap, self.run.java.as_mut(), self.run.delete)?;
            summary.era(told.0, told.1);
            println!("after round {round}: all {read} records of the last topics are there");
            if !self.run.delete {
                broker = self.run.site.renew(broker, &flags)?;
            }
        }
        drop(broker);
        Ok(())
    }

    fn pause(&mut self, era: &Era, paused: bool) -> Result<(), Failure> {
        era.pause(paused);
        let java = self.run.java.as_mut();
        java.map_or(Ok(()), |java| java.pause(paused))
    }

    /// The power fails: the broker is gone at once, and with it what was not synced.
    fn cut(&mut self, rng: &mut Rng, broker: Broker) -> Result<Toll, Failure> {
        broker.kill()?;
        if let Some(mount) = self.mount.take() {
            mount.unmount(&self.run.mountpoint)?;
        }
        let toll = self.disk.lock().expect("no holder panics").cut(rng);
        self.mount = Some(Mount::new(&self.disk, &self.run.mountpoint)?);
        self.run.site.verify()?;
        Ok(toll)
    }
}

fn report(
    round: u64,
    flags: &Flags,
    load: Duration,
    toll: &Toll,
    more: u64,
    recovery: &Recovery,
    checked: u64,
) {
    println!(
        "round {round}: {flags}; cut after {load} ms: of unsynced blocks {kept} kept, {lost} lost, \
         {torn} torn, {sizes} sizes lost, of names {names_kept} kept, {names_lost} lost; cut {more} \
         times more while it started; first answer after {took} ms ({told}); {checked} records read",
        flags = flags.words(),
        load = load.as_millis(),
        kept = toll.blocks_kept,
        lost = toll.blocks_lost,
        torn = toll.blocks_torn,
        sizes = toll.sizes_lost,
        names_kept = toll.names_kept,
        names_lost = toll.names_lost,
        took = recovery.took.as_millis(),
        told = recovery.told,
    );
}

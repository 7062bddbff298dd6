//! The simulator: many shards on one thread, on virtual time, from one seed.
//!
//! A [`Simulation`] is one machine with its disk and its network. Processes are booted on it, one
//! after the other or side by side, and killed, or the power is cut; the disk persists. Client
//! tasks run outside any process. Nothing happens but by its seed: the same seed and the same test
//! give the same [`Simulation::trace_hash`].
//!
//! ```
//! use std::time::Duration;
//! use tailwater_shards::{sim::Simulation, sleep};
//!
//! let mut sim = Simulation::new(7);
//! let process = sim.boot(2, |_shard| async { sleep(Duration::from_secs(3600)).await });
//! sim.run_for(Duration::from_millis(10));
//! sim.power_cut();
//! assert!(!sim.is_running(process));
//! ```
//!
//! Owns virtual time, the model disk and the model network. It must not know what runs on it.

mod client;
mod control;
mod disk;
pub(crate) mod engine;
mod executor;
mod faults;
mod io;
mod net;
mod rng;
mod simulation;
mod sure;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use self::client::ClientTask;
pub use self::control::{preempt_for, work_for};
pub use self::disk::IoKind;
pub use self::faults::{EIO, ENOENT, ENOSPC, Faults, Matching};
pub use self::io::{CutKind, CutMoment, IoCounts};
pub use self::net::{Network, Party};
pub use self::simulation::{Process, Simulation, Step, StepKind};
pub use self::sure::SureDisk;
pub use self::world::Ending;

//! The whole broker above the sockets, simulated: several shards with their storage, clients that
//! produce, fetch and administrate, and a machine that is killed, loses its power, fails and slows
//! down. A history is drawn from a seed; a model that knows only what the clients were told, and
//! what is sure on the disk, checks a list of properties after each step: see `properties`.
//!
//! Owns the histories, the clients and the model. It must not know how the broker works: it
//! calls what `tailwater-broker` offers to the server, and `check_invariants`.

mod checker;
mod choices;
mod clients;
mod event;
mod facts;
mod groups;
mod history;
mod keyed;
mod machine;
mod print;
mod properties;
mod rot;
mod runner;
mod shrink;
mod world;

use tailwater_shards::planted::{self, Planted};

pub use history::History;
pub use shrink::{Shrunk, shrink};

/// How a history is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// A mistake on purpose (feature `planted`).
    pub planted: Option<Planted>,
    /// Print what happens.
    pub print: bool,
    /// At one end in so many something rots.
    pub rot_one_in: u64,
}

/// How seldom something rots, unless it is said.
pub const ROT_ONE_IN: u64 = 40;

impl Default for Options {
    fn default() -> Self {
        Self {
            planted: None,
            print: false,
            rot_one_in: ROT_ONE_IN,
        }
    }
}

/// What a history was made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Operations that clients began.
    pub operations: u64,
    /// Disk operations of the broker.
    pub ios: u64,
    /// Kills and power cuts.
    pub cuts: u64,
    /// Starts that stood, but for the first.
    pub recoveries: u64,
    /// Starts that could not tell all that was lost.
    pub doubts: u64,
    /// Shards of the first start.
    pub shards: u16,
    /// Clients that did something.
    pub clients: u16,
    /// A hash over all that happened.
    pub trace: u64,
}

impl Stats {
    /// Whether the history is large enough to count.
    pub fn counts(&self) -> bool {
        self.shards >= 2
            && self.clients >= 3
            && self.operations >= 100
            && self.cuts >= 1
            && self.recoveries >= 1
    }
}

/// What did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The seed that brings it back.
    pub seed: u64,
    /// The step of the history at which it came out.
    pub step: usize,
    /// Which property.
    pub property: &'static str,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Violation {
            seed,
            step,
            property,
            message,
        } = self;
        write!(f, "seed {seed}, step {step}: {property}: {message}")
    }
}

/// Runs the history of a seed.
///
/// # Errors
/// The first property that does not hold.
pub fn run(seed: u64, options: &Options) -> Result<Stats, Violation> {
    run_history(&History::of_seed(seed, options.rot_one_in), options)
}

/// Runs a history.
///
/// # Errors
/// The first property that does not hold.
pub fn run_history(history: &History, options: &Options) -> Result<Stats, Violation> {
    planted::set(options.planted);
    let result = runner::run(history, options);
    planted::set(None);
    result
}

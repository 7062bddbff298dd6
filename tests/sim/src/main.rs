//! `tailwater-sim`: runs histories on all cores, or one of them in full.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a command that prints, and that measures its own rate on threads of its own"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use tailwater_shards::planted::Planted;
use tailwater_sim::{Options, ROT_ONE_IN, Stats, run, run_history, shrink};

/// Simulates the whole broker.
#[derive(Parser)]
struct Arguments {
    /// How many histories.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Replay one history and print it.
    #[arg(long)]
    seed: Option<u64>,
    /// At one end in so many something rots.
    #[arg(long, default_value_t = ROT_ONE_IN, value_parser = clap::value_parser!(u64).range(1..))]
    rot: u64,
    /// A bug on purpose, by its name (feature `planted`).
    #[arg(long)]
    plant: Option<String>,
    /// Histories run side by side; all cores by default.
    #[arg(long)]
    threads: Option<usize>,
    /// Go on after so many failures.
    #[arg(long, default_value_t = 1)]
    failures: usize,
    /// Print all that happens in a shrunk history.
    #[arg(long)]
    show: bool,
}

#[derive(Default)]
struct Sums {
    histories: u64,
    counted: u64,
    operations: u64,
    ios: u64,
    cuts: u64,
    recoveries: u64,
    doubtful: u64,
    failed: Vec<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let planted = arguments
        .plant
        .as_deref()
        .map(|name| Planted::from_name(name).unwrap_or_else(|| panic!("{name} is no planted bug")));
    let options = Options {
        planted,
        print: false,
        rot_one_in: arguments.rot,
    };
    if let Some(seed) = arguments.seed {
        let printed = Options {
            print: true,
            ..options.clone()
        };
        return match run(seed, &printed) {
            Ok(stats) => {
                println!("seed {seed} holds: {stats:?}");
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("{violation}");
                ExitCode::FAILURE
            }
        };
    }
    let sums = run_all(&arguments, &options);
    if sums.failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    for seed in &sums.failed {
        if let Some(shrunk) = shrink(*seed, &options) {
            println!("{}", shrunk.violation);
            println!(
                "shrunk from {} steps to {}:",
                shrunk.steps_before,
                shrunk.history.steps.len()
            );
            println!(
                "  {} shards, the machine's chance from seed {}",
                shrunk.history.shards, shrunk.history.seed
            );
            for step in &shrunk.history.steps {
                println!("  {:?}, then {} us", step.what, step.then_us);
            }
            if arguments.show {
                let printed = Options {
                    print: true,
                    ..options.clone()
                };
                // It ends in the violation that is printed above.
                let _ = run_history(&shrunk.history, &printed);
            }
        }
    }
    ExitCode::FAILURE
}

fn run_all(arguments: &Arguments, options: &Options) -> Sums {
    let began = Instant::now();
    let next = AtomicU64::new(arguments.from);
    let end = arguments.from + arguments.seeds;
    let sums = Mutex::new(Sums::default());
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    let result = run(seed, options);
                    let mut sums = sums.lock().expect("nobody panics with it");
                    match result {
                        Ok(stats) => sums.add(&stats),
                        Err(violation) => {
                            println!("{violation}");
                            sums.failed.push(seed);
                        }
                    }
                    sums.histories += 1;
                    if sums.histories.is_multiple_of(10_000) {
                        sums.print(began);
                    }
                    if sums.failed.len() >= arguments.failures {
                        break;
                    }
                }
            });
        }
    });
    let sums = sums.into_inner().expect("all threads have ended");
    sums.print(began);
    sums
}

impl Sums {
    fn add(&mut self, stats: &Stats) {
        self.doubtful += u64::from(stats.doubts > 0);
        if stats.counts() {
            self.counted += 1;
            self.operations += stats.operations;
            self.ios += stats.ios;
            self.cuts += stats.cuts;
            self.recoveries += stats.recoveries;
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "means")]
    fn print(&self, began: Instant) {
        let seconds = began.elapsed().as_secs_f64();
        let mean = |sum: u64| sum as f64 / self.counted.max(1) as f64;
        println!(
            "{} histories ({} count) in {seconds:.1} s, {:.0} a second; mean of a history: {:.0} operations, {:.0} I/Os, {:.1} cuts, {:.1} starts; {} had a start that could not tell all that was lost, {} failed",
            self.histories,
            self.counted,
            self.histories as f64 / seconds,
            mean(self.operations),
            mean(self.ios),
            mean(self.cuts),
            mean(self.recoveries),
            self.doubtful,
            self.failed.len()
        );
    }
}

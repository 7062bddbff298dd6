//! The `tailwater` binary: arguments, configuration, boot.

// This crate runs before the shards and around them: it may read files and print.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

mod boot;
mod cli;
mod doctor;
mod machine;
mod settings;
mod start_block;
mod verify;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tailwater_admin::{Admin, Status};
use tailwater_server::{Counters, Server, Shutdown};

use cli::Action;
use settings::{CommandLine, Settings};

#[global_allocator]
static ALLOCATOR: tailwater_shards::Recycling = tailwater_shards::Recycling;

/// Exit status of a configuration, data directory or machine that was refused.
const REFUSED: u8 = 1;

/// What the counters are logged by.
const COUNTERS_TARGET: &str = "tailwater::counters";

/// What is logged when `TAILWATER_LOG` does not say.
const LOG_DEFAULT: &str = "warn,tailwater::counters=info";

fn main() -> ExitCode {
    let action = match cli::parse(std::env::args_os()) {
        Ok(action) => action,
        Err(error) => error.exit(),
    };
    let done = match action {
        Action::Serve(line) => serve(&line),
        Action::ConfigExample => {
            print!("{}", settings::example(boot::kafka_keys()));
            Ok(())
        }
        Action::Verify { dir, wal_dir } => verify::verify(&dir, wal_dir.as_deref()),
        Action::Doctor { line, json } => doctor::doctor(&line, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("tailwater: {sentence}");
            ExitCode::from(REFUSED)
        }
    }
}

/// Serves until SIGTERM or SIGINT. The error is one sentence.
fn serve(line: &CommandLine) -> Result<(), String> {
    let settings = Settings::load(line, std::env::vars(), &boot::KafkaKeys).map_err(sentence)?;
    let config = boot::server_config(&settings).map_err(sentence)?;
    let admin_address = boot::admin_address(&settings).map_err(sentence)?;
    start_logging()?;
    let signals = signals().map_err(sentence)?;
    let admin = admin_address.map(start_admin).transpose()?;
    let running = Server::start(config).map_err(sentence)?;
    let counters = running.counters();
    let status = admin.as_ref().map(Admin::status);
    let listening = listen(signals, running.shutdown_handle(), counters.clone(), status);
    let listening = listening.map_err(sentence)?;
    if let Some(admin) = &admin {
        admin.status().serves(running.figures());
    }
    // Whoever reads the block may stop the broker at once.
    let admin_at = admin.as_ref().map(Admin::addr);
    print!("{}", start_block::start_block(running.info(), admin_at));
    let ended = running.join().map_err(sentence);
    listening.close();
    tell_counters(&counters);
    ended
}

/// Answers operators from now on; until the server serves, that it does not.
fn start_admin(address: SocketAddr) -> Result<Admin, String> {
    Admin::start(address, env!("CARGO_PKG_VERSION"))
        .map_err(|error| format!("operators cannot be answered on {address}: {error}"))
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Logs go to standard error, in colour on a terminal only; `TAILWATER_LOG` filters them as
/// `tracing` does.
fn start_logging() -> Result<(), String> {
    let text = std::env::var("TAILWATER_LOG").unwrap_or_else(|_| LOG_DEFAULT.to_owned());
    let filter = tracing_subscriber::EnvFilter::try_new(&text)
        .map_err(|error| format!("`TAILWATER_LOG` is `{text}`, which is no filter: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Ok(())
}

/// From here on SIGUSR1 ends nobody. One that comes before the server runs is answered then.
fn signals() -> std::io::Result<Signals> {
    Signals::new([SIGUSR1])
}

/// SIGTERM and SIGINT drain the server; a second one ends the process at once. SIGUSR1 tells the
/// counters.
fn listen(
    mut signals: Signals,
    shutdown: Shutdown,
    counters: Counters,
    status: Option<Status>,
) -> std::io::Result<signal_hook::iterator::Handle> {
    let handle = signals.handle();
    handle.add_signal(SIGTERM)?;
    handle.add_signal(SIGINT)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut stops = false;
            for signal in signals.forever() {
                if signal == SIGUSR1 {
                    tell_counters(&counters);
                } else if stops {
                    std::process::exit(128 + SIGINT);
                } else {
                    stops = true;
                    if let Some(status) = &status {
                        status.stops();
                    }
                    shutdown.trigger();
                }
            }
        })?;
    Ok(handle)
}

/// Logs what has been counted since the start, as one block.
fn tell_counters(counters: &Counters) {
    tracing::info!(target: COUNTERS_TARGET, "counted since the start:\n{counters}");
}

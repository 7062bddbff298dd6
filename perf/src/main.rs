//! Measures brokers that speak the Kafka protocol: a load generator that can be believed, the references
//! beside it, and a suite with its report. `docs/decisions/perf-suite.md` says what is believed and why.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement of the real world: it has clocks, threads, sockets and files"
)]

mod answers;
mod cli;
mod clients;
mod clock;
mod compare;
mod connection;
mod control;
mod driver;
mod frames;
mod hop;
mod lab;
mod load;
mod machine;
mod peers;
mod poller;
mod producer;
mod reader;
mod references;
mod report;
mod schedule;
mod sink;
mod store;
mod suite;
mod tally;
mod times;
mod tune;

fn main() -> anyhow::Result<()> {
    cli::run()
}

//! The command line: `serve`, `config --example`, `verify DIR`, `doctor`. The flags of `serve`, which
//! `doctor` takes too, are made from the table in `settings`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::settings::{CommandLine, KEYS, Key, SWITCH};

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Action {
    /// Run the broker.
    Serve(CommandLine),
    /// Print the commented configuration file.
    ConfigExample,
    /// Check a data directory offline.
    Verify {
        /// The data directory.
        dir: PathBuf,
        /// Its write-ahead log, when that has a directory of its own.
        wal_dir: Option<PathBuf>,
    },
    /// Look at what a broker started so would depend on.
    Doctor {
        /// As of `serve`.
        line: CommandLine,
        /// For programs.
        json: bool,
    },
}

/// Reads the arguments; clap answers `--help`, `--version` and nonsense itself.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Action, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Ok(match matches.subcommand() {
        Some(("config", _)) => Action::ConfigExample,
        Some(("verify", of)) => Action::Verify {
            dir: of
                .get_one::<PathBuf>("dir")
                .cloned()
                .expect("clap requires it"),
            wal_dir: of.get_one::<PathBuf>("wal-dir").cloned(),
        },
        Some(("doctor", of)) => Action::Doctor {
            line: command_line(of),
            json: of.get_flag("json"),
        },
        Some((_, of)) => Action::Serve(command_line(of)),
        None => unreachable!("clap requires a subcommand"),
    })
}

fn command() -> Command {
    Command::new("tailwater")
        .about("A Kafka-compatible broker whose tail latency can be promised.")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(Command::new("serve").about("Run the broker")))
        .subcommand(doctor())
        .subcommand(
            Command::new("config")
                .about("Print a commented configuration file with every key at its default")
                .arg(
                    Arg::new("example")
                        .long("example")
                        .action(ArgAction::SetTrue)
                        .required(true)
                        .help("Print the example"),
                ),
        )
        .subcommand(
            Command::new("verify")
                .about("Check every checksum, chain and index of a data directory, offline")
                .arg(
                    Arg::new("dir")
                        .required(true)
                        .value_parser(value_parser!(PathBuf)),
                )
                .arg(
                    Arg::new("wal-dir")
                        .long("wal-dir")
                        .value_name("DIR")
                        .value_parser(value_parser!(PathBuf))
                        .help("The write-ahead log's own directory, if it has one"),
                ),
        )
}

fn doctor() -> Command {
    let about = "Look at what a broker with these settings depends on, and say what to change; alters nothing";
    let json = Arg::new("json")
        .long("json")
        .action(ArgAction::SetTrue)
        .help("Print an array of objects");
    with_settings(Command::new("doctor").about(about).arg(json))
}

/// With a flag for each key, and `--config` and `--set`.
fn with_settings(command: Command) -> Command {
    let command = command
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Read this TOML file first"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Set any key, Kafka's broker keys among them (num.partitions=3)"),
        );
    KEYS.iter()
        .fold(command, |command, key| command.arg(flag(key)))
}

fn flag(key: &'static Key) -> Arg {
    let help = match key.default {
        Some(default) => format!("{} [default: {default}]", key.doc),
        None => key.doc.to_owned(),
    };
    let flag = Arg::new(key.name)
        .long(key.name)
        .value_name(key.shape)
        .help(help);
    if key.shape == SWITCH {
        // Alone it says yes.
        flag.num_args(0..=1).default_missing_value("true")
    } else {
        flag
    }
}

fn command_line(of: &ArgMatches) -> CommandLine {
    let given = |key: &Key| Some((key.name, of.get_one::<String>(key.name)?.clone()));
    CommandLine {
        file: of.get_one::<PathBuf>("config").cloned(),
        flags: KEYS.iter().filter_map(given).collect(),
        pairs: of
            .get_many::<String>("set")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Action, clap::Error> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn the_table_makes_a_command_clap_accepts() {
        command().debug_assert();
    }

    #[test]
    fn flags_and_pairs_reach_the_settings() {
        let words = [
            "tailwater",
            "serve",
            "--shards",
            "2",
            "--set",
            "num.partitions=3",
            "--config",
            "f",
        ];
        let Ok(Action::Serve(line)) = parsed(&words) else {
            panic!("serve")
        };
        assert_eq!(line.flags, [("shards", "2".to_owned())]);
        assert_eq!(line.pairs, ["num.partitions=3"]);
        assert_eq!(line.file, Some(PathBuf::from("f")));
    }

    #[test]
    fn a_switch_needs_no_value_and_may_have_one() {
        for (words, value) in [
            (&["--shard-direct", "--shards", "2"][..], "true"),
            (&["--shards", "2", "--shard-direct"], "true"),
            (&["--shard-direct", "false", "--shards", "2"], "false"),
        ] {
            let words: Vec<_> = ["tailwater", "serve"]
                .iter()
                .chain(words)
                .copied()
                .collect();
            let Ok(Action::Serve(line)) = parsed(&words) else {
                panic!("serve")
            };
            let shards = ("shards", "2".to_owned());
            assert_eq!(line.flags, [shards, ("shard-direct", value.to_owned())]);
        }
    }

    #[test]
    fn the_doctor_takes_what_serve_takes() {
        let words = ["tailwater", "doctor", "--json", "--shards", "2"];
        let Ok(Action::Doctor { line, json: true }) = parsed(&words) else {
            panic!("doctor")
        };
        assert_eq!(line.flags, [("shards", "2".to_owned())]);
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        assert!(parsed(&["tailwater", "serve", "--shard", "2"]).is_err());
        assert!(parsed(&["tailwater", "config"]).is_err());
    }
}

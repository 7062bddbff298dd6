//! The configuration: one table of keys, read from a file, the environment and the flags, in
//! that order, the later one winning.
//!
//! Owns the names, where each value came from, and every sentence said about a bad one. It
//! knows nothing of what the values do: `boot` turns them into the server's typed configuration.

mod example;
mod file;
mod keys;
mod parse;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub(crate) use example::example;
pub(crate) use keys::{KEYS, Key, SWITCH};

/// Where a value came from, for the sentence that refuses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A line of the configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag, or `--set`.
    Flag(String),
    /// The table's own default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "{name}"),
            Self::Default => write!(f, "its default"),
        }
    }
}

/// Why a configuration is refused. Each prints as one sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the configuration file {path}: {error}")]
    Unreadable { path: String, error: std::io::Error },
    #[error("the configuration file {path} is not valid TOML: {error}")]
    NotToml { path: String, error: String },
    #[error("unknown key `{name}` in {source_of_it}{}", did_you_mean(.nearest))]
    UnknownKey {
        name: String,
        source_of_it: Source,
        nearest: Option<String>,
    },
    #[error("`{name}` from {source_of_it} is `{value}`: {reason}")]
    BadValue {
        name: String,
        value: String,
        source_of_it: Source,
        reason: String,
    },
    #[error("--set takes KEY=VALUE, not `{0}`")]
    NotAPair(String),
}

fn did_you_mean(name: &Option<String>) -> String {
    name.as_ref()
        .map_or(String::new(), |n| format!("; did you mean `{n}`?"))
}

/// What the command line said, before it is merged.
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    /// `--config FILE`.
    pub(crate) file: Option<PathBuf>,
    /// The table's flags that were given.
    pub(crate) flags: Vec<(&'static str, String)>,
    /// `--set KEY=VALUE`, in order.
    pub(crate) pairs: Vec<String>,
}

/// Every value with its source. A key that nobody set is absent unless the table has a default.
#[derive(Debug)]
pub(crate) struct Settings {
    values: BTreeMap<String, (String, Source)>,
}

/// Says whether a name is one of Kafka's broker keys and lists them, so that this module need
/// not know them.
pub(crate) trait BrokerKeys {
    /// All names, for the nearest match.
    fn names(&self) -> Vec<&str>;
}

impl Settings {
    /// Reads file, environment and flags.
    ///
    /// # Errors
    /// The first unreadable file, unknown key or malformed `--set`.
    pub(crate) fn load(
        command_line: &CommandLine,
        environment: impl Iterator<Item = (String, String)>,
        broker_keys: &dyn BrokerKeys,
    ) -> Result<Self, SettingsError> {
        let known = Known::new(broker_keys);
        let mut settings = Self {
            values: BTreeMap::new(),
        };
        for key in KEYS {
            if let Some(default) = key.default {
                settings.put(key.name, default.to_owned(), Source::Default);
            }
        }
        if let Some(path) = &command_line.file {
            settings.read_file(path, &known)?;
        }
        settings.read_environment(environment, &known)?;
        for (name, value) in &command_line.flags {
            settings.put(name, value.clone(), Source::Flag(format!("--{name}")));
        }
        for pair in &command_line.pairs {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| SettingsError::NotAPair(pair.clone()))?;
            let source = Source::Flag("--set".to_owned());
            known.require(name, &source)?;
            settings.put(name, value.to_owned(), source);
        }
        Ok(settings)
    }

    fn put(&mut self, name: &str, value: String, source: Source) {
        self.values.insert(name.to_owned(), (value, source));
    }

    fn read_file(&mut self, path: &Path, known: &Known) -> Result<(), SettingsError> {
        let source = Source::File(path.to_owned());
        for (name, value) in file::read(path)? {
            known.require(&name, &source)?;
            self.put(&name, value, source.clone());
        }
        Ok(())
    }

    fn read_environment(
        &mut self,
        environment: impl Iterator<Item = (String, String)>,
        known: &Known,
    ) -> Result<(), SettingsError> {
        for (variable, value) in environment {
            let Some(rest) = variable.strip_prefix("TAILWATER_") else {
                continue;
            };
            if rest == "LOG" {
                continue; // The log filter is read where logging starts.
            }
            let source = Source::Environment(variable.clone());
            let name = known.of_environment(rest, &source)?;
            self.put(&name, value, source);
        }
        Ok(())
    }

    /// The text of a key, if anyone set it.
    #[cfg(test)]
    fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(value, _)| value.as_str())
    }

    /// The pairs that are not of this table: Kafka's broker keys, each with its source.
    pub(crate) fn broker_pairs(&self) -> impl Iterator<Item = (&str, &str, &Source)> {
        self.values
            .iter()
            .filter(|(name, _)| !KEYS.iter().any(|key| key.name == name.as_str()))
            .map(|(name, (value, source))| (name.as_str(), value.as_str(), source))
    }

    /// Reads a key with `parse`; `None` if nobody set it.
    ///
    /// # Errors
    /// `parse`'s sentence, with the key, its value and where it came from.
    pub(crate) fn parse<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        debug_assert!(KEYS.iter().any(|key| key.name == name));
        let Some((value, source)) = self.values.get(name) else {
            return Ok(None);
        };
        parse(value)
            .map(Some)
            .map_err(|reason| Self::bad(name, value, source, reason))
    }

    /// The sentence for a value that `name` cannot have.
    pub(crate) fn bad(name: &str, value: &str, source: &Source, reason: String) -> SettingsError {
        SettingsError::BadValue {
            name: name.to_owned(),
            value: value.to_owned(),
            source_of_it: source.clone(),
            reason,
        }
    }
}

pub(crate) use parse::{cpu_list, duration, number, size, socket_address, words};

/// All names that may be set, and their environment spelling.
struct Known {
    names: Vec<String>,
}

impl Known {
    fn new(broker_keys: &dyn BrokerKeys) -> Self {
        let own = KEYS.iter().map(|key| key.name.to_owned());
        let names = own
            .chain(broker_keys.names().into_iter().map(str::to_owned))
            .collect();
        Self { names }
    }

    fn require(&self, name: &str, source: &Source) -> Result<(), SettingsError> {
        if self.names.iter().any(|known| known == name) {
            return Ok(());
        }
        Err(SettingsError::UnknownKey {
            name: name.to_owned(),
            source_of_it: source.clone(),
            nearest: self.nearest(name),
        })
    }

    fn of_environment(&self, rest: &str, source: &Source) -> Result<String, SettingsError> {
        let spelled = |name: &String| name.to_uppercase().replace(['.', '-'], "_");
        self.names
            .iter()
            .find(|name| spelled(name) == rest)
            .cloned()
            .ok_or_else(|| {
                let name = rest.to_lowercase();
                SettingsError::UnknownKey {
                    nearest: self.nearest(&name.replace('_', ".")),
                    name,
                    source_of_it: source.clone(),
                }
            })
    }

    fn nearest(&self, name: &str) -> Option<String> {
        self.names
            .iter()
            .map(|known| (strsim::jaro_winkler(known, name), known))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known.clone())
    }
}

#[cfg(test)]
mod tests;

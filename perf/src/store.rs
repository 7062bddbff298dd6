//! Results as files: one for each row and round, so that a run that was broken off goes on where it was.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::times::Times;

/// What a run is, beside its rows. Rows of different runs are not mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Configuration {
    pub(crate) suite: String,
    pub(crate) against: String,
    /// Which build of the broker, as far as it is known: [`build_of`].
    pub(crate) build: String,
    /// Which build of this program: another one may measure something else under the same name.
    #[serde(default)]
    pub(crate) generator: String,
    pub(crate) kind: String,
    pub(crate) broker_cpu: usize,
    pub(crate) client_cpus: Vec<usize>,
    pub(crate) rounds: usize,
    pub(crate) slice_ms: u64,
}

/// The length of a binary and when it was written: another build differs in one of them.
pub(crate) fn build_of(binary: &Path) -> String {
    let written = fs::metadata(binary).and_then(|it| Ok((it.len(), it.modified()?)));
    let written = written.map(|(len, at)| {
        let since = at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        format!("{len} bytes of {}", since.as_millis())
    });
    written.unwrap_or_else(|_| "unknown".to_owned())
}

/// The same of this program.
pub(crate) fn own_build() -> String {
    std::env::current_exe().map_or("unknown".to_owned(), |path| build_of(&path))
}

/// One row of one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) suite: String,
    pub(crate) title: String,
    pub(crate) survives: String,
    pub(crate) round: usize,
    /// What exactly was done.
    pub(crate) work: String,
    /// Why there are no figures.
    pub(crate) absent: Option<String>,
    /// Single figures, by name with their unit.
    pub(crate) facts: BTreeMap<String, f64>,
    /// Raw histograms of nanoseconds by name: HdrHistogram V2, compressed, base64.
    pub(crate) histograms: BTreeMap<String, String>,
    pub(crate) load_before: String,
}

/// A directory with results.
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens or makes one. One of another run is refused. Returns the machine as it was when the run
    /// began: what the rows are of.
    pub(crate) fn open(
        dir: &Path,
        configuration: &Configuration,
        machine: &Machine,
    ) -> anyhow::Result<(Self, Machine)> {
        fs::create_dir_all(dir.join("rows"))?;
        let path = dir.join("run.json");
        let began_on = match fs::read_to_string(&path) {
            Ok(text) => {
                let (found, began_on): (Configuration, Machine) =
                    serde_json::from_str(&text).context("run.json")?;
                ensure!(
                    found == *configuration,
                    "{} has the rows of another run ({found:?}): choose another --out or remove it",
                    dir.display()
                );
                began_on
            }
            Err(_) => {
                let text = serde_json::to_string_pretty(&(configuration, machine))?;
                fs::write(&path, text)?;
                machine.clone()
            }
        };
        let dir = dir.to_owned();
        Ok((Self { dir }, began_on))
    }

    /// One that is there.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<(Self, Configuration, Machine)> {
        let text = fs::read_to_string(dir.join("run.json"))
            .with_context(|| format!("{} has no run.json", dir.display()))?;
        let (configuration, machine) = serde_json::from_str(&text)?;
        Ok((
            Self {
                dir: dir.to_owned(),
            },
            configuration,
            machine,
        ))
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, id: &str, round: usize) -> PathBuf {
        self.dir.join("rows").join(format!("{id}.{round}.json"))
    }

    /// Whether a row of a round is done.
    pub(crate) fn has(&self, id: &str, round: usize) -> bool {
        self.path(id, round).exists()
    }

    /// Keeps one. It is there as a whole or not at all.
    pub(crate) fn put(&self, record: &Record) -> anyhow::Result<()> {
        let path = self.path(&record.id, record.round);
        let draft = path.with_extension("draft");
        fs::write(&draft, serde_json::to_string_pretty(record)?)?;
        Ok(fs::rename(draft, path)?)
    }

    /// All of them, rounds in order.
    pub(crate) fn records(&self) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        for entry in fs::read_dir(self.dir.join("rows"))? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                let text = fs::read_to_string(&path)?;
                let record: Record =
                    serde_json::from_str(&text).with_context(|| path.display().to_string())?;
                records.push(record);
            }
        }
        records.sort_by(|a, b| (&a.id, a.round).cmp(&(&b.id, b.round)));
        Ok(records)
    }
}

/// Where brokers have their data during a run. What a run that was broken off has left goes first; a
/// directory that is not one of these, and one that another run uses now, is refused.
pub(crate) struct Scratch {
    path: PathBuf,
    /// Held while it is in use.
    _lock: fs::File,
}

/// In each such directory.
const MARK: &str = "made-by-tailwater-perf";

impl Scratch {
    pub(crate) fn new(out: &Path) -> anyhow::Result<Self> {
        let path = out.join("tailwater-perf-scratch");
        let lock = fs::File::create(out.join("tailwater-perf.lock"))?;
        let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        rustix::fs::flock(&lock, operation)
            .with_context(|| format!("another run uses {} now", out.display()))?;
        if path.exists() {
            let is_ours = path.join(MARK).exists();
            ensure!(is_ours, "{} is not of a run: remove it", path.display());
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        fs::write(path.join(MARK), "")?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is removed by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A row over all its rounds.
#[derive(Clone, Debug)]
pub(crate) struct Merged {
    pub(crate) id: String,
    pub(crate) suite: String,
    pub(crate) title: String,
    pub(crate) survives: String,
    pub(crate) rounds: usize,
    pub(crate) absent: Option<String>,
    pub(crate) histograms: BTreeMap<String, Times>,
    /// Each figure's values, one a round.
    pub(crate) facts: BTreeMap<String, Vec<f64>>,
}

/// Merges the rounds of each row: histograms are added, never their percentiles.
pub(crate) fn merge(records: &[Record]) -> anyhow::Result<Vec<Merged>> {
    let mut rows: Vec<Merged> = Vec::new();
    for record in records {
        if rows.last().is_none_or(|row| row.id != record.id) {
            rows.push(Merged {
                id: record.id.clone(),
                suite: record.suite.clone(),
                title: record.title.clone(),
                survives: record.survives.clone(),
                rounds: 0,
                absent: None,
                histograms: BTreeMap::new(),
                facts: BTreeMap::new(),
            });
        }
        let Some(row) = rows.last_mut() else { continue };
        row.rounds += usize::from(record.absent.is_none());
        if let Some(reason) = &record.absent {
            row.absent = Some(reason.clone());
        }
        for (name, text) in &record.histograms {
            row.histograms
                .entry(name.clone())
                .or_default()
                .merge(&Times::decode(text)?);
        }
        for (name, value) in &record.facts {
            row.facts.entry(name.clone()).or_default().push(*value);
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration() -> Configuration {
        Configuration {
            suite: "quick".into(),
            against: "here".into(),
            build: String::new(),
            generator: String::new(),
            kind: "other".into(),
            broker_cpu: 0,
            client_cpus: vec![1],
            rounds: 2,
            slice_ms: 1,
        }
    }

    fn record(round: usize, ns: u64) -> Record {
        let mut times = Times::default();
        times.record(ns);
        Record {
            id: "row".into(),
            suite: "suite".into(),
            title: "title".into(),
            survives: "nothing".into(),
            round,
            work: String::new(),
            absent: None,
            facts: BTreeMap::from([("records/s".to_owned(), ns as f64)]),
            histograms: BTreeMap::from([("latency".to_owned(), times.encode().unwrap())]),
            load_before: String::new(),
        }
    }

    #[test]
    fn a_run_goes_on_where_it_was_and_another_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::describe(dir.path()).unwrap();
        let (store, _) = Store::open(dir.path(), &configuration(), &machine).unwrap();
        store.put(&record(0, 1000)).unwrap();
        let (again, _) = Store::open(dir.path(), &configuration(), &machine).unwrap();
        assert!(again.has("row", 0) && !again.has("row", 1));
        let other = Configuration {
            against: "there".into(),
            ..configuration()
        };
        assert!(Store::open(dir.path(), &other, &machine).is_err());
    }

    #[test]
    fn what_a_run_that_was_broken_off_has_left_is_removed_and_what_is_not_ours_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tailwater-perf-scratch");
        fs::create_dir_all(path.join("broker")).unwrap();
        assert!(Scratch::new(dir.path()).is_err(), "it has no mark");
        assert!(path.join("broker").exists());
        fs::write(path.join(MARK), "").unwrap();
        let scratch = Scratch::new(dir.path()).unwrap();
        assert!(!path.join("broker").exists());
        assert!(Scratch::new(dir.path()).is_err(), "it is in use");
        assert!(scratch.path().exists());
        drop(scratch);
        assert!(!path.exists());
        Scratch::new(dir.path()).unwrap();
    }

    #[test]
    fn rows_are_of_the_machine_that_they_were_measured_on() {
        let dir = tempfile::tempdir().unwrap();
        let now = Machine::describe(dir.path()).unwrap();
        let then = Machine {
            commit: "the one before".into(),
            ..now.clone()
        };
        Store::open(dir.path(), &configuration(), &then).unwrap();
        let (_, told) = Store::open(dir.path(), &configuration(), &now).unwrap();
        assert_eq!(told.commit, "the one before");
    }

    #[test]
    fn rounds_are_merged_into_one_histogram() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::describe(dir.path()).unwrap();
        let (store, _) = Store::open(dir.path(), &configuration(), &machine).unwrap();
        store.put(&record(1, 9000)).unwrap();
        store.put(&record(0, 1000)).unwrap();
        let rows = merge(&store.records().unwrap()).unwrap();
        let [row] = rows.as_slice() else {
            panic!("one row")
        };
        assert_eq!((row.rounds, row.histograms["latency"].len()), (2, 2));
        assert_eq!(row.facts["records/s"], [1000.0, 9000.0]);
        assert!(row.histograms["latency"].ns(0.5) < 1010);
    }
}

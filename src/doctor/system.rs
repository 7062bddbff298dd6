//! The files by which a kernel tells of itself and of its machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files below a root: `/`, or one that a test has made.
#[derive(Debug)]
pub(crate) struct System {
    root: PathBuf,
}

impl System {
    /// The machine that this runs on.
    pub(crate) fn this() -> Self {
        Self::at("/")
    }

    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The path of one of its files, named from `/`.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file's text, trimmed; `None` if it is not there or may not be read.
    pub(crate) fn read(&self, path: &str) -> Option<String> {
        read(&self.path(path))
    }

    /// The names in a directory, in order.
    pub(crate) fn list(&self, path: &str) -> Vec<String> {
        names(&self.path(path))
    }

    /// The value of a line `NAME: VALUE`.
    pub(crate) fn field(&self, path: &str, name: &str) -> Option<String> {
        let text = self.read(path)?;
        let of = |line: &str| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == name).then(|| value.trim().to_owned())
        };
        text.lines().find_map(of)
    }

    /// A limit of this process, soft and hard, in its unit; `u64::MAX` is none.
    pub(crate) fn limit(&self, name: &str) -> Option<(u64, u64)> {
        let text = self.read("/proc/self/limits")?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        let mut words = line[name.len()..].split_whitespace();
        let mut next = || match words.next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        };
        Some((next()?, next()?))
    }

    /// Whether this process has a capability, by its number.
    pub(crate) fn has_capability(&self, bit: u32) -> Option<bool> {
        let set = self.field("/proc/self/status", "CapEff")?;
        let set = u64::from_str_radix(&set, 16).ok()?;
        Some(set & (1 << bit) != 0)
    }

    /// The numbers of the interrupts that a device has, found at it or at one of those above it.
    pub(crate) fn interrupts_of(&self, device: &Path) -> Vec<u32> {
        let Ok(device) = device.canonicalize() else {
            return Vec::new();
        };
        let root = self.root.canonicalize();
        let root = root.unwrap_or_else(|_| self.root.clone());
        let above = device.ancestors().take_while(|above| **above != root);
        above
            .map(|above| names(&above.join("msi_irqs")))
            .find(|numbers| !numbers.is_empty())
            .unwrap_or_default()
            .iter()
            .filter_map(|number| number.parse().ok())
            .collect()
    }

    /// The cores that have taken most of each of these interrupts. One that has hardly ever come, as
    /// those of a device's configuration do, is of nobody.
    pub(crate) fn cores_of(&self, interrupts: &[u32]) -> Option<BTreeSet<usize>> {
        let text = self.read("/proc/interrupts")?;
        let mut lines = text.lines();
        // The head names the cores there are: `CPU0 CPU2`.
        let cores: Vec<usize> = lines
            .next()?
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("CPU")?.parse().ok())
            .collect();
        let of = |line: &str| {
            let (number, counts) = line.split_once(':')?;
            let number: u32 = number.trim().parse().ok()?;
            interrupts.contains(&number).then_some(())?;
            let counts = counts.split_whitespace().map(str::parse::<u64>);
            let counted: Vec<_> = cores.iter().zip(counts.map_while(Result::ok)).collect();
            let sum: u64 = counted.iter().map(|(_, count)| count).sum();
            let busiest = counted.iter().max_by_key(|(_, count)| *count)?;
            Some((*busiest.0, sum))
        };
        let found: Vec<(usize, u64)> = lines.filter_map(of).collect();
        let sum: u64 = found.iter().map(|(_, count)| count).sum();
        let often = found.iter().filter(|(_, count)| *count > sum / 100);
        Some(often.map(|(core, _)| *core).collect())
    }
}

/// A file's text, trimmed.
pub(crate) fn read(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let name =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    let mut names: Vec<String> = entries.filter_map(name).collect();
    names.sort_unstable();
    names
}

/// The one in brackets of `always [madvise] never`.
pub(crate) fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// Cores such as `0-3,8`.
pub(crate) fn cores(text: &str) -> Option<BTreeSet<usize>> {
    let mut cores = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        let part = part.trim();
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        cores.extend(first..=last);
    }
    Some(cores)
}

/// `0,2,3`.
pub(crate) fn list<'a>(cores: impl IntoIterator<Item = &'a usize>) -> String {
    let words: Vec<String> = cores.into_iter().map(usize::to_string).collect();
    words.join(",")
}

/// In the largest unit that leaves a whole part.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        u64::MAX => "unlimited".to_owned(),
        bytes if bytes >= 1 << 30 => format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64),
        bytes if bytes >= 1 << 20 => format!("{:.1} MiB", bytes as f64 / (1_u64 << 20) as f64),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

//! The data directory's file system and block device.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::system::{System, chosen, read, size};
use super::{Asked, Probes};

const FILE_SYSTEM: &str = "file system";
const OPTIONS: &str = "mount options";
const DIRECT: &str = "direct I/O";
const SCHEDULER: &str = "I/O scheduler";
const WRITE_CACHE: &str = "write cache";
const SPACE: &str = "free space";

/// What the broker reads and writes at least.
const BLOCK_BYTES: u64 = 4096;

/// A line of /proc/self/mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) device: String,
    pub(crate) at: PathBuf,
    pub(crate) kind: String,
    pub(crate) source: String,
    /// Of the mount and of the file system.
    pub(crate) options: Vec<String>,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split_whitespace().collect();
        let right: Vec<&str> = right.split_whitespace().collect();
        let options = left.get(5)?.split(',').chain(right.get(2)?.split(','));
        Some(Self {
            device: (*left.get(2)?).to_owned(),
            // The kernel writes blanks in it as \040.
            at: PathBuf::from(left.get(4)?.replace("\\040", " ")),
            kind: (*right.first()?).to_owned(),
            source: (*right.get(1)?).to_owned(),
            options: options.map(str::to_owned).collect(),
        })
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|it| it == option)
    }
}

/// The mount that holds a path: the deepest, and of those at one place the latest.
pub(crate) fn mount_of(system: &System, path: &Path) -> Option<Mount> {
    let text = system.read("/proc/self/mountinfo")?;
    let mounts = text.lines().filter_map(Mount::parse);
    mounts
        .filter(|mount| path.starts_with(&mount.at))
        .max_by_key(|mount| mount.at.components().count())
}

pub(crate) fn mount(system: &System, asked: &Asked) -> Option<Mount> {
    mount_of(system, &asked.data_dir)
}

/// A disk, as /sys has it: of a partition, the whole one.
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
}

impl Device {
    fn queue(&self, name: &str) -> Option<String> {
        read(&self.dir.join("queue").join(name))
    }
}

/// The device below a mount; `None` for file systems that have none, or more than one.
pub(crate) fn device(system: &System, mount: &Mount) -> Option<Device> {
    let by_number = system.path(&format!("/sys/dev/block/{}", mount.device));
    let name = mount.source.strip_prefix("/dev/");
    let by_name = name.map(|name| system.path(&format!("/sys/class/block/{name}")));
    let dir = [Some(by_number), by_name].into_iter().flatten();
    let dir = dir.filter_map(|dir| dir.canonicalize().ok()).next()?;
    let whole = if dir.join("queue").is_dir() {
        dir
    } else {
        dir.parent()?.to_owned()
    };
    whole.join("queue").is_dir().then_some(())?;
    let name = whole.file_name()?.to_string_lossy().into_owned();
    Some(Device { name, dir: whole })
}

pub(crate) fn examine(system: &System, asked: &Asked, probes: &Probes) -> Vec<Finding> {
    let mut findings = match mount(system, asked) {
        Some(mount) => {
            let device = device(system, &mount);
            vec![
                file_system(&mount),
                options(&mount),
                scheduler(device.as_ref(), &mount),
                write_cache(device.as_ref(), &mount),
                direct(device.as_ref(), probes),
            ]
        }
        None => {
            let what = format!("{} in /proc/self/mountinfo", asked.data_dir.display());
            vec![
                Finding::not_readable(FILE_SYSTEM, what),
                direct(None, probes),
            ]
        }
    };
    findings.push(space(asked, probes));
    findings
}

fn file_system(mount: &Mount) -> Finding {
    let seen = format!(
        "{} on {}, mounted at {}",
        mount.kind,
        mount.source,
        mount.at.display()
    );
    match mount.kind.as_str() {
        "ext4" | "xfs" => Finding::ok(FILE_SYSTEM, seen),
        "tmpfs" | "ramfs" => Finding::problem(
            FILE_SYSTEM,
            seen,
            "--data-dir on ext4 or xfs",
            "what is in memory only survives neither a power cut nor a reboot",
        ),
        _ => Finding::advice(
            FILE_SYSTEM,
            seen,
            "--data-dir on ext4 or xfs",
            "these two are what the broker is tested on; others copy blocks, or sync them otherwise",
        ),
    }
}

/// The worst that the options have.
fn options(mount: &Mount) -> Finding {
    let seen = mount.options.join(",");
    let at = mount.at.display();
    let remount = |options: &str| format!("mount -o remount,{options} {at}");
    if mount.has("nobarrier") || mount.has("barrier=0") {
        let why = "without barriers fdatasync does not reach the disk's volatile cache: what was acknowledged is lost in a power cut";
        return Finding::problem(OPTIONS, seen, remount("barrier=1"), why);
    }
    if mount.has("ro") {
        let why = "nothing can be written to it";
        return Finding::problem(OPTIONS, seen, remount("rw"), why);
    }
    if mount.has("data=journal") {
        let why = "with it the file system has no direct I/O, and writes everything twice";
        let change = format!("mount {at} with data=ordered, in /etc/fstab");
        return Finding::problem(OPTIONS, seen, change, why);
    }
    let advice = [
        (
            "discard",
            "nodiscard",
            "each deleted segment has the device discard its blocks at once, beside the writes of commits; fstrim does the same when it suits",
        ),
        (
            "strictatime",
            "relatime",
            "each read makes a write of the file's time of access",
        ),
        (
            "sync",
            "async",
            "every write is synced, whether anybody waits for that or not",
        ),
    ];
    let found = advice.into_iter().find(|(option, ..)| mount.has(option));
    if let Some((_, instead, why)) = found {
        return Finding::advice(OPTIONS, seen, remount(instead), why);
    }
    if mount.kind == "ext4" && !mount.has("lazytime") && !mount.has("noatime") {
        let why = "times of files are then not written to the journal by the way; how much it buys was not measured";
        return Finding::advice(OPTIONS, seen, remount("lazytime"), why);
    }
    Finding::ok(OPTIONS, seen)
}

fn no_device(check: &'static str, mount: &Mount) -> Finding {
    let what = format!(
        "no block device of {} ({}) in /sys",
        mount.source, mount.kind
    );
    Finding::not_readable(check, what)
}

fn scheduler(device: Option<&Device>, mount: &Mount) -> Finding {
    let Some(device) = device else {
        return no_device(SCHEDULER, mount);
    };
    let Some(text) = device.queue("scheduler") else {
        return Finding::not_readable(SCHEDULER, format!("queue/scheduler of {}", device.name));
    };
    // One that has no choice says so without brackets.
    let scheduler = chosen(&text).unwrap_or(&text);
    let seen = format!("{scheduler} on {}", device.name);
    if scheduler == "none" {
        return Finding::ok(SCHEDULER, seen);
    }
    let change = format!("echo none > /sys/block/{}/queue/scheduler", device.name);
    let why =
        "it holds writes back to sort them, which a device with queues of its own does better";
    Finding::advice(SCHEDULER, seen, change, why)
}

fn write_cache(device: Option<&Device>, mount: &Mount) -> Finding {
    let Some(device) = device else {
        return no_device(WRITE_CACHE, mount);
    };
    match device.queue("write_cache").as_deref() {
        Some("write back") => Finding::ok(
            WRITE_CACHE,
            format!(
                "{} has a volatile one, and the kernel flushes it at each fdatasync",
                device.name
            ),
        ),
        Some("write through") => Finding::ok(
            WRITE_CACHE,
            format!(
                "{} says that it has no volatile one, so that fdatasync flushes nothing: true of devices with \
                 protection against power loss, and of virtual disks if their host makes it so",
                device.name
            ),
        ),
        _ => Finding::not_readable(WRITE_CACHE, format!("queue/write_cache of {}", device.name)),
    }
}

fn direct(device: Option<&Device>, probes: &Probes) -> Finding {
    let block = device.and_then(|device| device.queue("logical_block_size"));
    let block: Option<u64> = block.and_then(|text| text.parse().ok());
    let sized = block.map_or("blocks of unknown size".to_owned(), |bytes| {
        format!("blocks of {bytes} bytes")
    });
    let why = "without it nothing that was written is known to be on the disk";
    match (probes.direct_io, block) {
        (None, _) => Finding::not_readable(
            DIRECT,
            "no file without a name can be opened in the data directory",
        ),
        (Some(false), _) => Finding::problem(
            DIRECT,
            "not on this file system",
            "--data-dir on ext4 or xfs",
            why,
        ),
        (Some(true), Some(bytes)) if bytes > BLOCK_BYTES => Finding::problem(
            DIRECT,
            sized,
            "--data-dir on a device with blocks of at most 4096 bytes",
            "the broker reads and writes in units of 4096 bytes",
        ),
        (Some(true), _) => Finding::ok(DIRECT, format!("works, {sized}")),
    }
}

fn space(asked: &Asked, probes: &Probes) -> Finding {
    let Some(space) = probes.space else {
        return Finding::not_readable(SPACE, asked.data_dir.display().to_string());
    };
    let logs = asked.wal_bytes.saturating_mul(asked.cpus.len() as u64);
    let seen = format!(
        "{} of {}; kept free {}, write-ahead logs {}",
        size(space.free_bytes),
        size(space.total_bytes),
        size(asked.reserve_bytes),
        size(logs)
    );
    let change = "free some, or lower --disk-reserve or --wal-size";
    if space.free_bytes < asked.reserve_bytes {
        let why = "below the reserve produce is refused";
        Finding::problem(SPACE, seen, change, why)
    } else if space.free_bytes < asked.reserve_bytes.saturating_add(logs) {
        let why =
            "the logs alone may take what is left above the reserve, if they are not there already";
        Finding::advice(SPACE, seen, change, why)
    } else {
        Finding::ok(SPACE, seen)
    }
}

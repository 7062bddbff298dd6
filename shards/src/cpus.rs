//! Which processors this process may use, and how many shards that is worth.
//!
//! The kernel keeps a process's affinity within its cgroup's cpuset, so the affinity says it
//! all. What a CPU quota pays for is another matter: it bounds the default only, as a user may
//! want more shards than that, to be throttled together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The processors this process may run on, ascending: its affinity within its cgroup's cpuset.
pub fn usable_cpus() -> io::Result<Vec<usize>> {
    let affinity = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&cpu| affinity.is_set(cpu))
        .collect())
}

/// How many shards to start when nobody says: one for each usable processor, but no more than
/// the whole processors that the cgroup's CPU quota pays for; at least one.
pub fn default_shards() -> io::Result<u16> {
    let usable = usable_cpus()?.len();
    let paid = quota_cpus(Path::new("/sys/fs/cgroup"), Path::new("/proc/self/cgroup"));
    let shards = paid.unwrap_or(usable).min(usable).max(1);
    Ok(u16::try_from(shards).unwrap_or(u16::MAX))
}

/// Whole processors that the quota of this process's cgroup, or of one above it, pays for. None
/// when there is no quota. What cannot be read sets none.
fn quota_cpus(root: &Path, proc_cgroup: &Path) -> Option<usize> {
    let membership = fs::read_to_string(proc_cgroup).unwrap_or_default();
    let mut least: Option<usize> = None;
    for dir in cgroup_dirs(root, &membership) {
        let quota = read_v2(&dir).or_else(|| read_v1(&dir));
        least = match (least, quota) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
    least
}

/// The directories whose quotas bind a process with this /proc/self/cgroup.
fn cgroup_dirs(root: &Path, membership: &str) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        let mount = if controllers.is_empty() {
            root.to_owned()
        } else if controllers.split(',').any(|name| name == "cpu") {
            // Mounted under the list of its controllers, mostly with a link for each.
            let listed = root.join(controllers);
            if listed.is_dir() {
                listed
            } else {
                root.join("cpu")
            }
        } else {
            continue;
        };
        // From the group up to the mount. In a container the path may be the host's, and then
        // only the mount itself is there to be read.
        let relative = Path::new(path.trim_start_matches('/'));
        for above in relative.ancestors() {
            dirs.push(mount.join(above));
        }
    }
    dirs
}

/// cgroup v2: `cpu.max` is "QUOTA PERIOD" in microseconds, or "max PERIOD".
fn read_v2(dir: &Path) -> Option<usize> {
    let text = fs::read_to_string(dir.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    whole_cpus(quota.parse().ok()?, period.parse().ok()?)
}

/// cgroup v1: the same in two files; -1 is no quota.
fn read_v1(dir: &Path) -> Option<usize> {
    let read = |name| fs::read_to_string(dir.join(name)).ok();
    let quota = read("cpu.cfs_quota_us")?.trim().parse().ok()?;
    let period = read("cpu.cfs_period_us")?.trim().parse().ok()?;
    whole_cpus(quota, period)
}

fn whole_cpus(quota_us: u64, period_us: u64) -> Option<usize> {
    let cpus = quota_us.checked_div(period_us)?;
    Some(usize::try_from(cpus).unwrap_or(usize::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up /sys/fs/cgroup and /proc/self/cgroup.
    struct Cgroups {
        root: tempfile::TempDir,
    }

    impl Cgroups {
        fn new(membership: &str, files: &[(&str, &str)]) -> Cgroups {
            let root = tempfile::tempdir().unwrap();
            fs::write(root.path().join("self"), membership).unwrap();
            for (path, text) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Cgroups { root }
        }

        fn quota(&self) -> Option<usize> {
            quota_cpus(self.root.path(), &self.root.path().join("self"))
        }
    }

    #[test]
    fn this_process_may_use_a_processor_and_defaults_to_no_more_shards_than_it_may_use() {
        let usable = usable_cpus().unwrap();
        assert!(!usable.is_empty());
        assert!((1..=usable.len()).contains(&usize::from(default_shards().unwrap())));
    }

    #[test]
    fn the_tightest_v2_quota_on_the_way_up_counts_in_whole_processors() {
        let groups = Cgroups::new(
            "0::/a/b\n",
            &[
                ("a/b/cpu.max", "450000 100000\n"),
                ("a/cpu.max", "250000 100000\n"),
            ],
        );
        assert_eq!(groups.quota(), Some(2));
    }

    #[test]
    fn no_quota_is_no_bound_and_a_small_one_is_one_processor() {
        assert_eq!(
            Cgroups::new("0::/\n", &[("cpu.max", "max 100000\n")]).quota(),
            None
        );
        assert_eq!(
            Cgroups::new("0::/\n", &[("cpu.max", "20000 100000\n")]).quota(),
            Some(1)
        );
        assert_eq!(Cgroups::new("", &[]).quota(), None);
        assert_eq!(
            Cgroups::new("0::/\n", &[("cpu.max", "5 0\n")]).quota(),
            None
        );
    }

    #[test]
    fn a_v1_quota_is_found_under_its_controllers_also_when_the_path_is_the_hosts() {
        let groups = Cgroups::new(
            "12:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
            &[
                ("cpu,cpuacct/cpu.cfs_quota_us", "300000\n"),
                ("cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(groups.quota(), Some(3));
        let none = Cgroups::new(
            "4:cpu,cpuacct:/\n",
            &[
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(none.quota(), None);
    }
}

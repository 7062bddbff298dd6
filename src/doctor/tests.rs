//! On made-up machines.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

/// One on which nothing is to be said: two of four cores are the shards', one of the others takes the
/// network's interrupts, one of theirs the disk's.
const GOOD: &[(&str, &str)] = &[
    ("proc/sys/kernel/osrelease", "6.8.0-41-generic\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc\n",
    ),
    (
        "sys/devices/system/clocksource/clocksource0/available_clocksource",
        "tsc hpet acpi_pm\n",
    ),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max open files            1024                 524288               files\n\
         Max locked memory         8388608              8388608              bytes\n",
    ),
    (
        "proc/self/status",
        "Name:\ttailwater\nCpus_allowed_list:\t0-3\nCapEff:\t0000000000000000\n",
    ),
    (
        "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
        "0,2\n",
    ),
    (
        "sys/devices/system/cpu/cpu1/topology/thread_siblings_list",
        "1,3\n",
    ),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "performance\n",
    ),
    (
        "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor",
        "performance\n",
    ),
    (
        "proc/interrupts",
        "           CPU0       CPU1       CPU2       CPU3\n \
         35:          1          0          0          0 PCI-MSIX-0000:00:02.0 0-edge virtio1-config\n \
         36:          0   21185845          0          0 PCI-MSIX-0000:00:02.0 1-edge virtio1-req.0\n \
         41:          0          0      29441          7 PCI-MSIX-0000:00:04.0 1-edge virtio3-rx\n\
         NMI:         0          0          0          0 Non-maskable interrupts\n",
    ),
    (
        "proc/self/mountinfo",
        "27 1 8:2 / / rw,relatime shared:1 - ext4 /dev/vda2 rw,discard\n\
         28 27 8:1 / /data rw,relatime shared:2 - ext4 /dev/vda1 rw,lazytime\n\
         29 27 0:23 / /dev/shm rw,nosuid - tmpfs tmpfs rw\n",
    ),
    ("sys/devices/pci0/0000:00:02.0/msi_irqs/35", "msix\n"),
    ("sys/devices/pci0/0000:00:02.0/msi_irqs/36", "msix\n"),
    (
        "sys/devices/pci0/0000:00:02.0/virtio1/block/vda/queue/scheduler",
        "[none] mq-deadline\n",
    ),
    (
        "sys/devices/pci0/0000:00:02.0/virtio1/block/vda/queue/write_cache",
        "write back\n",
    ),
    (
        "sys/devices/pci0/0000:00:02.0/virtio1/block/vda/queue/logical_block_size",
        "512\n",
    ),
    (
        "sys/devices/pci0/0000:00:02.0/virtio1/block/vda/vda1/partition",
        "1\n",
    ),
    ("sys/devices/pci0/0000:00:04.0/msi_irqs/41", "msix\n"),
    ("sys/devices/pci0/0000:00:04.0/virtio3/vendor", "0x1af4\n"),
    (
        "proc/meminfo",
        "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n",
    ),
    ("proc/swaps", "Filename Type Size Used Priority\n"),
    (
        "sys/kernel/mm/transparent_hugepage/enabled",
        "always [madvise] never\n",
    ),
];

struct Made {
    root: tempfile::TempDir,
    asked: Asked,
    probes: Probes,
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn space(free_bytes: u64) -> Option<shards::Space> {
    Some(shards::Space {
        total_bytes: 100 << 30,
        free_bytes,
    })
}

impl Made {
    fn empty() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            asked: Asked {
                data_dir: PathBuf::from("/data/tailwater"),
                wal_bytes: 256 << 20,
                reserve_bytes: 1 << 30,
                cpus: vec![0, 1],
                poll: Poll::Park,
                engine: Engine::Glommio,
                memory_bytes: 4 << 30,
                connections_max: None,
            },
            probes: Probes {
                engine: Ok(()),
                direct_io: Some(true),
                space: space(50 << 30),
                shm: space(1 << 30),
            },
        }
    }

    fn good() -> Self {
        let made = Self::empty();
        let root = made.root.path();
        GOOD.iter().for_each(|(path, text)| write(root, path, text));
        for dir in ["sys/dev/block", "sys/class/net/eth0", "sys/class/net/lo"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let vda1 = "../../devices/pci0/0000:00:02.0/virtio1/block/vda/vda1";
        symlink(vda1, root.join("sys/dev/block/8:1")).unwrap();
        let virtio3 = "../../../devices/pci0/0000:00:04.0/virtio3";
        symlink(virtio3, root.join("sys/class/net/eth0/device")).unwrap();
        made
    }

    fn examined(&self) -> Vec<Finding> {
        examine(&System::at(self.root.path()), &self.asked, &self.probes)
    }

    /// What is not as it should be.
    fn told(&self) -> Vec<(&'static str, Verdict)> {
        let findings = self.examined();
        let told = findings.iter().filter(|it| it.verdict != Verdict::Ok);
        told.map(|it| (it.check, it.verdict)).collect()
    }
}

#[test]
fn nothing_is_said_of_a_good_machine() {
    let findings = Made::good().examined();
    for finding in &findings {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
        assert!(!finding.seen.is_empty() && finding.change.is_empty());
    }
    let seen = |check| {
        let of = findings.iter().find(|finding| finding.check == check);
        of.map_or("", |finding| finding.seen.as_str())
    };
    assert_eq!(seen("disk interrupts"), "vda on cores 1; shards on 0,1");
    assert_eq!(seen("network interrupts"), "eth0 on cores 2; shards on 0,1");
    assert_eq!(
        seen("file system"),
        "ext4 on /dev/vda1, mounted at /data",
        "the deepest mount counts"
    );
}

#[test]
fn each_thing_that_is_otherwise_is_told_by_its_check_alone() {
    use Verdict::{Advice, NotReadable, Problem};
    const QUEUE: &str = "sys/devices/pci0/0000:00:02.0/virtio1/block/vda/queue";
    const CLOCK: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    let mount = |kind: &str, options: &str| {
        format!(
            "28 27 8:1 / /data rw - {kind} /dev/vda1 {options}\n29 27 0:23 / /dev/shm rw - tmpfs tmpfs rw\n"
        )
    };
    let limits = |files: u32, locked: u32| {
        format!("Max open files {files} {files} files\nMax locked memory {locked} {locked} bytes\n")
    };
    let queue = |name: &str| format!("{QUEUE}/{name}");
    let cases: &[(String, String, &str, Verdict)] = &[
        (
            "proc/sys/kernel/osrelease".into(),
            "5.4.0".into(),
            "kernel",
            Problem,
        ),
        (
            "proc/sys/kernel/osrelease".into(),
            "5.10.1".into(),
            "kernel",
            Advice,
        ),
        (
            "proc/sys/kernel/osrelease".into(),
            "none".into(),
            "kernel",
            NotReadable,
        ),
        (CLOCK.into(), "hpet".into(), "clock source", Advice),
        (
            "proc/self/limits".into(),
            limits(20_000, 8 << 20),
            "open files",
            Verdict::Ok,
        ),
        (
            "proc/self/limits".into(),
            limits(4096, 8 << 20),
            "open files",
            Advice,
        ),
        (
            "proc/self/limits".into(),
            limits(400, 8 << 20),
            "open files",
            Problem,
        ),
        (
            "proc/self/limits".into(),
            limits(20_000, 65_536),
            "locked memory",
            Problem,
        ),
        (
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor".into(),
            "powersave".into(),
            "CPU governor",
            Advice,
        ),
        (
            "sys/devices/system/cpu/cpu0/topology/thread_siblings_list".into(),
            "0-1".into(),
            "hyperthreads",
            Advice,
        ),
        (
            "proc/self/mountinfo".into(),
            mount("tmpfs", "rw"),
            "file system",
            Problem,
        ),
        (
            "proc/self/mountinfo".into(),
            mount("btrfs", "rw"),
            "file system",
            Advice,
        ),
        (
            "proc/self/mountinfo".into(),
            mount("xfs", "rw"),
            "file system",
            Verdict::Ok,
        ),
        (
            "proc/self/mountinfo".into(),
            mount("ext4", "rw"),
            "mount options",
            Advice,
        ),
        (
            "proc/self/mountinfo".into(),
            mount("ext4", "rw,lazytime,discard"),
            "mount options",
            Advice,
        ),
        (
            "proc/self/mountinfo".into(),
            mount("ext4", "rw,barrier=0"),
            "mount options",
            Problem,
        ),
        (
            "proc/self/mountinfo".into(),
            mount("ext4", "rw,data=journal"),
            "mount options",
            Problem,
        ),
        (
            queue("scheduler"),
            "none [mq-deadline]".into(),
            "I/O scheduler",
            Advice,
        ),
        (
            queue("scheduler"),
            "none".into(),
            "I/O scheduler",
            Verdict::Ok,
        ),
        (
            queue("write_cache"),
            "write through".into(),
            "write cache",
            Verdict::Ok,
        ),
        (queue("write_cache"), "?".into(), "write cache", NotReadable),
        (
            queue("logical_block_size"),
            "8192".into(),
            "direct I/O",
            Problem,
        ),
        (
            "proc/meminfo".into(),
            "MemAvailable: 1000 kB".into(),
            "memory",
            Problem,
        ),
        (
            "proc/swaps".into(),
            "Filename\n/dev/sda2 partition 1 0 -2".into(),
            "swap",
            Advice,
        ),
        (
            "sys/kernel/mm/transparent_hugepage/enabled".into(),
            "[always] madvise never".into(),
            "huge pages",
            Advice,
        ),
    ];
    for (path, text, check, verdict) in cases {
        let made = Made::good();
        write(made.root.path(), path, text);
        let expected = match verdict {
            Verdict::Ok => vec![],
            verdict => vec![(*check, *verdict)],
        };
        assert_eq!(made.told(), expected, "{path}: {text}");
    }
}

#[test]
fn what_is_asked_for_is_held_against_what_there_is() {
    let told = |change: &dyn Fn(&mut Made)| {
        let mut made = Made::good();
        change(&mut made);
        made.told()
    };
    let problem = |check| vec![(check, Verdict::Problem)];
    let advice = |check| vec![(check, Verdict::Advice)];
    assert_eq!(
        told(&|made| made.probes.engine = Err("not for you".to_owned())),
        problem("io_uring")
    );
    assert_eq!(
        told(&|made| made.probes.direct_io = Some(false)),
        problem("direct I/O")
    );
    assert_eq!(
        told(&|made| made.probes.space = space(1 << 29)),
        problem("free space")
    );
    assert_eq!(
        told(&|made| made.probes.space = space(5 << 28)),
        advice("free space")
    );
    assert_eq!(
        told(&|made| made.probes.shm = space(1 << 20)),
        advice("tmpfs")
    );
    assert_eq!(
        told(&|made| made.asked.connections_max = Some(1_000_000)),
        problem("open files")
    );
    assert_eq!(
        told(&|made| made.asked.cpus = vec![0, 1, 0]),
        advice("cores")
    );
    assert_eq!(
        told(&|made| made.asked.poll = Poll::Spin),
        advice("disk interrupts")
    );
    let older = |made: &mut Made| {
        made.asked.engine = Engine::Uring;
        write(made.root.path(), "proc/sys/kernel/osrelease", "5.15.0");
    };
    assert_eq!(told(&older), problem("kernel"));
}

#[test]
fn what_cannot_be_read_is_never_good() {
    let mut made = Made::empty();
    made.probes = Probes {
        engine: Err("no rings".to_owned()),
        direct_io: None,
        space: None,
        shm: None,
    };
    for finding in made.examined() {
        let expected = match finding.check {
            "io_uring" => Verdict::Problem,
            _ => Verdict::NotReadable,
        };
        assert_eq!(finding.verdict, expected, "{finding:?}");
    }
}

#[test]
fn advice_comes_with_a_command_and_a_reason() {
    let mut made = Made::good();
    made.asked.cpus = vec![1];
    write(
        made.root.path(),
        "proc/interrupts",
        "CPU0 CPU1\n36: 5 0 x virtio1-req.0\n41: 0 9 x virtio3-rx\n",
    );
    let findings = made.examined();
    let text = report::text(&made.asked, &findings);
    for line in [
        "1 shards on cores 1, data at /data/tailwater",
        "advice       disk interrupts    vda on cores 0; shards on 1",
        "               change           try --cpus 0 for the shard with the most writes",
        "18 ok, 2 advice, 0 problem, 0 not readable",
    ] {
        assert!(
            text.lines().any(|told| told == line),
            "{line}\nis not in\n{text}"
        );
    }
    let json = report::json(&findings);
    let all = json.as_array().unwrap();
    assert_eq!(all.len(), findings.len());
    let of = |check: &str| all.iter().find(|one| one["check"] == check).unwrap();
    assert_eq!(of("network interrupts")["verdict"], "advice");
    assert!(
        of("network interrupts")["change"]
            .as_str()
            .unwrap()
            .contains("echo 0,2,3 > /proc/irq/")
    );
    assert_eq!(of("kernel")["seen"], "6.8.0-41-generic");
}

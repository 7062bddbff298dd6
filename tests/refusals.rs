//! What a start refuses: one clear sentence, a status that is not zero, and nothing altered.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use common::clients::produce_one;
use common::disk::{self, assert_unaltered, contents, header};
use common::{Options, eventually, finish, scratch};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tempfile::TempDir;

/// A scratch directory with a data directory in it that a broker has stopped on.
struct LivedIn {
    dir: TempDir,
    data: PathBuf,
}

impl LivedIn {
    fn new() -> Self {
        Self::with(|options, _| options)
    }

    fn with(change: impl FnOnce(Options, &Path) -> Options) -> Self {
        let dir = scratch();
        let data = dir.path().join("data");
        let broker = change(Options::new(&data), dir.path()).start();
        produce_one(&broker.bootstrap(), "t", "a value");
        broker.stop_cleanly();
        Self { dir, data }
    }

    fn options(&self) -> Options {
        Options::new(&self.data)
    }

    /// A start as told is refused, and everything in the scratch directory stays as it is.
    fn refuses(&self, options: &Options, says: &[&str]) {
        refuses(self.dir.path(), options.command("127.0.0.1:0"), says);
    }

    /// After what was refused, an ordinary start still serves.
    fn still_serves(&self) {
        let broker = self.options().start();
        assert_eq!(produce_one(&broker.bootstrap(), "t", "another").0, 0);
        broker.stop_cleanly();
    }
}

fn refuses(dir: &Path, command: Command, says: &[&str]) {
    let before = contents(dir);
    is_one_sentence(finish(command), says);
    assert_unaltered(dir, &before);
}

fn is_one_sentence((status, said): (ExitStatus, String), says: &[&str]) {
    assert!(
        status.code().is_some_and(|code| code > 0),
        "{status}: {said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("tailwater: "), "{said}");
    for word in says {
        assert!(said.contains(word), "{word:?} is missing in: {said}");
    }
}

#[test]
fn a_damaged_root_file() {
    let lived = LivedIn::new();
    let root = lived.data.join("root");
    let good = fs::read(&root).expect("a root file");
    for position in [0, header::VERSION, 24, 45, 60, 2_000, header::CRC + 3] {
        disk::flip(&root, position);
        lived.refuses(&lived.options(), &["root", "damaged"]);
        disk::flip(&root, position);
    }
    for bytes in [&good[..0], &good[..100], &vec![0; good.len()]] {
        fs::write(&root, bytes).expect("written");
        lived.refuses(&lived.options(), &["root", "damaged"]);
    }
    fs::write(&root, &good).expect("written");
    lived.still_serves();
}

#[test]
fn a_root_file_of_a_later_format() {
    let lived = LivedIn::new();
    let root = lived.data.join("root");
    let good = fs::read(&root).expect("a root file");
    disk::falsify(&root, header::INCOMPATIBLE, 0b1000);
    lived.refuses(&lived.options(), &["root", "feature bit 3"]);
    fs::write(&root, &good).expect("written");
    disk::falsify(&root, header::VERSION, 9);
    lived.refuses(&lived.options(), &["root", "format 9"]);
    fs::write(&root, &good).expect("written");
    lived.still_serves();
}

#[test]
fn a_directory_that_is_not_ours() {
    let lived = LivedIn::new();
    let root = lived.data.join("root");
    let good = fs::read(&root).expect("a root file");
    fs::remove_file(&root).expect("removed");
    lived.refuses(&lived.options(), &["no root file", "not empty"]);
    fs::write(&root, &good).expect("written");

    let photos = lived.dir.path().join("photos");
    fs::create_dir(&photos).expect("made");
    fs::write(photos.join("cat.jpg"), b"a cat").expect("written");
    lived.refuses(&Options::new(&photos), &["photos", "cat.jpg"]);
    lived.refuses(&Options::new(&photos.join("cat.jpg")), &["cat.jpg"]);
    lived.still_serves();
}

#[test]
fn another_node_id() {
    let lived = LivedIn::new();
    lived.refuses(&lived.options().flag("--node-id", "7"), &["node", "1", "7"]);
    lived.still_serves();
}

#[test]
fn a_wal_that_is_gone() {
    let lived = LivedIn::new();
    // Killed, so that the log has what nothing else has.
    let broker = lived.options().start();
    produce_one(
        &broker.bootstrap(),
        "t",
        "a value that was not checkpointed",
    );
    broker.kill();
    let (wal, aside) = (lived.data.join("wal"), lived.dir.path().join("aside"));
    fs::rename(&wal, &aside).expect("moved");
    lived.refuses(&lived.options(), &["wal", "missing"]);
    fs::create_dir(&wal).expect("made");
    lived.refuses(&lived.options(), &["wal", "no WAL"]);
    fs::remove_dir(&wal).expect("removed");
    fs::rename(&aside, &wal).expect("moved back");
    let broker = lived.options().start();
    assert_eq!(produce_one(&broker.bootstrap(), "t", "another"), (0, 2));
}

#[test]
fn another_wal_directory() {
    let with_wal = |options: Options, dir: &Path| {
        options.flag("--wal-dir", dir.join("wal").to_str().expect("text"))
    };
    let lived = LivedIn::with(with_wal);
    let other = LivedIn::with(with_wal);
    let wal_dir = |path: &Path| {
        lived
            .options()
            .flag("--wal-dir", path.to_str().expect("text"))
    };
    lived.refuses(&lived.options(), &["wal"]);
    lived.refuses(
        &wal_dir(&lived.dir.path().join("elsewhere")),
        &["elsewhere"],
    );
    let empty = lived.dir.path().join("empty");
    fs::create_dir(&empty).expect("made");
    lived.refuses(&wal_dir(&empty), &["empty"]);
    let others_before = contents(other.dir.path());
    lived.refuses(&wal_dir(&other.dir.path().join("wal")), &["wal"]);
    assert_unaltered(other.dir.path(), &others_before);
    wal_dir(&lived.dir.path().join("wal"))
        .start()
        .stop_cleanly();

    // And one whose log is inside cannot be given one outside.
    let inside = LivedIn::new();
    let outside = inside.dir.path().join("outside");
    let told = inside
        .options()
        .flag("--wal-dir", outside.to_str().expect("text"));
    inside.refuses(&told, &["outside"]);
    inside.still_serves();
}

#[test]
fn a_second_process_on_the_same_directory() {
    let dir = scratch();
    let data = dir.path().join("data");
    let mut first = Options::new(&data).start();
    produce_one(&first.bootstrap(), "t", "a value");
    // The first writes its next WAL files in the background for a while.
    let mut before = contents(&data);
    eventually("the first is quiet", || {
        let now = contents(&data);
        let quiet = now == before;
        before = now;
        quiet.then_some(())
    });
    refuses(
        &data,
        Options::new(&data).command("127.0.0.1:0"),
        &["in use by another process"],
    );
    assert!(first.is_running());
    assert_eq!(produce_one(&first.bootstrap(), "t", "another"), (0, 1));
    first.stop_cleanly();
}

#[test]
fn a_start_that_waits_for_the_process_before_says_so() {
    let lived = LivedIn::new();
    let lock = fs::File::open(lived.data.join("lock")).expect("a lock file");
    lock.lock().expect("locked");
    let holder = std::thread::spawn(move || {
        std::thread::park_timeout(std::time::Duration::from_millis(1_500));
        drop(lock);
    });
    let broker = lived.options().start();
    holder.join().expect("it ends");
    assert!(broker.block.contains("; waited "), "{}", broker.block);
    broker.stop_cleanly();
}

#[test]
fn an_address_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("an address").to_string();
    let lived = LivedIn::new();
    refuses(
        lived.dir.path(),
        lived.options().command(&address),
        &["cannot listen", &address],
    );
    lived.still_serves();
    let new = Options::new(&lived.dir.path().join("new"));
    refuses(
        lived.dir.path(),
        new.command(&address),
        &["cannot listen", &address],
    );
}

#[test]
fn a_file_system_without_direct_io() {
    let dir = scratch();
    let (data, ram) = (dir.path().join("data"), dir.path().join("ram"));
    fs::create_dir(&ram).expect("made");
    // The mount ends with its namespace; what is on it is listed before.
    let script =
        r#"mount -t ramfs ramfs "$0" && "$@"; status=$?; find "$0" -mindepth 1 >&2; exit $status"#;
    let ram_name = ram.to_str().expect("text");
    let in_namespace = ["unshare", "-m", "sh", "-c", script, ram_name];
    let on_ram = Options::new(&ram).wrapped(&in_namespace, "127.0.0.1:0");
    refuses(dir.path(), on_ram, &[ram_name, "O_DIRECT"]);
    let wal_on_ram = Options::new(&data).flag("--wal-dir", ram_name);
    refuses(
        dir.path(),
        wal_on_ram.wrapped(&in_namespace, "127.0.0.1:0"),
        &[ram_name, "O_DIRECT"],
    );
}

#[test]
fn a_kernel_without_io_uring() {
    let lived = LivedIn::new();
    for (errno, says) in [
        (libc::ENOSYS, "no io_uring"),
        (libc::EPERM, "not permitted to use io_uring"),
    ] {
        let before = contents(lived.dir.path());
        let command = lived.options().command("127.0.0.1:0");
        // A filter binds the thread that applies it and what that thread starts.
        let ended = std::thread::spawn(move || {
            apply_filter(&without_io_uring(errno)).expect("a filter");
            finish(command)
        });
        is_one_sentence(ended.join().expect("no panic"), &[says]);
        assert_unaltered(lived.dir.path(), &before);
    }
    lived.still_serves();
}

fn without_io_uring(errno: i32) -> BpfProgram {
    let calls = [
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
    ];
    let rules: BTreeMap<_, _> = calls.map(|call| (call, Vec::new())).into();
    let errno = SeccompAction::Errno(u32::try_from(errno).expect("positive"));
    let arch = std::env::consts::ARCH.try_into().expect("a known machine");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch).expect("a filter");
    filter.try_into().expect("a program")
}

#[test]
fn too_little_locked_memory() {
    let lived = LivedIn::new();
    let limited = [
        "prlimit",
        "--memlock=65536:65536",
        "setpriv",
        "--bounding-set=-ipc_lock,-sys_resource",
        "--inh-caps=-ipc_lock,-sys_resource",
    ];
    // The other engine locks none.
    let options = lived.options().flag("--engine", "glommio");
    let command = options.wrapped(&limited, "127.0.0.1:0");
    refuses(
        lived.dir.path(),
        command,
        &["locked memory", "65536", "RLIMIT_MEMLOCK"],
    );
    lived.still_serves();
}

#[test]
fn cores_that_are_not_there() {
    let lived = LivedIn::new();
    lived.refuses(
        &lived.options().flag("--cpus", "4000"),
        &["cpus", "core 4000"],
    );
    lived.refuses(
        &lived.options().flag("--cpus", "0,0"),
        &["cpus", "at most once"],
    );
    let none = ["taskset", "-c", "0"];
    let command = lived
        .options()
        .flag("--cpus", "1")
        .wrapped(&none, "127.0.0.1:0");
    refuses(lived.dir.path(), command, &["core 1"]);
}

#[test]
fn shards_that_spin_on_one_core() {
    let lived = LivedIn::new();
    let spins = |cpus: Option<&str>, shards: &str| {
        let options = lived.options().flag("--poll", "spin");
        let options = match cpus {
            Some(cpus) => options.flag("--cpus", cpus),
            None => options,
        };
        options.flag("--shards", shards)
    };
    let says = ["shards", "poll spin", "a core of its own"];
    lived.refuses(&spins(None, "256"), &says);
    lived.refuses(&spins(Some("0"), "2"), &says);
    // Shards that park may take turns.
    let broker = lived
        .options()
        .flag("--cpus", "0")
        .flag("--shards", "2")
        .start();
    broker.stop_cleanly();
    lived.still_serves();
}

#[test]
fn more_connections_than_open_files() {
    let lived = LivedIn::new();
    let limited = |files: &str, options: &Options| {
        let nofile = format!("--nofile={files}:{files}");
        options.wrapped(&["prlimit", &nofile], "127.0.0.1:0")
    };
    let asked = lived.options().set("max.connections", "5000");
    refuses(
        lived.dir.path(),
        limited("2000", &asked),
        &[
            "max.connections",
            "5000",
            "open files, 2000",
            "leaves room for",
        ],
    );
    refuses(
        lived.dir.path(),
        limited("200", &lived.options()),
        &["max.connections", "open files, 200", "leaves no room"],
    );
    lived.still_serves();
}

#[test]
fn keys_that_nobody_knows() {
    let lived = LivedIn::new();
    lived.refuses(
        &lived.options().set("num.partition", "3"),
        &["num.partition`", "--set", "`num.partitions`"],
    );
    lived.refuses(
        &lived.options().set("nonsense", "3"),
        &["unknown key `nonsense`"],
    );
    lived.refuses(
        &lived.options().flag("--set", "num.partitions"),
        &["KEY=VALUE"],
    );
    let mut options = lived.options();
    options
        .environment
        .push(("TAILWATER_DATA_DIRR".to_owned(), "x".to_owned()));
    lived.refuses(&options, &["TAILWATER_DATA_DIRR", "`data-dir`"]);

    let file = lived.dir.path().join("file.toml");
    let with_file = lived
        .options()
        .flag("--config", file.to_str().expect("text"));
    lived.refuses(&with_file, &["file.toml"]);
    for (text, says) in [
        ("node_id = 3", "`node-id`"),
        ("num.partition = 3", "`num.partitions`"),
        ("listen = ", "TOML"),
        ("cpus = [0]", "cpus"),
    ] {
        fs::write(&file, text).expect("written");
        lived.refuses(&with_file, &["file.toml", says]);
    }
}

#[test]
fn values_that_cannot_be() {
    let lived = LivedIn::new();
    for (flag, value, says) in [
        ("--wal-size", "1MiB", "at least 32 MiB"),
        ("--wal-size", "much", "256MiB"),
        ("--memory", "1KiB", "at least 32 MiB"),
        ("--disk-reserve", "-1", "size"),
        ("--node-id", "x", "whole number"),
        ("--node-id", "-1", "whole number"),
        ("--shards", "0", "from 1 to 256"),
        ("--shards", "1000", "from 1 to 256"),
        ("--poll", "fast", "park, adaptive, spin"),
        ("--spin-us", "0", "whole number"),
        ("--engine", "tokio", "glommio, uring"),
        ("--advertise", "here", "HOST:PORT"),
    ] {
        // As `--flag=value`, so that a value may begin with a dash.
        let mut options = lived.options().flag(flag, value);
        options.flags.truncate(options.flags.len() - 2);
        options.flags.push(format!("{flag}={value}"));
        lived.refuses(&options, &[&flag[2..], says]);
    }
    refuses(
        lived.dir.path(),
        lived.options().command("nowhere"),
        &["listen", "HOST:PORT"],
    );
    for (key, value) in [
        ("num.partitions", "0"),
        ("num.partitions", "many"),
        ("log.retention.ms", "-2"),
        ("min.insync.replicas", "2"),
        ("default.replication.factor", "3"),
        ("log.cleanup.policy", "shrink"),
        ("log.cleaner.enable", "false"),
        ("socket.request.max.bytes", "0"),
        ("message.max.bytes", "99000000"),
        ("auto.create.topics.enable", "maybe"),
    ] {
        lived.refuses(&lived.options().set(key, value), &[key]);
    }
    let mut options = lived.options();
    options
        .environment
        .push(("TAILWATER_LOG".to_owned(), "a=b=c".to_owned()));
    lived.refuses(&options, &["TAILWATER_LOG", "a=b=c"]);
    lived.still_serves();
}

#[test]
fn a_new_directory_is_not_made_for_a_start_that_is_refused() {
    let dir = scratch();
    let new = Options::new(&dir.path().join("a/b/new"));
    refuses(
        dir.path(),
        new.clone().flag("--poll", "fast").command("127.0.0.1:0"),
        &["poll"],
    );
    refuses(
        dir.path(),
        new.set("num.partitions", "0").command("127.0.0.1:0"),
        &["num.partitions"],
    );
}

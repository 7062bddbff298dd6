//! What is refused, in words, before anything has happened.

use std::path::Path;
use std::process::{Command, Output};

use tailwater_shards::{self as shards, BootError, Engine, RunConfig};

use super::support::{config, on_shards_with_files, scratch};

fn refusal(config: RunConfig) -> BootError {
    shards::run(config, |_| async {}).unwrap_err()
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn no_shards_and_the_simulated_engine_are_refused() {
    assert!(matches!(
        refusal(RunConfig::new(vec![])),
        BootError::ShardCount(0)
    ));
    let mut simulated = config(1);
    simulated.engine = Engine::Sim;
    assert!(matches!(refusal(simulated), BootError::SimEngine));
}

#[test]
fn a_processor_that_is_not_ours_is_named() {
    let mut elsewhere = config(1);
    elsewhere.cpus = vec![0, 1000];
    let said = refusal(elsewhere).to_string();
    assert!(said.contains("processor 1000"), "{said}");
}

#[test]
fn a_missing_directory_is_named_and_the_others_left_alone() {
    let scratch = scratch();
    let missing = scratch.path().join("missing");
    let mut config = config(1);
    config.probe_dirs = vec![scratch.path().to_owned(), missing.clone()];
    let said = refusal(config).to_string();
    assert!(said.contains(missing.to_str().unwrap()), "{said}");
    assert!(is_empty(scratch.path()));
}

#[test]
fn a_start_leaves_nothing_in_the_directories_it_probes() {
    let scratch = scratch();
    on_shards_with_files(2, scratch.path(), |_| async {}).unwrap();
    assert!(is_empty(scratch.path()));
}

/// Answers io_uring_setup with `errno` on this thread and those it starts, as a container's
/// seccomp profile does.
fn forbid_io_uring(errno: i32) {
    let statement = |code: u32, value: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k: value,
    };
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(
                libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
                libc::SYS_io_uring_setup as u32,
            )
        },
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | errno as u32,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: takes no pointer.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(done, 0);
    // SAFETY: `program` points at the statements above, which the call copies.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) };
    assert_eq!(done, 0);
}

fn refusal_without_io_uring(errno: i32, expected: &str) {
    let scratch = scratch();
    let mut config = config(1);
    config.probe_dirs = vec![scratch.path().to_owned()];
    let thread = std::thread::spawn(move || {
        forbid_io_uring(errno);
        refusal(config).to_string()
    });
    let said = thread.join().unwrap();
    assert!(said.contains(expected), "{said}");
    assert!(is_empty(scratch.path()));
}

#[test]
fn a_kernel_without_io_uring_is_refused_and_nothing_is_altered() {
    refusal_without_io_uring(libc::ENOSYS, "no io_uring");
}

#[test]
fn a_seccomp_filter_is_named_and_nothing_is_altered() {
    refusal_without_io_uring(libc::EPERM, "not permitted to use io_uring");
}

/// Set for a copy of a test that runs in a process of its own: its argument.
const ALONE: &str = "TAILWATER_TEST_ALONE";

/// Runs the test `name` again, alone, by the shell line `script`, in which `$TEST` stands for it.
fn alone(name: &str, argument: &str, script: &str) -> Output {
    let test = std::env::current_exe().unwrap();
    let test = format!(
        "'{}' --exact real::boot::{name} --nocapture",
        test.display()
    );
    Command::new("sh")
        .args(["-c", &script.replace("$TEST", &test)])
        .env(ALONE, argument)
        .output()
        .unwrap()
}

#[track_caller]
fn assert_passed(output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    let also = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{also}");
    assert!(said.contains("1 passed"), "{said}{also}");
}

#[test]
fn a_file_system_without_direct_io_is_refused_and_nothing_is_left_on_it() {
    if let Ok(dir) = std::env::var(ALONE) {
        let mut config = config(1);
        config.probe_dirs = vec![dir.clone().into()];
        let said = refusal(config).to_string();
        assert!(said.contains("O_DIRECT") && said.contains(&dir), "{said}");
        assert!(is_empty(Path::new(&dir)));
        return;
    }
    let scratch = scratch();
    let dir = scratch.path().to_str().unwrap();
    // Mounts of its own, as root of a user namespace of its own: needs no privilege.
    assert_passed(&alone(
        "a_file_system_without_direct_io_is_refused_and_nothing_is_left_on_it",
        dir,
        &format!(
            "unshare --map-root-user --mount sh -c \"mount -t ramfs none '{dir}' && exec $TEST\""
        ),
    ));
}

#[test]
fn too_little_locked_memory_is_refused_in_bytes() {
    if std::env::var_os(ALONE).is_some() {
        let said = refusal(config(1)).to_string();
        assert!(
            said.contains("65536") && said.contains("RLIMIT_MEMLOCK"),
            "{said}"
        );
        return;
    }
    // In a user namespace of its own, root may not raise the limit either.
    assert_passed(&alone(
        "too_little_locked_memory_is_refused_in_bytes",
        "",
        "ulimit -l 64 && exec unshare --map-root-user $TEST",
    ));
}

#[test]
fn a_soft_limit_of_locked_memory_is_raised_as_needed() {
    if std::env::var_os(ALONE).is_some() {
        shards::run(config(1), |_| async {})
            .unwrap()
            .join()
            .unwrap();
        return;
    }
    assert_passed(&alone(
        "a_soft_limit_of_locked_memory_is_raised_as_needed",
        "",
        "ulimit -S -l 64 && exec unshare --map-root-user $TEST",
    ));
}

#[test]
fn fatal_says_why_and_ends_the_process_with_a_code_of_its_own() {
    if std::env::var_os(ALONE).is_some() {
        let main = |_| async { shards::fatal("the log cannot be written") };
        shards::run(config(2), main).unwrap().join().unwrap();
        unreachable!("the process has ended");
    }
    let name = "fatal_says_why_and_ends_the_process_with_a_code_of_its_own";
    let output = alone(name, "", "exec $TEST");
    assert_eq!(output.status.code(), Some(74));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the log cannot be written"), "{said}");
}

#[test]
fn two_idle_shards_are_resident_in_less_than_30_mb() {
    if std::env::var_os(ALONE).is_some() {
        let scratch = scratch();
        on_shards_with_files(2, scratch.path(), |_| async {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status
                .lines()
                .find(|line| line.starts_with("VmRSS"))
                .unwrap();
            let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            eprintln!("{line}");
            assert!(kib < 30_000, "{line}");
        })
        .unwrap();
        return;
    }
    let name = "two_idle_shards_are_resident_in_less_than_30_mb";
    assert_passed(&alone(name, "", "exec $TEST"));
}

//! The built `tailwater doctor`, on this machine as it is.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod common;

use std::process::{Command, Output};

use common::{disk, scratch};

fn doctor(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailwater"));
    let output = command.arg("doctor").args(arguments).output();
    output.expect("it starts")
}

#[test]
fn the_doctor_looks_at_everything_and_alters_nothing() {
    let dir = scratch();
    std::fs::write(dir.path().join("something"), "of somebody").expect("written");
    let before = disk::contents(dir.path());
    let data = dir.path().to_str().expect("a path").to_owned();
    // A reserve that no disk leaves is a problem on any machine.
    let output = doctor(&["--data-dir", &data, "--disk-reserve", "1000000TiB"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let space = said.lines().find(|line| line.contains("free space"));
    assert!(
        space.is_some_and(|line| line.starts_with("problem")),
        "{said}"
    );
    let sentence = String::from_utf8_lossy(&output.stderr);
    assert!(sentence.contains("found"), "{sentence}");
    disk::assert_unaltered(dir.path(), &before);
}

#[test]
fn programs_are_told_the_same_as_people() {
    let dir = scratch();
    // Not made, and looked at where it would be.
    let missing = dir.path().join("not/there");
    let missing = missing.to_str().expect("a path");
    let output = doctor(&["--json", "--data-dir", missing, "--shards", "1"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let all: Vec<serde_json::Value> = serde_json::from_str(&said).expect("JSON");
    let verdict = |one: &serde_json::Value| one["verdict"].as_str().map(str::to_owned);
    let verdicts: Vec<String> = all.iter().filter_map(verdict).collect();
    assert!(
        verdicts.len() >= 15 && verdicts.len() == all.len(),
        "{said}"
    );
    let has_problem = verdicts.iter().any(|word| word == "problem");
    assert_eq!(output.status.code(), Some(i32::from(has_problem)), "{said}");
    // Whoever runs this has rings, or no other test would run.
    let rings = all.iter().find(|one| one["check"] == "io_uring");
    assert!(rings.is_some_and(|one| one["verdict"] == "ok"), "{said}");
    assert!(!dir.path().join("not").exists());
}

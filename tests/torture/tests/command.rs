//! The program as it is called: what cannot run is a failure that says so, never a pass.
#![allow(clippy::disallowed_methods)]

use std::process::Command;

#[test]
fn nothing_passes_without_a_broker() {
    for what in ["kill", "power", "full"] {
        let done = Command::new(env!("CARGO_BIN_EXE_torture"))
            .args([what, "--rounds", "1"])
            .env("BROKER_BIN", "/nowhere/tailwater")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&done.stdout);
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains("/nowhere/tailwater is not built"), "{said}");
        assert!(said.ends_with("0 passed, 1 failed\n"), "{said}");
    }
}

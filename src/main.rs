//! The `tailwater` binary: arguments, configuration, boot.

fn main() {}

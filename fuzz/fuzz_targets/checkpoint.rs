//! Checkpoints of any content in a data directory: verification and two starts in a row answer,
//! within their memory, and the second finds what the first let live. See `directory`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::directory::{Kind, Template};

static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::make);

fuzz_target!(init: {
    TEMPLATE.offer(Kind::Checkpoint);
}, |input: &[u8]| {
    TEMPLATE.run(Kind::Checkpoint, input);
});

//! What the fuzz targets share. `fuzz/run` builds, replays and fuzzes them.
//!
//! A target is a property of arbitrary bytes: whatever they are, the code answers; it never panics,
//! never aborts and never takes more memory than its documentation says.

pub mod batch;
pub mod directory;
pub mod image;
pub mod memory;
pub mod request;
pub mod response;

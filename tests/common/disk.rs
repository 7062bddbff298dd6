//! What a directory holds, for tests that say it was left alone, and ways to damage it.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

/// Name, size and hash of the contents of everything below a directory; directories have none.
pub type Contents = BTreeMap<PathBuf, Option<(usize, u64)>>;

/// Reads all of it.
pub fn contents(dir: &Path) -> Contents {
    let mut found = Contents::new();
    gather(dir, dir, &mut found);
    found
}

fn gather(root: &Path, dir: &Path, into: &mut Contents) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.strip_prefix(root).expect("below it").to_owned();
        if path.is_dir() {
            into.insert(name, None);
            gather(root, &path, into);
        } else {
            let bytes = fs::read(&path).expect("readable");
            let mut hasher = DefaultHasher::new();
            hasher.write(&bytes);
            into.insert(name, Some((bytes.len(), hasher.finish())));
        }
    }
}

/// Nothing was made, taken away or changed, not even a size.
pub fn assert_unaltered(dir: &Path, before: &Contents) {
    let after = contents(dir);
    for (name, now) in &after {
        assert_eq!(
            Some(now),
            before.get(name),
            "{} was altered or made",
            name.display()
        );
    }
    for name in before.keys() {
        assert!(after.contains_key(name), "{} is gone", name.display());
    }
}

/// All files below a directory, in order of their names.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    contents(dir)
        .into_iter()
        .filter(|(_, file)| file.is_some())
        .map(|(n, _)| dir.join(n))
        .collect()
}

/// Turns one bit of the byte at `position`.
pub fn flip(file: &Path, position: usize) {
    let mut bytes = fs::read(file).expect("readable");
    bytes[position] ^= 0x10;
    fs::write(file, bytes).expect("writable");
}

/// Where the first block of a file of ours has what a test may falsify, and its checksum.
pub mod header {
    pub const VERSION: usize = 8;
    pub const INCOMPATIBLE: usize = 16;
    pub const CRC: usize = 4096 - 4;
}

/// Changes a byte of a file's first block and makes its checksum right again.
pub fn falsify(file: &Path, position: usize, byte: u8) {
    let mut bytes = fs::read(file).expect("readable");
    bytes[position] = byte;
    let sum = crc_fast::crc32_iscsi(&bytes[..header::CRC]);
    bytes[header::CRC..4096].copy_from_slice(&sum.to_le_bytes());
    fs::write(file, bytes).expect("writable");
}

/// Copies a directory with all below it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("readable") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

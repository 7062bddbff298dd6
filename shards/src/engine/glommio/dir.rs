//! The glommio engine: directories and names.

use std::io;
use std::path::Path;

use crate::dir::Entry;

pub(crate) async fn create_all(_path: &Path) -> io::Result<()> {
    unimplemented!()
}
pub(crate) async fn list(_path: &Path) -> io::Result<Vec<Entry>> {
    unimplemented!()
}
pub(crate) async fn rename(_from: &Path, _to: &Path) -> io::Result<()> {
    unimplemented!()
}
pub(crate) async fn remove_file(_path: &Path) -> io::Result<()> {
    unimplemented!()
}
pub(crate) async fn remove_dir_all(_path: &Path) -> io::Result<()> {
    unimplemented!()
}
pub(crate) async fn sync(_path: &Path) -> io::Result<()> {
    unimplemented!()
}
pub(crate) async fn exists(_path: &Path) -> io::Result<bool> {
    unimplemented!()
}
pub(crate) async fn free_bytes(_path: &Path) -> io::Result<(u64, u64)> {
    unimplemented!()
}

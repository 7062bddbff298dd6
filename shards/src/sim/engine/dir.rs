//! The simulated engine: directories and names.

use std::io;
use std::path::Path;

use super::Shard;
use crate::dir::Entry;
use crate::sim::disk::{Op, Output};

fn unexpected(output: &Output) -> ! {
    unreachable!("the disk answered another question: {output:?}")
}

async fn done(op: Op) -> io::Result<()> {
    match Shard::current().submit(op).await? {
        Output::Done => Ok(()),
        other => unexpected(&other),
    }
}

pub(crate) async fn create_all(path: &Path) -> io::Result<()> {
    done(Op::CreateAll {
        path: path.to_owned(),
    })
    .await
}

pub(crate) async fn list(path: &Path) -> io::Result<Vec<Entry>> {
    match Shard::current()
        .submit(Op::List {
            path: path.to_owned(),
        })
        .await?
    {
        Output::Entries(entries) => Ok(entries
            .into_iter()
            .map(|(name, is_dir)| Entry { name, is_dir })
            .collect()),
        other => unexpected(&other),
    }
}

pub(crate) async fn rename(from: &Path, to: &Path) -> io::Result<()> {
    done(Op::Rename {
        from: from.to_owned(),
        to: to.to_owned(),
    })
    .await
}

pub(crate) async fn remove_file(path: &Path) -> io::Result<()> {
    done(Op::RemoveFile {
        path: path.to_owned(),
    })
    .await
}

pub(crate) async fn remove_dir(path: &Path) -> io::Result<()> {
    done(Op::RemoveDir {
        path: path.to_owned(),
    })
    .await
}

pub(crate) async fn remove_dir_all(path: &Path) -> io::Result<()> {
    done(Op::RemoveDirAll {
        path: path.to_owned(),
    })
    .await
}

pub(crate) async fn sync(path: &Path) -> io::Result<()> {
    let covers = Shard::current().shared.world(|world| world.disk.seq());
    done(Op::SyncDir {
        path: path.to_owned(),
        covers,
    })
    .await
}

pub(crate) async fn exists(path: &Path) -> io::Result<bool> {
    match Shard::current()
        .submit(Op::Exists {
            path: path.to_owned(),
        })
        .await?
    {
        Output::Flag(exists) => Ok(exists),
        other => unexpected(&other),
    }
}

pub(crate) async fn free_bytes(path: &Path) -> io::Result<(u64, u64)> {
    match Shard::current()
        .submit(Op::Free {
            path: path.to_owned(),
        })
        .await?
    {
        Output::Space(free, total) => Ok((free, total)),
        other => unexpected(&other),
    }
}

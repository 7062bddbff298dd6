//! The promises of the simulator, one test each.

mod cuts;
mod determinism;
mod disk;
mod durability;
mod executor;
mod kills;
mod network;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use super::{Process, Simulation};
use crate::buf::{BLOCK_BYTES, DmaBuf, SharedBuf};
use crate::file::{File, OpenOptions};
use crate::io_class::IoClass;

const BLOCK: u64 = BLOCK_BYTES as u64;

/// A buffer of whole blocks filled with one byte.
fn filled(byte: u8, blocks: usize) -> SharedBuf {
    let mut buf = DmaBuf::zeroed(blocks * BLOCK_BYTES);
    buf.fill(byte);
    buf.freeze()
}

async fn create(path: &str) -> File {
    let options = OpenOptions {
        create_new: true,
        write: true,
    };
    File::open(Path::new(path), options)
        .await
        .expect("the name is free")
}

async fn open(path: &str) -> File {
    let options = OpenOptions {
        create_new: false,
        write: true,
    };
    File::open(Path::new(path), options)
        .await
        .expect("it is there")
}

async fn write(file: &File, block: u64, byte: u8) {
    file.write(IoClass::Commit, block * BLOCK, &filled(byte, 1))
        .await
        .expect("written");
}

async fn sync(file: &File) {
    file.sync(IoClass::Commit).await.expect("synced");
}

/// Boots one shard that runs `main` once.
fn boot<F: Future<Output = ()> + 'static>(sim: &mut Simulation, main: F) -> Process {
    let main = Rc::new(RefCell::new(Some(main)));
    sim.boot(1, move |_| main.borrow_mut().take().expect("one shard"))
}

/// A flag that a task sets and a test reads.
fn flag() -> (Rc<Cell<bool>>, Rc<Cell<bool>>) {
    let flag = Rc::new(Cell::new(false));
    (Rc::clone(&flag), flag)
}

/// A file `/f` of `blocks` blocks of `byte`, durable with its name.
fn durable_file(sim: &mut Simulation, byte: u8, blocks: usize) {
    sim.run(async move {
        let file = create("/f").await;
        file.write_durable(IoClass::Commit, 0, &filled(byte, blocks))
            .await
            .expect("written");
        crate::dir::sync(Path::new("/")).await.expect("synced");
    });
    assert!(sim.disk_is_synced());
}

/// Runs `outcome` for many seeds and counts what came out.
fn outcomes<T: Ord>(seeds: u64, outcome: impl Fn(u64) -> T) -> std::collections::BTreeMap<T, u64> {
    let mut counts = std::collections::BTreeMap::new();
    for seed in 0..seeds {
        *counts.entry(outcome(seed)).or_insert(0) += 1;
    }
    counts
}

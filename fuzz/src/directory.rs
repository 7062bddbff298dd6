//! A data directory under the simulator with some of its files replaced by a fuzz input's, and
//! what must hold of a broker that starts on it.
//!
//! The directory is one that a small broker left behind, always the same: two generations, the
//! last of them killed. Flags: 1 sets headers and checksums of the input's files right, 2 also
//! links their commits and groups, 4 takes away all other files of their kind.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tailwater_record::{BatchBuilder, BatchHeader, NewRecord, batches};
use tailwater_shards::sim::{Ending, Simulation};
use tailwater_shards::{BLOCK_BYTES, DmaBuf, File, IoClass, OpenOptions, ShardId, dir, sleep};
use tailwater_storage::fuzzing::{Forgery, forge, topics};
use tailwater_storage::{
    Log, LogConfig, ShardSeed, Storage, StorageConfig, Sync, TopicEra, TopicPartition, owner,
    recover, verify,
};
use uuid::Uuid;

use crate::image::{self, Image};
use crate::memory::bounded;

const DATA: &str = "/data";
const SHARDS: u16 = 2;
const NODE: i32 = 7;
const PARTITIONS: i32 = 2;
/// What starting on a directory may hold at once, the simulator's disk and its copies counted.
const BYTES_MAX: usize = 64 << 20;
/// Topics that only an input names.
const TOPICS_MAX: usize = 4;

/// The kind of files that a target replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `wal/*.wal` and `wal/*.ends`, and the root file.
    Wal,
    /// `checkpoint/*`.
    Checkpoint,
    /// Segments and their indexes.
    Segment,
}

impl Kind {
    fn has(self, name: &Path) -> bool {
        let extension = name.extension().and_then(|e| e.to_str());
        match self {
            Kind::Wal => matches!(extension, Some("wal" | "ends")),
            Kind::Checkpoint => name.starts_with("checkpoint"),
            Kind::Segment => matches!(extension, Some("log" | "index")),
        }
    }
}

fn config() -> StorageConfig {
    StorageConfig {
        wal_bytes: 256 << 10,
        wal_first_file_bytes: 32 << 10,
        wal_file_bytes: 32 << 10,
        commit_bytes_max: 8 << 10,
        pending_bytes_max: 16 << 10,
        disk_reserve_bytes: 0,
        memory_bytes: 256 << 10,
        write_behind_bytes: 8 << 10,
        carry_below_bytes: 4 << 10,
        lock_wait_ms: 100,
        ..StorageConfig::new(DATA)
    }
}

fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 16 << 10,
        retention_ms: -1,
        ..LogConfig::default()
    }
}

fn own_topics() -> [Uuid; 2] {
    [
        Uuid::from_u128(0x1111 << 64 | 1),
        Uuid::from_u128(0x2222 << 64 | 2),
    ]
}

type Files = BTreeMap<PathBuf, Bytes>;

/// The directory before an input's files are put into it.
pub struct Template {
    files: Files,
    cluster_id: Uuid,
}

/// What a start found of each log: its start and its end; none if it is out of service.
type Logs = BTreeMap<TopicPartition, Option<(i64, i64)>>;

/// One start of a broker's storage.
struct Start {
    known: BTreeSet<Uuid>,
    seeds: RefCell<BTreeMap<u16, ShardSeed>>,
    refused: RefCell<bool>,
    /// How many batches to append to each log.
    batches: usize,
    shut_down: bool,
    found: RefCell<Logs>,
}

impl Start {
    async fn main(self: Rc<Self>, shard: ShardId) {
        let config = config();
        if shard.0 == 0 {
            let eras = self.known.iter();
            let era = TopicEra {
                partitions: PARTITIONS,
            };
            let eras = eras.map(|topic| (*topic, era)).collect();
            match Box::pin(recover(&config, NODE, SHARDS, |_| Ok(eras))).await {
                Ok(recovered) => {
                    let seeds = (0_u16..).zip(recovered.seeds);
                    self.seeds.borrow_mut().extend(seeds);
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    *self.refused.borrow_mut() = true;
                }
            }
        }
        let seed = loop {
            if *self.refused.borrow() {
                return;
            }
            let seed = self.seeds.borrow_mut().remove(&shard.0);
            match seed {
                Some(seed) => break seed,
                None => sleep(Duration::from_micros(200)).await,
            }
        };
        let storage = Storage::start(seed, &config)
            .await
            .expect("the disk is whole");
        if shard.0 == 0 {
            storage.set_metadata_snapshot(Rc::new(Bytes::new));
        }
        storage.check_invariants();
        for topic in &self.known {
            for partition in 0..PARTITIONS {
                let tp = TopicPartition::new(*topic, partition);
                if owner(tp, SHARDS) == shard {
                    let log = storage
                        .open_log(tp, log_config(), 3)
                        .expect("it is not stopping");
                    Box::pin(self.use_log(&storage, &log)).await;
                }
            }
        }
        if self.shut_down {
            storage.check_invariants();
            storage.shutdown().await;
        } else {
            // Segments are written, checkpoints taken; then the process is killed.
            sleep(Duration::from_millis(300)).await;
        }
    }

    async fn use_log(&self, storage: &Storage, log: &Log) {
        let tp = log.topic_partition();
        if log.health().is_err() {
            self.found.borrow_mut().insert(tp, None);
            return;
        }
        read_all(log).await;
        let mut end = log.written_end().0;
        for number in 0..self.batches {
            storage.room().await;
            let body = batch(number);
            let header = BatchHeader::parse(&body).expect("our own");
            let Ok(appended) = log.append(body, &header, Sync::Durable) else {
                break;
            };
            storage
                .durable(appended.ticket)
                .await
                .expect("the disk is whole");
            end = appended.last_offset + 1;
        }
        let found = Some((log.log_start(), end));
        self.found.borrow_mut().insert(tp, found);
    }
}

/// Whole batches from the log's start to its end, or an error.
async fn read_all(log: &Log) {
    let (mut at, end) = (log.log_start(), log.written_end().0);
    while at < end {
        let Ok(read) = log.read(at, end, 64 << 10, true).await else {
            break;
        };
        let bytes = read.slices.concat();
        assert_eq!(bytes.len(), read.bytes);
        let next = batches(&bytes).last().and_then(Result::ok);
        match next.map(|last| last.header.next_offset()) {
            Some(next) if next > at => at = next,
            _ => break,
        }
    }
    let _ = log.offset_for_timestamp(1_000, end).await;
    let _ = log.max_timestamp(end).await;
    let _ = (log.epoch_at(at), log.epoch_end(1, end));
}

fn batch(number: usize) -> Bytes {
    let value = vec![number as u8; 100 + number * 37 % 1500];
    let mut builder = BatchBuilder::new().producer(5, 0, i32::try_from(number).unwrap_or(0));
    for record in 0..=number % 3 {
        builder.push(NewRecord {
            timestamp: 1_000 + (number * 3 + record) as i64,
            key: Some(b"key"),
            value: Some(&value),
            headers: &[],
        });
    }
    builder.build()
}

fn boot(simulation: &mut Simulation, start: Rc<Start>, kill: bool) -> Rc<Start> {
    let main = Rc::clone(&start);
    let process = simulation.boot(SHARDS, move |shard| Rc::clone(&main).main(shard));
    if kill {
        simulation.run_for(Duration::from_millis(250));
        simulation.kill(process);
        simulation.run_until_idle();
        return start;
    }
    let ending = simulation.run_until_ended(process);
    assert!(matches!(ending, Ending::Returned), "{ending:?}");
    simulation.run_until_idle();
    start
}

fn start(known: &BTreeSet<Uuid>, batches: usize, shut_down: bool) -> Rc<Start> {
    Rc::new(Start {
        known: known.clone(),
        seeds: RefCell::default(),
        refused: RefCell::default(),
        batches,
        shut_down,
        found: RefCell::default(),
    })
}

/// All files below a directory, by their names relative to it.
async fn list(root: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in dir::list(&folder).await.expect("it is there") {
            let path = folder.join(&entry.name);
            if entry.is_dir {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

async fn write(files: Files) {
    for (name, bytes) in files {
        let path = Path::new(DATA).join(name);
        let folder = path.parent().expect("it has a name");
        dir::create_all(folder).await.expect("the disk is whole");
        let options = OpenOptions {
            create_new: true,
            write: true,
        };
        let file = File::open(&path, options).await.expect("the disk is whole");
        // Zeros are written too: what is not written reads as nothing at all.
        if !bytes.is_empty() {
            let mut buffer = DmaBuf::zeroed(bytes.len().next_multiple_of(BLOCK_BYTES));
            buffer[..bytes.len()].copy_from_slice(&bytes);
            let written = file
                .write_durable(IoClass::Maintenance, 0, &buffer.freeze())
                .await;
            written.expect("the disk is whole");
            file.truncate(bytes.len() as u64)
                .await
                .expect("the disk is whole");
        }
        file.close().await;
    }
}

impl Template {
    /// Runs the small broker that leaves the directory behind.
    pub fn make() -> Template {
        let known = BTreeSet::from(own_topics());
        let mut simulation = Simulation::new(3);
        boot(&mut simulation, start(&known, 40, true), false);
        boot(&mut simulation, start(&known, 12, false), true);
        let names = simulation.run(list(DATA.into()));
        let mut files = Files::new();
        for path in names {
            let bytes = simulation.read_file(&path).expect("it is there");
            let name = path.strip_prefix(DATA).expect("it is below").to_owned();
            if name != Path::new("lock") {
                files.insert(name, bytes.into());
            }
        }
        let root = files.get(Path::new("root")).expect("a start makes it");
        let id = root[20..36].try_into().expect("sixteen bytes");
        let template = Template {
            cluster_id: Uuid::from_bytes(id),
            files,
        };
        for kind in [Kind::Wal, Kind::Checkpoint, Kind::Segment] {
            assert!(
                !template.names(kind).is_empty(),
                "{kind:?}: {:?}",
                template.files.keys()
            );
        }
        template
    }

    fn names(&self, kind: Kind) -> Vec<&PathBuf> {
        let mut names: Vec<_> = self.files.keys().filter(|name| kind.has(name)).collect();
        // Inputs know the others by their places.
        names.sort_by_key(|name| name.extension().is_some_and(|e| e == "ends"));
        names
    }

    /// Writes the template's own files as inputs into the directory that the caller names: stored,
    /// they would be of no use once the broker writes them differently.
    pub fn offer(&self, kind: Kind) {
        let Some(folder) = std::env::var_os("SEEDS_INTO") else {
            return;
        };
        for (index, seed) in self.seeds(kind).iter().enumerate() {
            let path = Path::new(&folder).join(format!("own-{index:02}"));
            std::fs::write(path, seed).expect("the caller made the directory");
        }
    }

    /// The template's own files of a kind as inputs, the first plain, the second to be mended.
    fn seeds(&self, kind: Kind) -> Vec<Vec<u8>> {
        let mut seeds = Vec::new();
        for flags in [0, 1, 3] {
            let mut all = vec![flags];
            for (index, name) in (0_u8..).zip(self.names(kind)).take(12) {
                let bytes = &self.files[name];
                let mut one = vec![flags];
                image::encode(index, bytes, &mut one);
                seeds.push(one);
                if bytes.len() <= 64 << 10 {
                    image::encode(index, bytes, &mut all);
                }
            }
            seeds.push(all);
        }
        seeds
    }

    /// The name of an input's file: one of the template's, or another that would be read.
    fn name(&self, kind: Kind, image: &Image) -> PathBuf {
        let names = self.names(kind);
        let pick = image.name;
        let (generation, shard) = (1 + (pick & 1), pick >> 1 & 1);
        match kind {
            _ if pick == 0xff => "root".into(),
            Kind::Wal if pick >= 0x80 => {
                let seq = 1 + (pick >> 2 & 7);
                format!("wal/{generation:010}-{shard:05}-{seq:010}.wal").into()
            }
            Kind::Checkpoint if pick >= 0x80 => {
                let slot = ["a", "b"][usize::from(pick >> 2 & 1)];
                format!("checkpoint/{generation:010}-{shard:05}.{slot}").into()
            }
            _ => names[usize::from(pick) % names.len()].clone(),
        }
    }

    /// Starts on the directory with the input's files in it, uses every log, and starts again.
    pub fn run(&self, kind: Kind, input: &[u8]) {
        let Some((&flags, rest)) = input.split_first() else {
            return;
        };
        let mut known = BTreeSet::from(own_topics());
        let mut files = self.files.clone();
        if flags & 4 != 0 {
            files.retain(|name, _| !kind.has(name));
        }
        for mut image in image::decode(rest) {
            let name = self.name(kind, &image);
            if flags & 1 != 0 {
                let forgery = Forgery {
                    cluster_id: self.cluster_id,
                    chain: flags & 2 != 0,
                };
                forge(&name, &mut image.bytes, forgery);
                if name.extension().is_some_and(|e| e == "log") {
                    crate::batch::mend_run(&mut image.bytes);
                }
            }
            if kind == Kind::Wal {
                known.extend(topics(&image.bytes, TOPICS_MAX));
            }
            // A file that was cut short by its trailing zeros has its old length again.
            let length = self.files.get(&name).map_or(0, Bytes::len);
            if image.bytes.len() < length || kind == Kind::Segment {
                image.bytes.resize(length, 0);
            }
            files.insert(name, image.bytes.into());
        }
        bounded("recovery", BYTES_MAX, || start_twice(files, &known));
    }
}

fn start_twice(files: Files, known: &BTreeSet<Uuid>) {
    let mut simulation = Simulation::new(1);
    simulation.run(write(files));
    let report = simulation.run(async { Box::pin(verify(Path::new(DATA), None)).await });
    for problem in report.problems {
        assert!(!problem.to_string().is_empty());
    }
    let first = boot(&mut simulation, start(known, 1, true), false);
    if *first.refused.borrow() {
        return;
    }
    // What the first start let live, with what it appended and made durable, the second finds.
    let second = boot(&mut simulation, start(known, 0, true), false);
    assert!(
        !*second.refused.borrow(),
        "what one start accepted the next one does"
    );
    let (first, second) = (first.found.borrow(), second.found.borrow());
    for (tp, before) in first.iter() {
        let after = second.get(tp).expect("each log is opened");
        assert!(
            before.is_none() || after.is_none() || before == after,
            "{tp}: {before:?}, then {after:?}"
        );
    }
}

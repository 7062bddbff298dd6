//! One WAL file: its name, its header block, and the logs with something in it.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{BLOCK_BYTES, DmaBuf, File, IoClass, OpenOptions, dir};
use uuid::Uuid;

use crate::config::BLOCK;
use crate::error::StorageError;
use crate::fields::{Reader, Writer};
use crate::file_header::{FileHeader, Kind};
use crate::ids::{Generation, TopicPartition};

/// The bit of a copy in its number. No generation makes so many files.
const COPY: u64 = 1 << 32;

/// What a WAL file's name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WalName {
    pub(crate) generation: Generation,
    pub(crate) shard: u16,
    pub(crate) seq: u64,
}

impl WalName {
    pub(crate) fn file_name(&self) -> String {
        format!(
            "{:010}-{:05}-{:010}.wal",
            self.generation.0, self.shard, self.seq
        )
    }

    /// The name of the file to which a start copies what nothing says had been durable.
    pub(crate) fn copy(&self) -> Self {
        Self {
            seq: self.seq | COPY,
            ..*self
        }
    }

    pub(crate) fn is_copy(&self) -> bool {
        self.seq & COPY != 0
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".wal")?.split('-');
        let generation = Generation(parts.next()?.parse().ok()?);
        let shard = parts.next()?.parse().ok()?;
        let seq = parts.next()?.parse().ok()?;
        let parsed = Self {
            generation,
            shard,
            seq,
        };
        (parts.next().is_none() && parsed.file_name() == name).then_some(parsed)
    }
}

/// What a WAL file's header block says besides what every header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WalFileHeader {
    pub(crate) shard: u16,
    pub(crate) seq: u64,
    pub(crate) start_lsn: u64,
    pub(crate) bytes: u64,
}

impl WalFileHeader {
    pub(crate) fn encode(&self, cluster_id: Uuid, generation: Generation) -> DmaBuf {
        let mut body = Writer::default();
        body.u16(self.shard);
        body.u64(self.seq);
        body.u64(self.start_lsn);
        body.u64(self.bytes);
        FileHeader {
            kind: Kind::Wal,
            cluster_id,
            generation,
            body: body.0,
        }
        .encode()
    }

    pub(crate) fn decode(body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        Some(Self {
            shard: r.u16()?,
            seq: r.u62()?,
            start_lsn: r.u62()?,
            bytes: r.u62()?,
        })
    }
}

/// A WAL file that is written, waits to be, or is only read any more.
pub(crate) struct WalFile {
    pub(crate) name: WalName,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) start_lsn: Cell<u64>,
    file: RefCell<Option<File>>,
    /// The logs with runs or log starts in this file, each at least once.
    pub(crate) logs: RefCell<Vec<TopicPartition>>,
    /// The metadata entries in it end below this number.
    pub(crate) metadata_end: Cell<u64>,
    /// In a file of a past start, which nobody writes any more: the blocks read last. Small runs
    /// lie side by side, and ten thousand of them are carried one after the other.
    window: Option<RefCell<Window>>,
}

/// Blocks of a file and where they begin.
#[derive(Default)]
struct Window {
    begin: u64,
    bytes: Bytes,
}

impl Window {
    fn get(&self, position: u64, len: usize) -> Option<&[u8]> {
        let from = usize_of(position.checked_sub(self.begin)?);
        self.bytes.get(from..from.checked_add(len)?)
    }
}

impl std::fmt::Debug for WalFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.name.file_name(), self.start_lsn.get())
    }
}

const WINDOW_BYTES: usize = 64 << 10;

/// Zeros are written in pieces of this size, so that they delay nothing else for long.
const ZERO_PIECE_BYTES: usize = 1 << 20;

impl WalFile {
    /// Makes a file, locked and filled with zeros, that is durable with its name and header.
    pub(crate) async fn create(
        dir_path: &Path,
        name: WalName,
        cluster_id: Uuid,
        bytes: u64,
        start_lsn: u64,
    ) -> Result<Rc<Self>, StorageError> {
        assert!(
            bytes.is_multiple_of(BLOCK) && bytes >= 2 * BLOCK,
            "a WAL file has a header and a body"
        );
        let path = dir_path.join(name.file_name());
        let open = OpenOptions {
            create_new: true,
            write: true,
        };
        let file = File::open(&path, open)
            .await
            .map_err(StorageError::io("cannot create", &path))?;
        let locked = file
            .try_lock()
            .map_err(StorageError::io("cannot lock", &path))?;
        if !locked {
            return Err(StorageError::Locked { path });
        }
        if let Err(error) = fill_with_zeros(&file, bytes).await {
            file.close().await;
            // What is there of it would keep room from everybody else. If that fails too, the next
            // start takes it for a file that was being made.
            drop(dir::remove_file(&path).await);
            return Err(StorageError::io("cannot fill", &path)(error));
        }
        let this = Rc::new(Self {
            name,
            path,
            bytes,
            start_lsn: Cell::new(start_lsn),
            file: RefCell::new(Some(file)),
            logs: RefCell::default(),
            metadata_end: Cell::new(0),
            window: None,
        });
        if let Err(error) = this.write_header(cluster_id, start_lsn).await {
            this.unmake(dir_path).await?;
            return Err(error);
        }
        if planted::is(Planted::WalDirectoryNotSynced) {
            return Ok(this);
        }
        dir::sync(dir_path)
            .await
            .map_err(StorageError::unsynced(dir_path))?;
        Ok(this)
    }

    /// Removes, durably, a file whose header could not be written. The header may be there all the
    /// same, and the place in the stream that it claims is given to the next file: were both found
    /// by a start, the commits of one would be looked for in the other. So it does not count as a
    /// lack of room if this fails: nothing may go on.
    async fn unmake(&self, dir_path: &Path) -> Result<(), StorageError> {
        self.close().await;
        dir::remove_file(&self.path)
            .await
            .map_err(StorageError::unmade(&self.path))?;
        dir::sync(dir_path)
            .await
            .map_err(StorageError::unsynced(dir_path))
    }

    /// A file of a past generation, which is opened when somebody reads from it.
    pub(crate) fn old(dir_path: &Path, name: WalName, bytes: u64, start_lsn: u64) -> Rc<Self> {
        Rc::new(Self {
            name,
            path: dir_path.join(name.file_name()),
            bytes,
            start_lsn: Cell::new(start_lsn),
            file: RefCell::new(None),
            logs: RefCell::default(),
            metadata_end: Cell::new(0),
            window: Some(RefCell::default()),
        })
    }

    /// Gives the file another place in the stream. Durable when it returns; what earlier commits
    /// left behind has LSNs that do not fit.
    pub(crate) async fn write_header(
        &self,
        cluster_id: Uuid,
        start_lsn: u64,
    ) -> Result<(), StorageError> {
        let header = WalFileHeader {
            shard: self.name.shard,
            seq: self.name.seq,
            start_lsn,
            bytes: self.bytes,
        };
        let block = header.encode(cluster_id, self.name.generation).freeze();
        let file = self.handle();
        let written = match planted::is(Planted::WalHeaderNotSynced) {
            true => file.write(IoClass::Maintenance, 0, &block).await,
            false => file.write_durable(IoClass::Maintenance, 0, &block).await,
        };
        written.map_err(StorageError::io("cannot write the header of", &self.path))?;
        self.start_lsn.set(start_lsn);
        self.logs.borrow_mut().clear();
        self.metadata_end.set(0);
        Ok(())
    }

    /// The open file.
    pub(crate) fn handle(&self) -> File {
        self.file
            .borrow()
            .clone()
            .expect("files of this start stay open while they are used")
    }

    /// How many LSNs the file covers.
    pub(crate) fn capacity(&self) -> u64 {
        self.bytes - BLOCK
    }

    pub(crate) fn end_lsn(&self) -> u64 {
        self.start_lsn.get() + self.capacity()
    }

    pub(crate) fn lsn_at(&self, position: u64) -> u64 {
        self.start_lsn.get() + position - BLOCK
    }

    /// Notes that the log has something in this file.
    pub(crate) fn note(&self, tp: TopicPartition) {
        let mut logs = self.logs.borrow_mut();
        if logs.last() != Some(&tp) {
            logs.push(tp);
            // Noted again and again by turns: sort the repeats out before they grow.
            if logs.len() >= 1024 && logs.len().is_power_of_two() {
                logs.sort_unstable();
                logs.dedup();
            }
        }
    }

    /// The logs noted, each once.
    pub(crate) fn noted(&self) -> Vec<TopicPartition> {
        let mut logs = self.logs.borrow_mut();
        logs.sort_unstable();
        logs.dedup();
        logs.clone()
    }

    /// Reads `len` bytes at `position`, neither of which need be aligned.
    pub(crate) async fn read(
        &self,
        class: IoClass,
        position: u64,
        len: usize,
    ) -> std::io::Result<Bytes> {
        let open = self.file.borrow().clone();
        let file = match open {
            Some(file) => file,
            None => {
                let file = File::open(
                    &self.path,
                    OpenOptions {
                        create_new: false,
                        write: false,
                    },
                )
                .await?;
                *self.file.borrow_mut() = Some(file.clone());
                file
            }
        };
        let Some(window) = self.window.as_ref().filter(|_| len < WINDOW_BYTES / 2) else {
            return read_unaligned(&file, class, position, len).await;
        };
        if let Some(found) = window.borrow().get(position, len) {
            return Ok(Bytes::copy_from_slice(found));
        }
        let begin = position - position % BLOCK;
        // A block of it that cannot be read may not be the one that is wanted.
        let Ok(bytes) = file.read(class, begin, WINDOW_BYTES).await else {
            return read_unaligned(&file, class, position, len).await;
        };
        let read = Window { begin, bytes };
        let found = read.get(position, len).map(Bytes::copy_from_slice);
        *window.borrow_mut() = read;
        found.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }

    /// Closes the descriptor of a file that is no longer used.
    pub(crate) async fn close(&self) {
        let file = self.file.borrow_mut().take();
        if let Some(file) = file {
            file.close().await;
        }
    }
}

async fn fill_with_zeros(file: &File, bytes: u64) -> std::io::Result<()> {
    let zeros = DmaBuf::zeroed(ZERO_PIECE_BYTES.min(usize_of(bytes))).freeze();
    let mut at = 0;
    while at < bytes {
        let rest = usize_of(bytes - at);
        let short;
        let piece = if rest < zeros.len() {
            short = DmaBuf::zeroed(rest).freeze();
            &short
        } else {
            &zeros
        };
        file.write(IoClass::Maintenance, at, piece).await?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// A direct read of any range: the blocks round it are read and cut. What is less than half of
/// them is copied out, since a slice would keep them all: ten thousand small runs kept so were a
/// hundred megabytes that nobody counted.
pub(crate) async fn read_unaligned(
    file: &File,
    class: IoClass,
    position: u64,
    len: usize,
) -> std::io::Result<Bytes> {
    let begin = position - position % BLOCK;
    let skip = usize_of(position - begin);
    let bytes = file
        .read(class, begin, (skip + len).next_multiple_of(BLOCK_BYTES))
        .await?;
    let Some(wanted) = bytes.get(skip..skip + len) else {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    if len < bytes.len() / 2 {
        return Ok(Bytes::copy_from_slice(wanted));
    }
    Ok(bytes.slice(skip..skip + len))
}

pub(crate) fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).expect("64-bit addresses")
}

//! Snapshots of what a log's records add up to: a start reads one, and only the records after it.
//!
//! Owns one file in the partition's directory, and whether it may be believed. What is in it is the
//! log's owner's: pieces of bytes, in order. A snapshot is a shortcut and never the truth: the log
//! has all that is in it, whatever becomes of the file.
//!
//! The owner may go on appending while it makes one. So a snapshot has two ends: replay begins at
//! `from`, where the log ended when it was begun; and it may hold what records below `upto` say,
//! where the log ended when its last piece was taken.
//!
//! Invariants: a file takes its name when all of it is durable, and the log up to `upto` is; one is
//! believed only when every checksum holds, the log reaches from `from` to `upto`, its records there
//! are of the same leader epochs, and none of them has been compacted away since.
//! (docs/decisions/group-snapshots.md)
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;
use tailwater_shards::planted::{self, Planted};
use tailwater_shards::{BLOCK_BYTES, DmaBuf, File, IoClass, OpenOptions, dir};
use uuid::Uuid;

use crate::error::StorageError;
use crate::fields::{Reader, Writer, blocks, crc};
use crate::file_header::{FileHeader, Kind};
use crate::ids::TopicPartition;
use crate::log::Log;
use crate::segment::writer::{create_all, sync_upwards};
use crate::storage::Shared;

const NAME: &str = "snapshot";
/// One that is being made. What an earlier process left of one is replaced.
const NEW_NAME: &str = "snapshot.new";
/// A piece's number, length and checksum.
const PIECE_HEADER_BYTES: usize = 16;
/// A longer piece is none of ours.
const PIECE_BYTES_MAX: usize = 64 << 20;

const READ_ONLY: OpenOptions = OpenOptions {
    create_new: false,
    write: false,
};

/// What a snapshot says of its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: i64,
    upto: i64,
    /// Of the records before `from` and before `upto`; -1 where there is none.
    epochs: (i32, i32),
}

/// A snapshot that is being written. Dropped before its end, it is none.
pub struct SnapshotWriter {
    shared: Rc<Shared>,
    log: Log,
    file: File,
    from: i64,
    pieces: u64,
    end: u64,
    /// Over the checksums of all pieces so far.
    chain: u32,
}

/// A snapshot that is being read.
#[derive(Debug)]
pub struct SnapshotReader {
    file: File,
    path: PathBuf,
    from: i64,
    pieces: u64,
    read: u64,
    at: u64,
    end: u64,
    chain: u32,
    expected: u32,
}

/// Reads the snapshot of a partition, if there is one, and checks all its checksums: whether there is
/// one. Whether the log still reaches where it says only a start knows, which needs none.
pub(crate) async fn verify(data_dir: &Path, tp: TopicPartition) -> Result<bool, StorageError> {
    let path = tp.directory(data_dir).join(NAME);
    if !dir::exists(&path).await.unwrap_or(false) {
        return Ok(false);
    }
    let file = File::open(&path, READ_ONLY)
        .await
        .map_err(StorageError::io("cannot open", &path))?;
    let read = read_pieces(&file, &path, tp).await;
    file.close().await;
    read.map(|()| true)
}

async fn read_pieces(file: &File, path: &Path, tp: TopicPartition) -> Result<(), StorageError> {
    let (_, _, mut reader) = SnapshotReader::open(file, path, tp).await?;
    while reader.next().await?.is_some() {}
    Ok(())
}

fn directory(shared: &Shared, tp: TopicPartition) -> PathBuf {
    tp.directory(&shared.config.data_dir)
}

fn piece_crc(number: u64, data: &[u8]) -> u32 {
    let mut w = Writer(Vec::with_capacity(12));
    w.u64(number);
    w.u32(crc(data));
    crc(&w.0)
}

fn chained(chain: u32, piece: u32) -> u32 {
    let mut w = Writer(Vec::with_capacity(8));
    w.u32(chain);
    w.u32(piece);
    crc(&w.0)
}

impl Log {
    /// The epoch of the record before an offset; -1 if there is none.
    fn epoch_before(&self, offset: i64) -> i32 {
        let before = offset.checked_sub(1).filter(|before| *before >= 0);
        before.and_then(|at| self.epoch_at(at)).unwrap_or(-1)
    }

    /// Begins a snapshot of what the records up to the log's end add up to now. What is appended
    /// while its pieces are made may be in it or not.
    ///
    /// # Errors
    /// Failed I/O, or a disk that is full: there is no snapshot then, and nothing else is wrong.
    pub async fn begin_snapshot(&self) -> Result<SnapshotWriter, StorageError> {
        let from = self.appended_end().0;
        let shared = self.shared()?;
        if shared.is_full() || shared.stopping.get() || self.is_dropped() {
            return Err(StorageError::ShuttingDown);
        }
        let file = self.create(&shared).await?;
        Ok(SnapshotWriter {
            shared,
            log: self.clone(),
            file,
            from,
            pieces: 0,
            end: BLOCK_BYTES as u64,
            chain: 0,
        })
    }

    /// An empty file for a new snapshot.
    async fn create(&self, shared: &Shared) -> Result<File, StorageError> {
        let directory = directory(shared, self.topic_partition());
        // Whoever drops the log waits for this before it removes the directory.
        let _writing = shared.no_writers().await;
        if self.is_dropped() {
            return Err(StorageError::ShuttingDown);
        }
        create_all(&directory)
            .await
            .map_err(StorageError::io("cannot create", &directory))?;
        let path = directory.join(NEW_NAME);
        match dir::remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io("cannot remove", &path)(error));
            }
            _ => {}
        }
        let options = OpenOptions {
            create_new: true,
            write: true,
        };
        File::open(&path, options)
            .await
            .map_err(StorageError::io("cannot create", &path))
    }

    /// The snapshot to begin with, if there is one that may be believed.
    pub async fn open_snapshot(&self) -> Option<SnapshotReader> {
        let shared = self.shared().ok()?;
        let path = directory(&shared, self.topic_partition()).join(NAME);
        let file = File::open(&path, READ_ONLY).await.ok()?;
        match self.read_header(&shared, &file, &path).await {
            Ok(reader) => Some(reader),
            Err(what) => {
                let partition = self.topic_partition();
                tracing::warn!(%partition, what, "a snapshot is left aside");
                file.close().await;
                None
            }
        }
    }

    async fn read_header(
        &self,
        shared: &Shared,
        file: &File,
        path: &Path,
    ) -> Result<SnapshotReader, String> {
        let opened = SnapshotReader::open(file, path, self.topic_partition()).await;
        let (cluster_id, span, reader) = opened.map_err(|error| error.to_string())?;
        if cluster_id != shared.cluster_id {
            return Err("it is of another cluster".to_owned());
        }
        self.check(span)?;
        Ok(reader)
    }

    /// Whether the log still is the one that the snapshot was made of.
    fn check(&self, span: Span) -> Result<(), &'static str> {
        if span.from < self.log_start() {
            return Err("the log begins after it");
        }
        if planted::is(Planted::SnapshotAheadOfLog) {
            return Ok(());
        }
        if span.upto > self.durable_end().0 || span.from > span.upto {
            return Err("it is ahead of the log");
        }
        // A tombstone may have gone, and the snapshot have what it removed.
        if span.from < self.cleaned_end() {
            return Err("the log was compacted after it");
        }
        let epochs = (self.epoch_before(span.from), self.epoch_before(span.upto));
        if epochs != span.epochs {
            return Err("the log has other records in its place");
        }
        Ok(())
    }
}

/// Partition, span, number of pieces, end of the file, and the checksum of all pieces.
type Body = ((Uuid, i32), Span, u64, u64, u32);

fn decode_body(body: &[u8]) -> Option<Body> {
    let mut r = Reader(body);
    let named = (r.uuid()?, r.i32()?);
    let span = Span {
        from: r.i64()?,
        upto: r.i64()?,
        epochs: (r.i32()?, r.i32()?),
    };
    Some((named, span, r.u62()?, r.u62()?, r.u32()?))
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("partition", &self.log.topic_partition())
            .field("from", &self.from)
            .field("pieces", &self.pieces)
            .finish_non_exhaustive()
    }
}

impl SnapshotWriter {
    /// Where replay will begin.
    #[must_use]
    pub fn from(&self) -> i64 {
        self.from
    }

    /// Adds a piece. It must not be empty, nor longer than 64 MiB.
    ///
    /// # Errors
    /// Failed I/O, or a disk that is full.
    pub async fn push(&mut self, piece: &[u8]) -> Result<(), StorageError> {
        assert!(
            !piece.is_empty() && piece.len() <= PIECE_BYTES_MAX,
            "a piece's size"
        );
        let len = blocks(PIECE_HEADER_BYTES + piece.len());
        if self.log.is_dropped() || !self.shared.disk_room.take_ahead(len as u64) {
            return Err(StorageError::ShuttingDown);
        }
        let sum = piece_crc(self.pieces, piece);
        let mut w = Writer(Vec::with_capacity(PIECE_HEADER_BYTES));
        w.u64(self.pieces);
        w.u32(u32::try_from(piece.len()).expect("it was just checked"));
        w.u32(sum);
        let mut buf = DmaBuf::zeroed(len);
        let (head, rest) = buf.split_at_mut(PIECE_HEADER_BYTES);
        head.copy_from_slice(&w.0);
        let (data, _) = rest.split_at_mut(piece.len());
        data.copy_from_slice(piece);
        self.file
            .write(IoClass::Maintenance, self.end, &buf.freeze())
            .await
            .map_err(StorageError::io("cannot write", self.path(NEW_NAME)))?;
        self.end += len as u64;
        self.pieces += 1;
        self.chain = chained(self.chain, sum);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        directory(&self.shared, self.log.topic_partition()).join(name)
    }

    /// Ends it, with what was appended by now: the snapshot counts when this returns. Returns its
    /// bytes.
    ///
    /// # Errors
    /// Failed I/O: the snapshot before it counts still.
    pub async fn finish(mut self) -> Result<u64, StorageError> {
        let upto = self.log.appended_end().0;
        if planted::is(Planted::SnapshotSkipsRecords) {
            self.from = upto;
        }
        if let Some(last) = upto.checked_sub(1)
            && let Some(ticket) = self.log.ticket_of(last)
            && !planted::is(Planted::SnapshotAheadOfLog)
        {
            self.shared.wal.durable(ticket).await?;
        }
        let tp = self.log.topic_partition();
        let mut body = Writer::default();
        body.uuid(tp.topic);
        body.i32(tp.partition);
        body.i64(self.from);
        body.i64(upto);
        body.i32(self.log.epoch_before(self.from));
        body.i32(self.log.epoch_before(upto));
        body.u64(self.pieces);
        body.u64(self.end);
        body.u32(self.chain);
        let header = FileHeader {
            kind: Kind::Snapshot,
            cluster_id: self.shared.cluster_id,
            generation: self.shared.generation,
            body: body.0,
        };
        let (new, path) = (self.path(NEW_NAME), self.path(NAME));
        let header = header.encode().freeze();
        self.file
            .write(IoClass::Maintenance, 0, &header)
            .await
            .map_err(StorageError::io("cannot write", &new))?;
        self.file
            .sync(IoClass::Maintenance)
            .await
            .map_err(StorageError::unsynced(&new))?;
        self.file.close().await;
        if self.log.is_dropped() {
            return Err(StorageError::ShuttingDown);
        }
        dir::rename(&new, &path)
            .await
            .map_err(StorageError::io("cannot rename", &new))?;
        let directory = directory(&self.shared, tp);
        let synced = sync_upwards(&directory, &self.shared.config.data_dir).await;
        if let Err(error) = synced {
            // Segments' names may be among what is lost.
            tailwater_shards::fatal(&format!("a directory cannot be synced: {error}"));
        }
        Ok(self.end)
    }
}

impl SnapshotReader {
    /// Reads the first block of a partition's snapshot: of which cluster it is, and its ends.
    async fn open(
        file: &File,
        path: &Path,
        tp: TopicPartition,
    ) -> Result<(Uuid, Span, Self), StorageError> {
        let block = file.read(IoClass::Maintenance, 0, BLOCK_BYTES).await;
        let block = block.map_err(StorageError::io("cannot read", path))?;
        let header = FileHeader::require(Kind::Snapshot, path, &block)?;
        let damaged = |what| StorageError::corrupt(path, 0, what);
        let body = decode_body(&header.body).ok_or_else(|| damaged("its header is too short"))?;
        let (named, span, pieces, end, expected) = body;
        if named != (tp.topic, tp.partition) {
            return Err(damaged("it is of another partition"));
        }
        let reader = Self {
            file: file.clone(),
            path: path.to_path_buf(),
            from: span.from,
            pieces,
            read: 0,
            at: BLOCK_BYTES as u64,
            end,
            chain: 0,
            expected,
        };
        Ok((header.cluster_id, span, reader))
    }

    /// The first offset to replay after the last piece.
    #[must_use]
    pub fn from(&self) -> i64 {
        self.from
    }

    /// The bytes of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// The next piece; `None` after the last.
    ///
    /// # Errors
    /// Damage: what was read before is to be thrown away as well.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        if self.read == self.pieces {
            if self.chain != self.expected || self.at != self.end {
                return Err(self.damaged("its pieces are not those of its header"));
            }
            return Ok(None);
        }
        let first = self.read_at(self.at, BLOCK_BYTES).await?;
        let mut r = Reader(&first);
        let (Some(number), Some(len), Some(sum)) = (r.u62(), r.u32(), r.u32()) else {
            return Err(self.damaged("it ends too early"));
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if number != self.read || len == 0 || len > PIECE_BYTES_MAX {
            return Err(self.damaged("no piece begins here"));
        }
        let total = blocks(PIECE_HEADER_BYTES + len);
        let whole = if total == BLOCK_BYTES {
            first
        } else {
            self.read_at(self.at, total).await?
        };
        let end = PIECE_HEADER_BYTES + len;
        if whole.len() < end {
            return Err(self.damaged("it ends too early"));
        }
        let piece = whole.slice(PIECE_HEADER_BYTES..end);
        let trusts = planted::is(Planted::DamagedSnapshotTrusted);
        if piece_crc(number, &piece) != sum && !trusts {
            return Err(self.damaged("a piece's checksum is wrong"));
        }
        self.chain = chained(self.chain, sum);
        self.at += total as u64;
        self.read += 1;
        Ok(Some(piece))
    }

    async fn read_at(&self, at: u64, len: usize) -> Result<Bytes, StorageError> {
        self.file
            .read(IoClass::Maintenance, at, len)
            .await
            .map_err(StorageError::io("cannot read", &self.path))
    }

    fn damaged(&self, what: &str) -> StorageError {
        StorageError::corrupt(&self.path, self.at, what)
    }
}

//! What the disk and the loopback can do by themselves, without a broker: the references.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use tailwater_shards::{self as shards, DmaBuf, IoClass, RunConfig};

use crate::stats::Times;

const BLOCK: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;

/// A zero-filled file in the directory that the broker's log is in, to be overwritten block by
/// block: O_DIRECT, write and then fdatasync.
pub struct RawDisk {
    path: PathBuf,
    cpu: usize,
}

impl RawDisk {
    pub fn new(dir: &Path, cpu: usize) -> Self {
        let path = dir.join("raw-disk");
        let file = direct(&path, true);
        let zeros = vec![0; 2 << 20];
        let zeros = aligned(&zeros, 1 << 20);
        for position in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(zeros, position)
                .expect("the disk has room");
        }
        file.sync_all().expect("it syncs");
        Self { path, cpu }
    }

    /// A plain thread that blocks in pwrite and fdatasync, on the broker's core.
    pub fn thread(&self, bytes: usize, warm_up: usize, count: usize) -> Times {
        let (path, cpu) = (self.path.clone(), self.cpu);
        let write = move || {
            crate::machine::pin(cpu);
            let file = direct(&path, true);
            let buffer = vec![7; bytes + BLOCK];
            let buffer = aligned(&buffer, bytes);
            let mut times = Times::default();
            for index in 0..warm_up + count {
                let position = (index * bytes) as u64 % FILE_BYTES;
                let began = Instant::now();
                file.write_all_at(buffer, position).expect("it writes");
                file.sync_data().expect("it syncs");
                if index >= warm_up {
                    times.push(began.elapsed());
                }
            }
            times
        };
        thread::spawn(write).join().expect("the reference ends")
    }

    /// `write_durable` of a parked shard, on the broker's core: what an append is made of.
    pub fn shard(&self, warm_up: usize, count: usize) -> Times {
        let (sender, receiver) = channel();
        let mut config = RunConfig::new(vec![self.cpu]);
        config.probe_dirs = vec![self.path.parent().expect("a directory").to_owned()];
        let path = self.path.clone();
        let main = move |_| {
            let (path, sender) = (path.clone(), sender.clone());
            async move {
                let options = shards::OpenOptions {
                    create_new: false,
                    write: true,
                };
                let file = shards::File::open(&path, options).await.expect("it opens");
                let buffer = DmaBuf::zeroed(BLOCK).freeze();
                let mut times = Times::default();
                for index in 0..warm_up + count {
                    let position = (index * BLOCK) as u64 % FILE_BYTES;
                    let began = Instant::now();
                    file.write_durable(IoClass::Commit, position, &buffer)
                        .await
                        .expect("it writes");
                    if index >= warm_up {
                        times.push(began.elapsed());
                    }
                }
                sender.send(times).expect("somebody waits");
            }
        };
        let ran = shards::run(config, main).expect("a shard starts");
        let times = receiver.recv().expect("the shard measures");
        ran.join().expect("the shard ends");
        times
    }
}

impl Drop for RawDisk {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Reads a file from its begin to its end, `bytes` at a time, O_DIRECT: MB/s.
pub fn direct_read_rate(paths: &[PathBuf], bytes: usize) -> f64 {
    let mut buffer = vec![0; bytes + BLOCK];
    let skip = aligned(&buffer, bytes).as_ptr() as usize - buffer.as_ptr() as usize;
    let buffer = &mut buffer[skip..skip + bytes];
    let (mut total, began) = (0, Instant::now());
    for path in paths {
        let file = direct(path, false);
        let mut position = 0;
        // A direct read is short at the end of a file only.
        while let Ok(count @ 1..) = file.read_at(buffer, position) {
            position += count as u64;
            total += count;
            if count < bytes {
                break;
            }
        }
    }
    total as f64 / 1e6 / began.elapsed().as_secs_f64()
}

fn direct(path: &Path, write: bool) -> File {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag");
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(write)
        .create(write)
        .truncate(false)
        .custom_flags(flags);
    options.open(path).expect("a file system with O_DIRECT")
}

/// The first `bytes` of a vector that begin at a block's boundary.
fn aligned(buffer: &[u8], bytes: usize) -> &[u8] {
    let skip = buffer.as_ptr().align_offset(BLOCK);
    &buffer[skip..skip + bytes]
}

/// A request of 100 bytes over the loopback and an answer of `answer` bytes, again and again, by
/// plain threads: MB/s.
pub fn loopback_rate(answer: usize, lasting: Duration, cpus: (usize, usize)) -> f64 {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let addr = listener.local_addr().expect("an address");
    let serve = move || {
        crate::machine::pin(cpus.0);
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_nodelay(true).expect("a socket");
        let (mut request, bytes) = ([0; 100], vec![7; answer]);
        while stream.read_exact(&mut request).is_ok() && stream.write_all(&bytes).is_ok() {}
    };
    let server = thread::spawn(serve);
    crate::machine::pin(cpus.1);
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_nodelay(true).expect("a socket");
    let (mut total, mut bytes, began) = (0, vec![0; answer], Instant::now());
    while began.elapsed() < lasting {
        stream.write_all(&[0; 100]).expect("it listens");
        stream.read_exact(&mut bytes).expect("it answers");
        total += answer;
    }
    let rate = total as f64 / 1e6 / began.elapsed().as_secs_f64();
    drop(stream);
    server.join().expect("the reference ends");
    rate
}

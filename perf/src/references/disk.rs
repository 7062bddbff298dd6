//! The disk by itself: a zero-filled file, written and read by a thread that blocks.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::WARM_UP;
use crate::clock;
use crate::machine;
use crate::schedule::Schedule;
use crate::times::Times;

const BLOCK: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;
/// Of a record in [`RawDisk::run_at`].
const RECORD: usize = 1024;
/// As much as a commit of the broker holds, at most.
const WRITE_MAX: usize = 512 << 10;

/// A zero-filled file, overwritten block by block: O_DIRECT, write and then fdatasync, by a thread that
/// blocks in both. Removed when dropped.
pub(crate) struct RawDisk {
    path: PathBuf,
}

impl RawDisk {
    /// Makes the file in `dir`, the file system that the broker's log is on.
    pub(crate) fn new(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join(format!("raw-disk-{}", std::process::id()));
        let disk = Self { path };
        let file = direct(&disk.path, true)?;
        let zeros = vec![0; (1 << 20) + BLOCK];
        let zeros = aligned(&zeros, 1 << 20);
        for position in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(zeros, position)?;
        }
        file.sync_all()?;
        Ok(disk)
    }

    /// Writes of 4 KiB on core `cpu` for so long.
    pub(crate) fn run(&self, cpu: usize, lasting_ns: u64) -> anyhow::Result<Times> {
        machine::on_cpu(cpu, || {
            let file = direct(&self.path, true)?;
            let buffer = vec![7; 2 * BLOCK];
            let buffer = aligned(&buffer, BLOCK);
            let (mut times, mut index) = (Times::default(), 0_usize);
            let end_ns = clock::now_ns() + lasting_ns;
            while index <= WARM_UP || clock::now_ns() < end_ns {
                let position = (index * BLOCK) as u64 % FILE_BYTES;
                let began_ns = clock::now_ns();
                file.write_all_at(buffer, position)?;
                file.sync_data()?;
                if index >= WARM_UP {
                    times.record(clock::now_ns() - began_ns);
                }
                index += 1;
            }
            Ok(times)
        })
    }
}

impl RawDisk {
    /// Records of a KiB, `rate` of them a second, whatever became of those before: what is due when the
    /// disk is free is written together, in whole blocks, and then synced. Their times are from when
    /// they were due. On core `cpu`, while `client_cpu` spins, as a client of a broker's does.
    pub(crate) fn run_at(
        &self,
        rate: u64,
        cpu: usize,
        client_cpu: usize,
        lasting_ns: u64,
    ) -> anyhow::Result<Times> {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Where it cannot be pinned nothing spins: the disk's times are the better for it.
                let is_pinned = machine::pin(client_cpu).is_ok();
                while is_pinned && !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let times = machine::on_cpu(cpu, || self.write_what_is_due(rate, lasting_ns));
            is_over.store(true, Ordering::Relaxed);
            times
        })
    }

    fn write_what_is_due(&self, rate: u64, lasting_ns: u64) -> anyhow::Result<Times> {
        let file = direct(&self.path, true)?;
        let buffer = vec![7; WRITE_MAX + BLOCK];
        let schedule = Schedule {
            start_ns: clock::now_ns(),
            rate,
            first: 0,
            step: 1,
        };
        let end_ns = schedule.due_ns(WARM_UP as u64) + lasting_ns;
        let (mut times, mut next, mut position) = (Times::default(), 0_u64, 0_u64);
        while schedule.due_ns(next) < end_ns {
            let mut due = 0;
            while due * RECORD < WRITE_MAX && schedule.due_ns(next + due as u64) <= clock::now_ns()
            {
                due += 1;
            }
            if due == 0 {
                std::hint::spin_loop();
                continue;
            }
            let bytes = (due * RECORD).next_multiple_of(BLOCK);
            if position + bytes as u64 > FILE_BYTES {
                position = 0;
            }
            file.write_all_at(aligned(&buffer, bytes), position)?;
            file.sync_data()?;
            position += bytes as u64;
            let now_ns = clock::now_ns();
            for index in next..next + due as u64 {
                let due_ns = schedule.due_ns(index);
                if index >= WARM_UP as u64 && due_ns < end_ns {
                    times.record(now_ns - due_ns);
                }
            }
            next += due as u64;
        }
        Ok(times)
    }

    /// Reads the file again and again, O_DIRECT, a MiB at a time: bytes a second.
    pub(crate) fn reads(&self, cpu: usize, lasting_ns: u64) -> anyhow::Result<f64> {
        const STEP: usize = 1 << 20;
        machine::on_cpu(cpu, || {
            let file = direct(&self.path, true)?;
            let mut buffer = vec![0; STEP + BLOCK];
            let skip = buffer.as_ptr().align_offset(BLOCK);
            let (mut total, began_ns) = (0_u64, clock::now_ns());
            while total == 0 || clock::now_ns() < began_ns + lasting_ns {
                let into = &mut buffer[skip..skip + STEP];
                file.read_exact_at(into, total % FILE_BYTES)?;
                total += STEP as u64;
            }
            Ok(total as f64 * 1e9 / (clock::now_ns() - began_ns) as f64)
        })
    }
}

impl Drop for RawDisk {
    fn drop(&mut self) {
        // It may be gone already, with its directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn direct(path: &Path, write: bool) -> anyhow::Result<File> {
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits())?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(write)
        .create(write)
        .truncate(false)
        .custom_flags(flags);
    options
        .open(path)
        .with_context(|| format!("{} with O_DIRECT", path.display()))
}

/// The first `bytes` of a vector that begin at a block's boundary.
fn aligned(buffer: &[u8], bytes: usize) -> &[u8] {
    let skip = buffer.as_ptr().align_offset(BLOCK);
    &buffer[skip..skip + bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_by_itself_is_measured_on_a_zero_filled_file_that_does_not_stay() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let disk = RawDisk::new(dir.path()).unwrap();
        let cpu = machine::usable_cpus().unwrap()[0];
        let times = disk.run(cpu, 1_000_000).unwrap();
        assert!(times.len() > 0 && times.ns(0.5) > 0);
        assert_eq!(std::fs::metadata(&disk.path).unwrap().len(), FILE_BYTES);
        assert!(disk.reads(cpu, 1_000_000).unwrap() > 0.0);
        let at = disk.run_at(1000, cpu, cpu, 20_000_000).unwrap();
        assert_eq!(at.len(), 20, "each record counts once");
        let path = disk.path.clone();
        drop(disk);
        assert!(!path.exists());
    }
}

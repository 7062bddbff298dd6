//! Faults on purpose: what shall go wrong with which disk operation.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::disk::IoKind;
use super::world::Shared;

/// Input/output error.
pub const EIO: i32 = Errno::IO.raw_os_error();
/// No such file or directory.
pub const ENOENT: i32 = Errno::NOENT.raw_os_error();
/// No space left on device.
pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();

/// Which operations a fault is for. The default matches all.
#[derive(Clone, Default, Debug)]
pub struct Matching {
    /// Only operations of this kind.
    pub kind: Option<IoKind>,
    /// Only paths that contain this text.
    pub path_contains: Option<String>,
}

impl Matching {
    /// All operations of a kind.
    pub fn kind(kind: IoKind) -> Matching {
        Matching {
            kind: Some(kind),
            path_contains: None,
        }
    }

    /// Of these, those on paths that contain `text`.
    pub fn on(mut self, text: &str) -> Matching {
        self.path_contains = Some(text.to_owned());
        self
    }

    fn matches(&self, kind: IoKind, path: &Path) -> bool {
        let text = self.path_contains.as_deref();
        self.kind.is_none_or(|wanted| wanted == kind)
            && text.is_none_or(|text| path.to_string_lossy().contains(text))
    }
}

#[derive(Debug)]
struct Rule {
    matching: Matching,
    /// Matching operations to let pass before it applies.
    skip: u64,
    /// How many operations it then applies to.
    times: u64,
    effect: Effect,
}

/// What befalls one operation.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Effect {
    pub(crate) errno: Option<Errno>,
    pub(crate) delay: Duration,
}

/// The faults that are in force.
#[derive(Debug, Default)]
pub(crate) struct FaultRules {
    rules: Vec<Rule>,
    pub(crate) sync_is_a_lie: bool,
    pub(crate) durable_write_covers_itself_only: bool,
}

impl FaultRules {
    /// Asked once for each operation, when it is submitted.
    pub(crate) fn effect(&mut self, kind: IoKind, path: &Path) -> Effect {
        let mut total = Effect::default();
        for rule in &mut self.rules {
            if !rule.matching.matches(kind, path) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if rule.times > 0 {
                rule.times -= 1;
                total.errno = total.errno.or(rule.effect.errno);
                total.delay += rule.effect.delay;
            }
        }
        self.rules.retain(|rule| rule.times > 0);
        total
    }
}

/// Plants faults, see `Simulation::faults`. They stay in force over boots.
#[derive(Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    pub(crate) fn new(shared: Arc<Shared>) -> Faults {
        Faults { shared }
    }

    fn add(&self, matching: Matching, skip: u64, times: u64, effect: Effect) {
        let rule = Rule {
            matching,
            skip,
            times,
            effect,
        };
        self.shared.world(|world| world.faults.rules.push(rule));
    }

    /// Fails one operation with `errno`: the `nth` matching one from now on, counted from 0. A
    /// failed write may have written a part; what a failed sync covered is never durable for
    /// sure.
    pub fn fail(&self, matching: Matching, nth: u64, errno: i32) {
        let errno = Some(Errno::from_raw_os_error(errno));
        self.add(
            matching,
            nth,
            1,
            Effect {
                errno,
                ..Effect::default()
            },
        );
    }

    /// Whether an error is still to come: no operation has met it yet.
    pub fn errors_left(&self) -> bool {
        let is_error = |rule: &Rule| rule.effect.errno.is_some();
        self.shared
            .world(|world| world.faults.rules.iter().any(is_error))
    }

    /// Fails all matching operations from now on.
    pub fn fail_all(&self, matching: Matching, errno: i32) {
        let errno = Some(Errno::from_raw_os_error(errno));
        self.add(
            matching,
            0,
            u64::MAX,
            Effect {
                errno,
                ..Effect::default()
            },
        );
    }

    /// Lets the next `times` matching operations take `delay` longer.
    pub fn slow(&self, matching: Matching, times: u64, delay: Duration) {
        self.add(
            matching,
            0,
            times,
            Effect {
                delay,
                ..Effect::default()
            },
        );
    }

    /// Ends all faults of the functions above; what is damaged stays so.
    pub fn clear(&self) {
        self.shared
            .world(|world| world.faults = FaultRules::default());
    }

    /// How large the disk is. What goes beyond fails with ENOSPC.
    pub fn disk_bytes(&self, total: u64) {
        self.shared.world(|world| world.disk.set_capacity(total));
    }

    /// Flips the bits of `mask` in the byte at `offset` of a file, in every copy there is.
    pub fn corrupt(&self, path: &Path, offset: u64, mask: u8) -> io::Result<()> {
        let found = self
            .shared
            .world(|world| world.disk.inspect(path, |file| file.corrupt(offset, mask)));
        match found {
            Some(true) => Ok(()),
            Some(false) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end")),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes reads of the 4 KiB block at `offset` fail with EIO until it is written again.
    pub fn unreadable(&self, path: &Path, offset: u64) -> io::Result<()> {
        let found = self.shared.world(|world| {
            world
                .disk
                .inspect(path, |file| file.make_unreadable(offset))
        });
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Puts back what the 4 KiB block at `offset` held, so that it can be read again: at most a block,
    /// and zeros after it.
    pub fn restore(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let found = self
            .shared
            .world(|world| world.disk.inspect(path, |file| file.restore(offset, bytes)));
        match found {
            Some(true) => Ok(()),
            Some(false) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end")),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Plants a lie: syncs succeed and make nothing durable. A test that passes with it on tests
    /// nothing.
    pub fn sync_is_a_lie(&self, lie: bool) {
        self.shared.world(|world| world.faults.sync_is_a_lie = lie);
    }

    /// Lets `write_durable` make durable its own bytes alone, as with O_DSYNC or FUA, instead
    /// of all that had been written to the file before. An engine may do either.
    pub fn durable_write_covers_itself_only(&self, only: bool) {
        self.shared
            .world(|world| world.faults.durable_write_covers_itself_only = only);
    }
}

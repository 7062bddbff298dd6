//! What a start that takes long waits for: looked at from outside, many times, while it does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A start that has not answered by then is looked at.
const SLOW: Duration = Duration::from_millis(500);
/// From one look to the next.
const EVERY: Duration = Duration::from_millis(50);
/// How many different things are counted; the rest is not.
const KINDS_MAX: usize = 200;
/// Said of the port when the process has got so far.
const LISTENED: &str = "its port is listened to";

/// A start that is watched until it has answered, or is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Option<Arc<Mutex<Looks>>>);

impl Watch {
    /// `pid` is the starting process, `data` its directory.
    pub(crate) fn start(pid: u32, address: SocketAddr, data: &Path) -> Self {
        let looks = Arc::new(Mutex::new(Looks::new(pid, address.port(), data)));
        let watched = Arc::downgrade(&looks);
        std::thread::spawn(move || {
            std::thread::sleep(SLOW);
            while let Some(looks) = watched.upgrade() {
                looks.lock().expect("no holder panics").look();
                drop(looks);
                std::thread::sleep(EVERY);
            }
        });
        Self(Some(looks))
    }

    /// Ends it: what was seen, if it took so long that it was looked at.
    pub(crate) fn end(&mut self) -> Option<String> {
        let looks = self.0.take()?;
        let looks = looks.lock().expect("no holder panics");
        (looks.times > 0).then(|| looks.to_string())
    }
}

/// All looks at one start.
#[derive(Debug)]
struct Looks {
    pid: u32,
    port: u16,
    lock: PathBuf,
    times: u32,
    seen: BTreeMap<String, u32>,
    /// Of each thread: how long it ran, and how long it waited for a core, in milliseconds.
    ran: BTreeMap<String, [u64; 2]>,
}

impl Looks {
    fn new(pid: u32, port: u16, data: &Path) -> Self {
        Self {
            pid,
            port,
            lock: data.join("lock"),
            times: 0,
            seen: BTreeMap::new(),
            ran: BTreeMap::new(),
        }
    }

    fn look(&mut self) {
        self.times += 1;
        let lock = self.lock_holder();
        self.count(lock);
        for socket in self.sockets() {
            self.count(socket);
        }
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid));
        for thread in threads.into_iter().flatten().flatten() {
            self.thread(&thread.path());
        }
    }

    fn count(&mut self, what: String) {
        if self.seen.len() < KINDS_MAX {
            *self.seen.entry(what).or_default() += 1;
        }
    }

    fn lock_holder(&self) -> String {
        let inode = fs::metadata(&self.lock).map_or(0, |lock| lock.ino());
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        match locks.lines().find_map(|line| holder(line, inode)) {
            None => "the directory's lock is free".to_owned(),
            Some(pid) if pid == self.pid => "the directory's lock is its own".to_owned(),
            Some(_) => "the directory's lock is another's".to_owned(),
        }
    }

    /// Who has the port: its listener, or else sockets of connections, by their state.
    fn sockets(&self) -> BTreeSet<String> {
        let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        let states = table.lines().filter_map(|line| state(line, self.port));
        let states: BTreeSet<String> = states.map(|s| format!("its port is {s}")).collect();
        let listened: BTreeSet<String> = states.get(LISTENED).cloned().into_iter().collect();
        match listened.is_empty() {
            true => states,
            false => listened,
        }
    }

    fn thread(&mut self, thread: &Path) {
        let read = |name| fs::read_to_string(thread.join(name)).unwrap_or_default();
        let name = read("comm").trim().to_owned();
        let stat = read("stat");
        let state = stat.rsplit(") ").next().and_then(|rest| rest.get(..1));
        let channel = read("wchan");
        let place = match channel.as_str() {
            "" | "0" => "no wait",
            channel => channel,
        };
        self.count(format!("{name} {} in {place}", state.unwrap_or("gone")));
        let times: Vec<u64> = read("schedstat")
            .split(' ')
            .filter_map(|number| number.trim().parse().ok())
            .collect();
        if let [ran, waited, ..] = times[..] {
            let key = format!(
                "{name} {}",
                thread.file_name().unwrap_or_default().display()
            );
            self.ran.insert(key, [ran / 1_000_000, waited / 1_000_000]);
        }
    }
}

/// The process that has a lock on the file, by a line of `/proc/locks`.
fn holder(line: &str, inode: u64) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let file = words
        .iter()
        .position(|word| word.contains(':') && word.split(':').count() == 3)?;
    let held = words[file].rsplit(':').next()?.parse() == Ok(inode) && !words.contains(&"->");
    held.then(|| words[file - 1].parse().ok()).flatten()
}

/// The state of a socket at the port, by a line of `/proc/net/tcp`.
fn state(line: &str, port: u16) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (_, local) = words.get(1)?.split_once(':')?;
    if u16::from_str_radix(local, 16) != Ok(port) {
        return None;
    }
    Some(match *words.get(3)? {
        "0A" => "listened to".to_owned(),
        "01" => format!("that of a connection to {}", words[2]),
        state => format!("in TCP state 0x{state}"),
    })
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "looked at {} times:", self.times)?;
        for (what, times) in &self.seen {
            write!(f, "\n    {times} times {what}")?;
        }
        for (thread, [ran, waited]) in &self.ran {
            write!(
                f,
                "\n    {thread} ran {ran} ms and waited {waited} ms for a core"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_understood() {
        let lock = "3: FLOCK  ADVISORY  WRITE 812 fe:00:1443 0 EOF";
        assert_eq!(holder(lock, 1443), Some(812));
        assert_eq!(holder(lock, 144), None);
        assert_eq!(
            holder("3: -> FLOCK  ADVISORY  WRITE 9 fe:00:1443 0 EOF", 1443),
            None
        );
        let listener = "0: 0100007F:4A94 00000000:0000 0A 00000000:00000000 00:00000000";
        assert_eq!(state(listener, 0x4a94).as_deref(), Some("listened to"));
        assert_eq!(state(listener, 0x4a95), None);
    }

    #[test]
    fn a_process_is_looked_at() {
        let mut looks = Looks::new(std::process::id(), 9, Path::new("/nowhere"));
        looks.look();
        let said = looks.to_string();
        assert!(said.contains("looked at 1 times"), "{said}");
        assert!(said.contains(" ran "), "{said}");
        assert!(said.contains("the directory's lock is free"), "{said}");
    }

    #[test]
    fn only_a_slow_start_is_told_of() {
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        let mut quick = Watch::start(std::process::id(), address, Path::new("/nowhere"));
        assert_eq!(quick.end(), None);
        let mut slow = Watch::start(std::process::id(), address, Path::new("/nowhere"));
        std::thread::sleep(3 * SLOW);
        assert!(slow.end().is_some_and(|said| said.contains("looked at")));
    }
}

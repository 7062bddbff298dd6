//! The load through the Java client: one process for a whole run, told on its standard input.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::era::{Plan, WriterSpec};
use crate::failure::{Failure, fail};
use crate::ledger::{Ledger, Place};
use crate::record::Id;

/// A JVM starts in seconds, on a busy machine in more.
const READY_MAX: Duration = Duration::from_secs(60);

/// Whom the answers are for just now.
type Audience = Arc<Mutex<Option<(Arc<Plan>, Arc<Ledger>)>>>;

/// The process that runs `java/Load.java`.
pub(crate) struct Java {
    child: Child,
    stdin: ChildStdin,
    audience: Audience,
    /// Writers that are done, with how many records they sent; `None` once it is ready.
    done: Receiver<Option<(u32, u64)>>,
    listener: Option<JoinHandle<()>>,
}

impl Java {
    /// `jars` is a folder with the Kafka client's jars, as `tests/clients/run` installs them.
    pub(crate) fn start(jars: &Path, bootstrap: &str, seed: u64) -> Result<Self, Failure> {
        let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/java/Load.java"));
        let mut child = Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-XX:TieredStopAtLevel=1",
                "-cp",
            ])
            .arg(jars.join("*"))
            .arg(source)
            .args([bootstrap, &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("piped");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let audience = Audience::default();
        let (sender, done) = channel();
        let theirs = Arc::clone(&audience);
        let listener = std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                listen(&line, &theirs, &sender);
            }
        });
        let java = Self {
            child,
            stdin,
            audience,
            done,
            listener: Some(listener),
        };
        match java.done.recv_timeout(READY_MAX) {
            Ok(None) => Ok(java),
            _ => fail("the Java load did not start"),
        }
    }

    fn tell(&mut self, line: &str) -> Result<(), Failure> {
        writeln!(self.stdin, "{line}")?;
        Ok(self.stdin.flush()?)
    }

    /// Starts the plan's Java writers, paused.
    pub(crate) fn serve(&mut self, plan: &Arc<Plan>, ledger: &Arc<Ledger>) -> Result<(), Failure> {
        let both = (Arc::clone(plan), Arc::clone(ledger));
        *self.audience.lock().expect("no holder panics") = Some(both);
        self.pause(true)?;
        for writer in ours(plan) {
            self.tell(&format!(
                "writer {} {} {} {} {} {}",
                writer.id,
                writer.topic.name(),
                writer.topic.partitions,
                writer.idempotent,
                writer.codec,
                writer.in_flight_max,
            ))?;
        }
        Ok(())
    }

    pub(crate) fn pause(&mut self, paused: bool) -> Result<(), Failure> {
        self.tell(if paused { "pause" } else { "resume" })
    }

    /// Ends the plan's writers: which sent how many records, all of them answered.
    pub(crate) fn finish(
        &mut self,
        plan: &Plan,
        within: Duration,
    ) -> Result<Vec<(u32, u64)>, Failure> {
        for writer in ours(plan) {
            self.tell(&format!("finish {}", writer.id))?;
        }
        let mut sent = Vec::new();
        while sent.len() < ours(plan).count() {
            match self.done.recv_timeout(within) {
                Ok(done) => sent.extend(done),
                Err(_) => return fail(format!("Java writers have no answer within {within:?}")),
            }
        }
        Ok(sent)
    }
}

fn ours(plan: &Plan) -> impl Iterator<Item = &WriterSpec> {
    plan.writers.iter().filter(|writer| writer.java)
}

/// One line of the load's answers.
fn listen(line: &str, audience: &Audience, done: &Sender<Option<(u32, u64)>>) {
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let writer = number(1).and_then(|id| u32::try_from(id).ok());
    let held = audience.lock().expect("no holder panics");
    match (words[0], writer, number(2)) {
        // Whoever waits has gone when nobody takes these.
        ("ready", ..) => drop(done.send(None)),
        ("done", Some(id), Some(count)) => drop(done.send(Some((id, count)))),
        ("ack", Some(writer), Some(number)) => {
            let (plan, ledger) = held.as_ref().expect("an era is on");
            let id = Id { writer, number };
            let spec = plan.writers.iter().find(|spec| spec.id == writer);
            let place = spec.and_then(|spec| place(spec, &words));
            match place {
                Some(place) => ledger.acknowledged(place, id),
                None => ledger.broken(format!("the Java load says: {line}")),
            }
        }
        _ => match held.as_ref() {
            Some((_, ledger)) => ledger.broken(format!("the Java load says: {line}")),
            None => drop(done.send(Some((u32::MAX, 0)))),
        },
    }
}

fn place(spec: &WriterSpec, words: &[&str]) -> Option<Place> {
    Some(Place {
        topic: spec.topic.number,
        partition: words.get(3)?.parse().ok()?,
        offset: words.get(4)?.parse().ok()?,
    })
}

impl Drop for Java {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

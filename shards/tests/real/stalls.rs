//! A poll that holds the loop is counted and named; one that waits is not.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tailwater_shards::{self as shards, Counter};

use super::support::on_shards;

/// Keeps what a shard logs.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs `task` by the name `name` on a shard of its own: how many stalls were counted, what was
/// logged.
fn stalls_of<F>(name: &'static str, task: fn() -> F) -> (u64, String)
where
    F: Future<Output = ()> + 'static,
{
    let said = Said::default();
    let counted = Arc::new(Mutex::new(0));
    let (log, count) = (said.clone(), Arc::clone(&counted));
    on_shards(1, move |_| {
        let (log, count) = (log.clone(), Arc::clone(&count));
        async move {
            let subscriber = tracing_subscriber::fmt()
                .with_writer(move || log.clone())
                .with_ansi(false)
                .finish();
            let _heard = tracing::subscriber::set_default(subscriber);
            shards::spawn(name, task()).await.unwrap();
            *count.lock().unwrap() = shards::counters().total(Counter::LoopStalls);
        }
    })
    .unwrap();
    let counted = *counted.lock().unwrap();
    (counted, said.text())
}

fn hold_the_loop(duration: Duration) {
    let began = Instant::now();
    while began.elapsed() < duration {
        std::hint::spin_loop();
    }
}

#[test]
fn a_poll_that_holds_the_loop_is_counted_and_its_task_named_with_the_time() {
    let (counted, said) = stalls_of("hog", || async {
        shards::yield_now().await;
        hold_the_loop(Duration::from_millis(30));
    });
    assert!(counted >= 1);
    let line = said
        .lines()
        .find(|line| line.contains("task=\"hog\""))
        .unwrap();
    let held = line.split("held_ms=").nth(1).unwrap();
    let held: f64 = held.split(' ').next().unwrap().parse().unwrap();
    assert!(held >= 30.0, "{line}");
    assert!(line.contains("WARN") && line.contains("shard=0"), "{line}");
}

#[test]
fn stalls_that_follow_at_once_are_counted_and_not_each_logged() {
    let (counted, said) = stalls_of("hog", || async {
        for _ in 0..20 {
            hold_the_loop(Duration::from_millis(11));
            shards::yield_now().await;
        }
    });
    assert!(counted >= 20, "{counted}");
    // One a second: a machine that is busy takes longer than 220 ms for all of them.
    let logged = said.lines().count() as u64;
    assert!((1..=counted / 2).contains(&logged), "{said}");
}

#[test]
fn a_task_that_waits_holds_nothing() {
    // Another process may take the processor in the middle of any poll, which does hold the loop.
    // It does not do so each time.
    let quiet = (0..20).any(|_| {
        let (counted, said) = stalls_of("waits", || async {
            for _ in 0..3 {
                shards::sleep(Duration::from_millis(15)).await;
            }
        });
        counted == 0 && said.is_empty()
    });
    assert!(quiet, "a task that only waits was counted each time");
}

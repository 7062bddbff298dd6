//! The connections that are served, and which of them goes when one more comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::limits::CONNECTIONS_MAX;

/// All of them. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    served: Arc<Mutex<Served>>,
}

#[derive(Debug, Default)]
struct Served {
    next: u64,
    /// At most [`CONNECTIONS_MAX`].
    by_number: BTreeMap<u64, One>,
}

#[derive(Debug)]
struct One {
    /// When it came, asked or was answered last.
    last: Instant,
    closed: Arc<Notify>,
}

/// One of them; it has gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    all: Connections,
    number: u64,
    closed: Arc<Notify>,
}

impl Connections {
    fn served(&self) -> std::sync::MutexGuard<'_, Served> {
        // Whoever panicked with it left it whole: each change is one insert or remove.
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more. If there are as many as may be, the one that has done nothing for longest is closed.
    pub(crate) fn one_more(&self, now: Instant) -> Connection {
        let mut served = self.served();
        if served.by_number.len() >= CONNECTIONS_MAX {
            let idle = served.by_number.iter().min_by_key(|(_, one)| one.last);
            let longest = idle.map(|(number, _)| *number);
            if let Some(one) = longest.and_then(|number| served.by_number.remove(&number)) {
                one.closed.notify_one();
            }
        }
        let (number, closed) = (served.next, Arc::new(Notify::new()));
        served.next += 1;
        let one = One {
            last: now,
            closed: Arc::clone(&closed),
        };
        served.by_number.insert(number, one);
        Connection {
            all: self.clone(),
            number,
            closed,
        }
    }
}

impl Connection {
    /// It asked, or was answered.
    pub(crate) fn moved(&self, now: Instant) {
        if let Some(one) = self.all.served().by_number.get_mut(&self.number) {
            one.last = now;
        }
    }

    /// Waits until it is to be closed for another one.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.served().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn is_closed(connection: &Connection) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            tokio::select! {
                biased;
                () = connection.closed() => true,
                () = std::future::ready(()) => false,
            }
        })
    }

    #[test]
    fn who_has_done_nothing_for_longest_goes_when_one_more_comes() {
        let all = Connections::default();
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let first: Vec<_> = (0..CONNECTIONS_MAX as u64)
            .map(|n| all.one_more(at(n)))
            .collect();
        first[0].moved(at(100));
        let one_more = all.one_more(at(101));
        let closed: Vec<bool> = first.iter().map(is_closed).collect();
        assert_eq!(closed.iter().position(|closed| *closed), Some(1));
        assert_eq!(closed.iter().filter(|closed| **closed).count(), 1);
        assert!(!is_closed(&one_more));
        drop(one_more);
        drop(all.one_more(at(102)));
        assert!(!is_closed(&first[2]), "there was a place");
        assert_eq!(all.served().by_number.len(), CONNECTIONS_MAX - 1);
        drop(first);
        assert!(all.served().by_number.is_empty());
    }
}

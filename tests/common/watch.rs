//! How heavy a broker has been.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Broker, resident_bytes_of};

/// The heaviest that the broker has been.
pub struct Watched {
    stop: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
}

impl Watched {
    pub fn new(broker: &Broker) -> Self {
        let (stop, peak) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let pid = broker.pid();
        let watched = Self {
            stop: Arc::clone(&stop),
            peak: Arc::clone(&peak),
        };
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(resident_bytes_of(pid), Ordering::Relaxed);
                thread::park_timeout(Duration::from_millis(20));
            }
        });
        watched
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

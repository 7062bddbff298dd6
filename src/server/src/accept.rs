//! Accepting connections at one listener.

use std::net::SocketAddr;
use std::time::Duration;

use tailwater_shards::{Accepted, Listener, sleep};

use crate::limits::{ACCEPT_BACKOFF_MAX, ACCEPT_BACKOFF_MIN};

/// Accepts for ever, and gives each connection to `take` before it accepts the next.
pub(crate) async fn accept(listener: Listener, take: impl AsyncFn(Accepted, SocketAddr)) {
    let mut pause = ACCEPT_BACKOFF_MIN;
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                pause = ACCEPT_BACKOFF_MIN;
                match accepted.peer_addr() {
                    Ok(peer) => take(accepted, peer).await,
                    Err(error) => {
                        tracing::debug!("a connection was gone when it was accepted: {error}");
                    }
                }
            }
            Err(error) => {
                tracing::warn!("accepting a connection failed, next try in {pause:?}: {error}");
                sleep(pause).await;
                pause = longer(pause);
            }
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(ACCEPT_BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_after_a_failed_accept_is_bounded() {
        let mut pause = ACCEPT_BACKOFF_MIN;
        for _ in 0..100 {
            pause = longer(pause);
        }
        assert_eq!(pause, ACCEPT_BACKOFF_MAX);
    }
}

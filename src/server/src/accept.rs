//! Accepting connections in one place, and handing each to the shard with the fewest.

use std::time::Duration;

use tailwater_shards::{Accepted, Listener, Mesh, ShardId, count, sleep};

use crate::admission::{Admission, Place};
use crate::limits::{ACCEPT_BACKOFF_MAX, ACCEPT_BACKOFF_MIN};
use crate::program::{Answer, Message};

/// Accepts for ever. Runs on shard 0.
pub(crate) async fn accept(
    listener: Listener,
    mut admission: Admission,
    mesh: Mesh<Message, Answer>,
    serve_here: impl Fn(Accepted, Place),
) {
    let mut pause = ACCEPT_BACKOFF_MIN;
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                pause = ACCEPT_BACKOFF_MIN;
                hand_over(accepted, &mut admission, &mesh, &serve_here).await;
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

async fn hand_over(
    accepted: Accepted,
    admission: &mut Admission,
    mesh: &Mesh<Message, Answer>,
    serve_here: &impl Fn(Accepted, Place),
) {
    let peer = match accepted.peer_addr() {
        Ok(peer) => peer,
        Err(error) => {
            return tracing::debug!("a connection was gone when it was accepted: {error}");
        }
    };
    match admission.admit(peer.ip()) {
        Err(turned) => {
            count(turned.counter());
            tracing::debug!(%peer, "connection closed at once: {turned}");
        }
        Ok((ShardId(0), place)) => serve_here(accepted, place),
        // The order of connections means nothing: nobody waits for the answer. A full mesh makes
        // the next connection wait in the listener's backlog.
        Ok((shard, place)) => drop(mesh.send(shard, Message::Accepted(accepted, place)).await),
    }
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

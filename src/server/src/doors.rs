//! The ports of a server: who listens where, and who may come in.
//!
//! The bootstrap port is shard 0's, and what comes there goes to the shard with the fewest
//! connections. With shard-direct routing each shard listens on a port of its own too: what comes
//! there stays on that shard, and is answered by that shard alone. Shard 0 counts the connections of
//! all ports, so that the limits hold for all of them together.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use futures_util::future::{FutureExt, select};
use tailwater_shards::{Accepted, Listener, Mesh, ShardId, count, now, sleep};

use crate::accept::accept;
use crate::admission::{Admission, Place, Turned};
use crate::error::StartError;
use crate::limits::{LISTEN_RETRY_INTERVAL, LISTEN_RETRY_MAX};
use crate::program::{Answer, Message, Node};

/// A shard's part in the ports.
pub(crate) struct Doors {
    /// Those of shard 0 are the only ones that are used.
    admission: RefCell<Admission>,
    /// The shard's own port, from when it listens until it accepts.
    own: RefCell<Option<Listener>>,
}

impl Doors {
    pub(crate) fn new(admission: Admission) -> Self {
        Self {
            admission: RefCell::new(admission),
            own: RefCell::new(None),
        }
    }
}

/// Listens. The kernel gives a killed process's address free only when it is done with what that
/// had in flight, which may be after the process is gone: a while is waited.
pub(crate) async fn bind(addr: SocketAddr) -> std::io::Result<Listener> {
    let until = now() + LISTEN_RETRY_MAX;
    loop {
        match Listener::bind(addr) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && now() < until => {
                sleep(LISTEN_RETRY_INTERVAL).await;
            }
            bound => return bound,
        }
    }
}

/// Has each shard listen on its own port, if it is to have one: where each does. Runs on shard 0.
pub(crate) async fn listen_at_shards(
    mesh: &Mesh<Message, Answer>,
    addrs: Vec<SocketAddr>,
) -> Result<Vec<SocketAddr>, StartError> {
    let mut asked = Vec::with_capacity(addrs.len());
    for (index, addr) in (0..).zip(addrs) {
        let answer = mesh.send(ShardId(index), Message::Listen(addr)).await;
        asked.push((addr, answer));
    }
    let mut listening = Vec::with_capacity(asked.len());
    for (addr, answer) in asked {
        match answer.await {
            Ok(Answer::Listening(Ok(at))) => listening.push(at),
            Ok(Answer::Listening(Err(error))) => return Err(StartError::Listen { addr, error }),
            _ => {
                return Err(StartError::Engine(
                    "a shard ended while it started".to_owned(),
                ));
            }
        }
    }
    Ok(listening)
}

impl Node {
    /// Listens on this shard's own port. Who connects waits in the backlog until [`Node::accept_own`]
    /// takes it.
    pub(crate) async fn listen(&self, addr: SocketAddr) -> std::io::Result<SocketAddr> {
        let listener = bind(addr).await?;
        let at = listener.local_addr()?;
        *self.doors.own.borrow_mut() = Some(listener);
        Ok(at)
    }

    /// Accepts at this shard's own port once all shards stand, until the server stops.
    pub(crate) async fn accept_own(self: Rc<Self>, mesh: Mesh<Message, Answer>) {
        let stopped = self.program.shutdown();
        let accepting = async {
            self.program.opened.triggered().await;
            let listener = self.doors.own.borrow_mut().take();
            if let Some(listener) = listener {
                accept(listener, async |accepted, peer| {
                    self.let_in(&mesh, accepted, peer).await;
                })
                .await;
            }
        };
        select(accepting.boxed_local(), stopped.triggered().boxed_local()).await;
    }

    /// Accepts at the bootstrap port, for ever. Runs on shard 0.
    pub(crate) async fn accept_for_all(
        self: &Rc<Self>,
        listener: Listener,
        mesh: &Mesh<Message, Answer>,
    ) {
        let take = async |accepted, peer| self.hand_over(mesh, accepted, peer).await;
        accept(listener, take).await;
    }

    /// A place for a connection from that address on that shard's own port. Runs on shard 0.
    pub(crate) fn admit(&self, shard: ShardId, address: IpAddr) -> Result<Place, Turned> {
        self.doors.admission.borrow_mut().admit_to(shard, address)
    }

    async fn hand_over(
        self: &Rc<Self>,
        mesh: &Mesh<Message, Answer>,
        accepted: Accepted,
        peer: SocketAddr,
    ) {
        let admitted = self.doors.admission.borrow_mut().admit(peer.ip());
        match admitted {
            Err(turned) => turn_away(peer, turned),
            Ok((ShardId(0), place)) => self.serve(accepted, place),
            // The order of connections means nothing: nobody waits for the answer. A full mesh
            // makes the next connection wait in the listener's backlog.
            Ok((shard, place)) => drop(mesh.send(shard, Message::Accepted(accepted, place)).await),
        }
    }

    /// One connection after the other: while shard 0 is asked, the next waits in the backlog.
    async fn let_in(&self, mesh: &Mesh<Message, Answer>, accepted: Accepted, peer: SocketAddr) {
        match mesh.call(ShardId(0), Message::Admit(peer.ip())).await {
            Ok(Answer::Admitted(Ok(place))) => self.serve_direct(accepted, place),
            Ok(Answer::Admitted(Err(turned))) => turn_away(peer, turned),
            // Shard 0 is going down, and with it the process.
            _ => {}
        }
    }
}

fn turn_away(peer: SocketAddr, turned: Turned) {
    count(turned.counter());
    tracing::debug!(%peer, "connection closed at once: {turned}");
}

//! Patience, and who is closed.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use tailwater_shards::sim::Simulation;
use tailwater_shards::{Listener, spawn};

use super::*;

#[test]
fn the_more_wait_the_less_patience_there_is() {
    assert_eq!(patience(1), SLOW_PATIENCE_MAX);
    assert_eq!(patience(8), SLOW_PATIENCE_MAX);
    assert_eq!(patience(16), SLOW_PATIENCE_MAX / 2);
    assert_eq!(patience(1_000_000), SLOW_PATIENCE_MIN);
}

/// A connection that is full, and what its peer holds of it.
async fn full(listener: &Listener, addr: SocketAddr) -> (Rc<Stream>, Stream) {
    let peer = spawn("peer", Stream::connect(addr));
    let stream = listener.accept().await.unwrap().into_stream().unwrap();
    let peer = peer.await.unwrap().unwrap();
    let stream = Rc::new(stream);
    let bytes = [Bytes::from(vec![0; 64 * 1024])];
    let fill = async {
        loop {
            std::future::poll_fn(|cx| stream.poll_write_vectored(cx, &bytes))
                .await
                .unwrap();
        }
    };
    assert!(
        tailwater_shards::timeout(Duration::from_millis(100), fill)
            .await
            .is_err(),
        "a socket that nobody reads fills up"
    );
    (stream, peer)
}

#[test]
fn those_who_stand_still_are_closed_for_those_who_wait_and_those_who_read_stay() {
    Simulation::new(5).run(async {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        let listener = Listener::bind(addr).unwrap();
        let (stuck, _peer) = full(&listener, addr).await;
        let (slow, reads) = full(&listener, addr).await;
        let memory = ReplyMemory::new(8 << 20);
        let readers = Rc::<SlowReaders>::default();
        spawn("slow readers", Rc::clone(&readers).watch(memory.clone())).detach();
        let controls = [(); 2].map(|()| Rc::new(Control::new()));
        let held = [
            memory.reserve(2 << 20, false).await,
            memory.reserve(2 << 20, false).await,
        ];
        let first = readers.enter(&controls[0], &stuck, 2 << 20);
        let second = readers.enter(&controls[1], &slow, 2 << 20);
        // As long as nobody waits, nobody is bothered.
        sleep(SLOW_PATIENCE_MAX * 3).await;
        assert!(!first.stalled.is_to_copy() && controls[0].order() == Order::Serve);
        spawn("reads", async move {
            let mut buf = vec![0; SLOW_PROGRESS_BYTES];
            let mut left = 3;
            while left > 0 {
                let mut read = 0;
                while read < buf.len() {
                    read += reads.read(&mut buf[read..]).await.unwrap();
                }
                left -= 1;
                sleep(SLOW_PATIENCE_MAX / 4).await;
            }
            std::future::pending::<()>().await;
        })
        .detach();
        sleep(SLOW_LOOK_INTERVAL).await;
        let waits = spawn("waits", {
            let memory = memory.clone();
            async move { memory.reserve(2 << 20, false).await }
        });
        sleep(SLOW_LOOK_INTERVAL * 2).await;
        assert!(first.stalled.is_to_copy() && second.stalled.is_to_copy());
        assert_eq!(controls[0].order(), Order::Close);
        assert_eq!(controls[1].order(), Order::Serve, "it has just read");
        // What the connection's end does.
        let [of_first, of_second] = held;
        drop((first, of_first));
        drop(waits.await.unwrap());
        drop((second, of_second));
        assert!(readers.stalled.borrow().is_empty());
        assert_eq!((memory.held(), memory.waiters()), (0, 0));
    });
}

#[test]
fn who_has_taken_all_there_was_is_not_closed_for_what_we_have_not_given() {
    Simulation::new(6).run(async {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        let listener = Listener::bind(addr).unwrap();
        let (stream, peer) = full(&listener, addr).await;
        let memory = ReplyMemory::new(8 << 20);
        let readers = Rc::<SlowReaders>::default();
        spawn("slow readers", Rc::clone(&readers).watch(memory.clone())).detach();
        let control = Rc::new(Control::new());
        let held = memory.reserve(2 << 20, false).await;
        let entered = readers.enter(&control, &stream, 2 << 20);
        let mut buf = vec![0; SLOW_PROGRESS_BYTES];
        while stream.unsent_bytes().unwrap() > 0 {
            assert!(peer.read(&mut buf).await.unwrap() > 0);
        }
        // Its connection has no turn to give more, while others wait for what it holds.
        let waits = memory.reserve(4 << 20, false);
        let waited = tailwater_shards::timeout(SLOW_PATIENCE_MAX * 3, waits).await;
        assert!(waited.is_err() && control.order() == Order::Serve);
        drop((entered, held));
    });
}

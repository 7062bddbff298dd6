use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::{boot, flag, outcomes};
use crate::sim::{Ending, Party, Process, Simulation};
use crate::{Accepted, Listener, Stream, now, sleep, spawn, yield_now};

const SEEDS: u64 = 50;
const ADDR: &str = "127.0.0.1:9092";

fn addr() -> SocketAddr {
    ADDR.parse().expect("an address")
}

/// Bytes in which each position can be told from its neighbours.
fn pattern(len: usize) -> Bytes {
    (0..len)
        .map(|at| u8::try_from(at * 7 % 251).expect("below 251"))
        .collect()
}

async fn read_to_end(stream: &Stream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut buf = vec![0; 10_000];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(all),
            n => all.extend_from_slice(&buf[..n]),
        }
    }
}

async fn read_exact(stream: &Stream, len: usize) -> io::Result<Vec<u8>> {
    let mut all = vec![0; len];
    let mut at = 0;
    while at < len {
        match stream.read(&mut all[at..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => at += n,
        }
    }
    Ok(all)
}

/// A process that sends back whatever it is sent.
fn boot_echo(sim: &mut Simulation) -> Process {
    boot(sim, async {
        let listener = Listener::bind(addr()).expect("free");
        loop {
            let stream = listener
                .accept()
                .await
                .expect("accepted")
                .into_stream()
                .expect("taken");
            let echo = async move {
                let mut buf = [0; 1000];
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    let back = Bytes::copy_from_slice(&buf[..n]);
                    if stream.write_vectored_all(&[back]).await.is_err() {
                        break;
                    }
                }
            };
            spawn("echo", echo).detach();
        }
    })
}

/// A process that accepts one connection and does `with` with it.
fn boot_server<F, Fut>(sim: &mut Simulation, with: F) -> Process
where
    F: FnOnce(Stream) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let process = boot(sim, async move {
        let listener = Listener::bind(addr()).expect("free");
        let stream = listener
            .accept()
            .await
            .expect("accepted")
            .into_stream()
            .expect("taken");
        with(stream).await;
    });
    sim.run_until_idle();
    process
}

async fn ask(stream: &Stream, question: &'static [u8]) -> io::Result<Vec<u8>> {
    stream
        .write_vectored_all(&[Bytes::from_static(question)])
        .await?;
    read_exact(stream, question.len()).await
}

#[test]
fn bytes_arrive_in_order_whole_and_in_pieces_of_any_size() {
    let pieces = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        let reads = Rc::new(Cell::new(0));
        let count = Rc::clone(&reads);
        let process = boot_server(&mut sim, move |stream| async move {
            let mut all = Vec::new();
            let mut buf = [0; 7000];
            while let n @ 1.. = stream.read(&mut buf).await.expect("open") {
                all.extend_from_slice(&buf[..n]);
                count.set(count.get() + 1);
            }
            assert!(all == pattern(100_000));
        });
        sim.run(async {
            let stream = Stream::connect(addr()).await.expect("connected");
            let whole = pattern(100_000);
            let parts = [0..1, 1..60_000, 60_000..60_000, 60_000..100_000];
            let parts = parts.map(|range| whole.slice(range));
            stream.write_vectored_all(&parts).await.expect("sent");
        });
        assert_eq!(sim.run_until_ended(process), Ending::Returned);
        reads.get()
    });
    assert!(
        pieces.len() > 5,
        "the pieces are drawn by the seed: {pieces:?}"
    );
}

#[test]
fn an_echo_gives_back_every_byte() {
    for seed in 0..SEEDS {
        let mut sim = Simulation::new(seed);
        boot_echo(&mut sim);
        sim.run_until_idle();
        sim.run(async {
            let stream = Rc::new(Stream::connect(addr()).await.expect("connected"));
            let reading = Rc::clone(&stream);
            let reader = spawn("reader", async move { read_exact(&reading, 700_000).await });
            stream
                .write_vectored_all(&[pattern(700_000)])
                .await
                .expect("sent");
            let back = reader.await.expect("no panic").expect("open");
            assert!(back == pattern(700_000));
            assert_eq!(stream.peer_addr().expect("open"), addr());
        });
    }
}

#[test]
fn a_slow_reader_makes_the_writer_wait() {
    let mut sim = Simulation::new(1);
    let process = boot_server(&mut sim, |stream| async move {
        sleep(Duration::from_secs(10)).await;
        assert_eq!(
            read_exact(&stream, 1 << 20).await.expect("open"),
            pattern(1 << 20)
        );
        sleep(Duration::from_secs(10)).await;
    });
    let waited = sim.run(async {
        let stream = Stream::connect(addr()).await.expect("connected");
        let begin = now();
        stream
            .write_vectored_all(&[pattern(1 << 20)])
            .await
            .expect("sent");
        now() - begin
    });
    assert!(waited > Duration::from_secs(9), "{waited:?}");
    sim.run_until_ended(process);
}

#[test]
fn a_connection_to_nobody_is_refused_also_after_a_kill() {
    let mut sim = Simulation::new(1);
    let refused = |sim: &mut Simulation| {
        let kind = sim
            .run(async { Stream::connect(addr()).await.map(drop) })
            .map_err(|e| e.kind());
        assert_eq!(kind, Err(io::ErrorKind::ConnectionRefused));
    };
    refused(&mut sim);
    let process = boot_echo(&mut sim);
    sim.run_until_idle();
    sim.run(async { Stream::connect(addr()).await.expect("connected") });
    sim.kill(process);
    refused(&mut sim);
}

#[test]
fn an_address_in_use_is_refused_and_free_again_when_its_listener_or_process_is_gone() {
    let mut sim = Simulation::new(1);
    let process = boot(&mut sim, async {
        let first = Listener::bind(addr()).expect("free");
        for taken in [addr(), "0.0.0.0:9092".parse().expect("an address")] {
            let kind = Listener::bind(taken)
                .map(drop)
                .map_err(|error| error.kind());
            assert_eq!(kind, Err(io::ErrorKind::AddrInUse));
        }
        drop(first);
        let _again = Listener::bind(addr()).expect("free again");
        let any = Listener::bind("127.0.0.1:0".parse().expect("an address")).expect("any port");
        assert_ne!(any.local_addr().expect("bound").port(), 0);
        std::future::pending().await
    });
    sim.run_until_idle();
    assert!(sim.is_running(process));
    sim.kill(process);
    boot_echo(&mut sim);
    sim.run_until_idle();
    assert_eq!(
        sim.run(async { ask(&Stream::connect(addr()).await?, b"hello").await })
            .ok(),
        Some(b"hello".to_vec())
    );
}

#[test]
fn a_kill_ends_connections_with_the_end_of_the_stream_or_a_reset() {
    let seen = outcomes(SEEDS, |seed| {
        let mut sim = Simulation::new(seed);
        let process = boot_server(&mut sim, |stream| async move {
            stream
                .write_vectored_all(&[pattern(1000)])
                .await
                .expect("sent");
            std::future::pending().await
        });
        let (connected, is_connected) = flag();
        let client = sim.spawn("client", async move {
            let stream = Stream::connect(addr()).await.expect("connected");
            stream
                .write_vectored_all(&[Bytes::from_static(b"never read")])
                .await
                .expect("sent");
            connected.set(true);
            read_to_end(&stream).await.map_err(|error| error.kind())
        });
        sim.run_until(|| is_connected.get());
        sim.kill(process);
        sim.run_until_done(&client).map(|all| all.len())
    });
    assert!(
        seen.contains_key(&Err(io::ErrorKind::ConnectionReset)),
        "{seen:?}"
    );
    assert!(seen.contains_key(&Ok(1000)), "{seen:?}");
}

#[test]
fn writes_to_a_closed_peer_fail_once_its_reset_has_arrived() {
    let mut sim = Simulation::new(1);
    boot_server(&mut sim, |stream| async move { drop(stream) });
    let failed = sim.run(async {
        let stream = Stream::connect(addr()).await.expect("connected");
        sleep(Duration::from_secs(1)).await;
        stream
            .write_vectored_all(&[Bytes::from_static(b"a")])
            .await
            .expect("not known yet");
        sleep(Duration::from_secs(1)).await;
        stream
            .write_vectored_all(&[Bytes::from_static(b"b")])
            .await
            .map_err(|error| error.kind())
    });
    assert_eq!(failed, Err(io::ErrorKind::ConnectionReset));
}

#[test]
fn a_writer_that_waits_for_room_is_woken_by_the_end_of_its_peer() {
    let mut sim = Simulation::new(1);
    let process = boot_server(&mut sim, |stream| async move {
        let _held = stream;
        std::future::pending().await
    });
    let client = sim.spawn("client", async {
        let stream = Stream::connect(addr()).await.expect("connected");
        stream
            .write_vectored_all(&[pattern(1 << 20)])
            .await
            .map_err(|error| error.kind())
    });
    sim.run_until_idle();
    assert!(!client.is_done(), "it waits for room");
    sim.kill(process);
    assert_eq!(
        sim.run_until_done(&client),
        Err(io::ErrorKind::ConnectionReset)
    );
}

#[test]
fn shutdown_ends_both_directions_at_once_and_what_was_sent_arrives() {
    let mut sim = Simulation::new(1);
    let process = boot_server(&mut sim, |stream| async move {
        let stream = Rc::new(stream);
        let reading = Rc::clone(&stream);
        let reader = spawn("reader", async move { read_to_end(&reading).await });
        stream
            .write_vectored_all(&[pattern(1000)])
            .await
            .expect("sent");
        yield_now().await;
        stream.shutdown().expect("open");
        assert!(reader.await.expect("no panic").expect("an end").is_empty());
        let late = stream
            .write_vectored_all(&[pattern(1)])
            .await
            .map_err(|error| error.kind());
        assert_eq!(late, Err(io::ErrorKind::BrokenPipe));
    });
    let all = sim.run(async { read_to_end(&Stream::connect(addr()).await?).await });
    assert_eq!(all.expect("an end"), pattern(1000));
    sim.run_until_ended(process);
}

#[test]
fn an_accepted_socket_is_handed_to_another_shard() {
    let mut sim = Simulation::new(1);
    let slot: Rc<RefCell<Option<Accepted>>> = Rc::default();
    let handed = Rc::clone(&slot);
    sim.boot(2, move |id| {
        let slot = Rc::clone(&handed);
        async move {
            if id.0 == 0 {
                let listener = Listener::bind(addr()).expect("free");
                let accepted = listener.accept().await.expect("accepted");
                assert_eq!(
                    accepted.peer_addr().expect("open").ip().to_string(),
                    "127.0.0.1"
                );
                *slot.borrow_mut() = Some(accepted);
                std::future::pending().await
            }
            loop {
                sleep(Duration::from_millis(1)).await;
                let taken = slot.borrow_mut().take();
                if let Some(accepted) = taken {
                    let stream = accepted.into_stream().expect("taken");
                    stream
                        .write_vectored_all(&[Bytes::from_static(b"shard 1")])
                        .await
                        .expect("sent");
                }
            }
        }
    });
    sim.run_for(Duration::from_millis(1));
    let said = sim.run(async { read_to_end(&Stream::connect(addr()).await?).await });
    assert_eq!(said.expect("an end"), b"shard 1");
}

#[test]
fn whoever_is_not_accepted_is_reset_when_the_listener_goes() {
    let mut sim = Simulation::new(1);
    let process = boot(&mut sim, async {
        let _listener = Listener::bind(addr()).expect("free");
        sleep(Duration::from_secs(1)).await;
    });
    sim.run_for(Duration::from_millis(1));
    let ended = sim.run(async {
        let stream = Stream::connect(addr()).await.expect("the backlog takes it");
        read_to_end(&stream).await.map_err(|error| error.kind())
    });
    assert_eq!(ended, Err(io::ErrorKind::ConnectionReset));
    assert!(!sim.is_running(process));
}

#[test]
fn a_partition_holds_what_is_sent_until_it_is_healed() {
    for seed in 0..SEEDS {
        let mut sim = Simulation::new(seed);
        let process = boot_echo(&mut sim);
        sim.run_until_idle();
        let stream = Rc::new(sim.run(async { Stream::connect(addr()).await.expect("connected") }));
        sim.network()
            .partition(Party::Clients, Party::Process(process));
        let asking = Rc::clone(&stream);
        let answer = sim.spawn(
            "asking",
            async move { ask(&asking, b"anyone there?").await },
        );
        sim.run_for(Duration::from_secs(30));
        assert!(!answer.is_done());
        sim.network().heal(Party::Clients, Party::Process(process));
        assert_eq!(sim.run_until_done(&answer).expect("open"), b"anyone there?");
    }
}

#[test]
fn a_split_may_cut_one_direction_only() {
    let mut sim = Simulation::new(1);
    let (heard, is_heard) = flag();
    let process = boot_server(&mut sim, move |stream| async move {
        read_exact(&stream, 2).await.expect("open");
        heard.set(true);
        stream
            .write_vectored_all(&[Bytes::from_static(b"ok")])
            .await
            .expect("sent");
        std::future::pending().await
    });
    let stream = Rc::new(sim.run(async { Stream::connect(addr()).await.expect("connected") }));
    sim.network().split(Party::Process(process), Party::Clients);
    let asking = Rc::clone(&stream);
    let answer = sim.spawn("asking", async move { ask(&asking, b"hi").await });
    sim.run_for(Duration::from_secs(5));
    assert!(is_heard.get() && !answer.is_done());
    sim.network().heal(Party::Clients, Party::Process(process));
    assert_eq!(sim.run_until_done(&answer).expect("open"), b"ok");
}

#[test]
fn a_process_killed_behind_a_split_leaves_a_half_open_connection() {
    let mut sim = Simulation::new(1);
    let process = boot_echo(&mut sim);
    sim.run_until_idle();
    let stream = Rc::new(sim.run(async { Stream::connect(addr()).await.expect("connected") }));
    sim.network()
        .partition(Party::Clients, Party::Process(process));
    sim.kill(process);
    let reading = Rc::clone(&stream);
    let reader = sim.spawn("reader", async move {
        read_to_end(&reading).await.map(|all| all.len())
    });
    sim.run_for(Duration::from_secs(600));
    assert!(!reader.is_done(), "nobody told it");
    sim.network().heal(Party::Clients, Party::Process(process));
    assert_eq!(
        sim.run_until_done(&reader).expect("the end of the stream"),
        0
    );
}

#[test]
fn a_connection_opened_into_a_split_waits_and_times_out() {
    let mut sim = Simulation::new(1);
    let process = boot_echo(&mut sim);
    sim.run_until_idle();
    sim.network().split(Party::Clients, Party::Process(process));
    let late = sim.spawn("late", async {
        ask(&Stream::connect(addr()).await?, b"hi").await
    });
    sim.run_for(Duration::from_secs(30));
    assert!(!late.is_done());
    sim.network().heal(Party::Clients, Party::Process(process));
    assert_eq!(sim.run_until_done(&late).expect("open"), b"hi");
    sim.network().split(Party::Process(process), Party::Clients);
    let never = sim.run(async { Stream::connect(addr()).await.map(drop) });
    assert_eq!(
        never.map_err(|error| error.kind()),
        Err(io::ErrorKind::TimedOut)
    );
}

#[test]
fn a_power_cut_leaves_its_peers_in_the_dark_for_seconds() {
    for seed in 0..SEEDS {
        let mut sim = Simulation::new(seed);
        boot_echo(&mut sim);
        sim.run_until_idle();
        let stream = Rc::new(sim.run(async { Stream::connect(addr()).await.expect("connected") }));
        sim.power_cut();
        let begin = sim.now();
        let reading = Rc::clone(&stream);
        let reader = sim.spawn("reader", async move {
            read_to_end(&reading).await.map_err(|e| e.kind())
        });
        assert_eq!(
            sim.run_until_done(&reader),
            Err(io::ErrorKind::ConnectionReset)
        );
        assert!(sim.now() - begin >= Duration::from_secs(1));
    }
}

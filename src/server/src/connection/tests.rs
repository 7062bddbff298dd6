//! One connection over the simulated network, with a service that is told when to answer.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FutureExt;
use tailwater_shards::sim::{ClientTask, Simulation};
use tailwater_shards::sync::Notify;
use tailwater_shards::{Counters, Listener, sleep};
use tailwater_wire::Encoded;

use super::*;
use crate::limits::SEND_STEP_MAX;

const ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9092);
const MEMORY: u64 = 16 << 20;

/// What the test and the service share: the service writes what it does, the test says what is
/// durable.
#[derive(Default)]
struct Script {
    log: RefCell<Vec<String>>,
    released: RefCell<Vec<u8>>,
    bell: Notify,
    /// Bytes of each answer.
    answer_bytes: Cell<usize>,
    ended: RefCell<Option<String>>,
    memory: RefCell<Option<RequestMemory>>,
    counters: RefCell<Option<Counters>>,
}

impl Script {
    fn note(&self, what: &str, id: u8) {
        self.log.borrow_mut().push(format!("{what} {id}"));
    }

    fn log(&self) -> Vec<String> {
        self.log.borrow().clone()
    }

    fn release(&self, id: u8) {
        self.released.borrow_mut().push(id);
        self.bell.notify_all();
    }

    async fn until_released(self: Rc<Self>, id: u8) {
        loop {
            let bell = self.bell.notified();
            if self.released.borrow().contains(&id) {
                return;
            }
            bell.await;
        }
    }
}

/// Requests of two bytes or more: a kind and an id. `P` is a produce that waits to be released,
/// `A` one without an answer, `E` one that fails without an answer, `F` a fetch that parks until
/// released, `O` any other, `X` malformed.
struct Scripted(Rc<Script>);

impl Service for Scripted {
    type Request = (u8, u8);

    fn decode(&self, frame: &Frame) -> Result<Decoded<(u8, u8)>, WireError> {
        let (kind, id) = (frame.bytes[0], frame.bytes[1]);
        if kind == b'X' {
            return Err(WireError::UnknownApi { api_key: 999 });
        }
        let overlaps = matches!(kind, b'P' | b'A' | b'E');
        Ok(Decoded {
            request: (kind, id),
            overlaps,
            parks: kind == b'F',
        })
    }

    async fn begin(&self, (kind, id): (u8, u8), stages: Stages) -> Begun {
        let script = Rc::clone(&self.0);
        script.note("begin", id);
        let bytes = script.answer_bytes.get().max(1);
        let answer = Bytes::from([&[id][..], &vec![0; bytes - 1]].concat());
        let encoded = Encoded {
            total_bytes: bytes,
            pieces: [answer].into_iter().collect(),
        };
        let reply = Reply {
            answer: (!matches!(kind, b'A' | b'E')).then_some(encoded),
            held: None,
            then_close: kind == b'E',
            stages,
        };
        match kind {
            b'P' | b'A' | b'E' => Begun::Waiting(Box::pin(async move {
                Rc::clone(&script).until_released(id).await;
                script.note("durable", id);
                reply
            })),
            b'F' => {
                Rc::clone(&script).until_released(id).await;
                script.note("fetched", id);
                Begun::Ready(reply)
            }
            _ => Begun::Ready(reply),
        }
    }
}

/// A server with one connection, and its client's task.
fn run<T: 'static, F: Future<Output = T> + 'static>(
    simulation: &mut Simulation,
    script: &Rc<Script>,
    client: impl FnOnce(Rc<Stream>, Rc<Script>, Rc<Control>) -> F + 'static,
) -> ClientTask<T> {
    let control: Rc<RefCell<Option<Rc<Control>>>> = Rc::default();
    let server = {
        let (script, control) = (Rc::clone(script), Rc::clone(&control));
        move |_| {
            let (script, control) = (Rc::clone(&script), Rc::clone(&control));
            async move {
                let listener = Listener::bind(ADDR).unwrap();
                let held = Rc::new(Control::new());
                *control.borrow_mut() = Some(Rc::clone(&held));
                let stream = listener.accept().await.unwrap().into_stream().unwrap();
                let memory = RequestMemory::new(MEMORY);
                *script.memory.borrow_mut() = Some(memory.clone());
                *script.counters.borrow_mut() = Some(tailwater_shards::counters());
                let resources = Resources {
                    request_memory: memory,
                    scratch: scratch(),
                    request_bytes_max: 1 << 20,
                    slow: Rc::default(),
                    turns: Turns::start(),
                };
                let service = Scripted(Rc::clone(&script));
                let ending = serve(Rc::new(stream), ADDR.ip(), held, resources, &service).await;
                *script.ended.borrow_mut() = Some(ending.to_string());
            }
        }
    };
    simulation.boot(1, server);
    simulation.run_for(Duration::from_millis(1));
    let script = Rc::clone(script);
    simulation.spawn("client", async move {
        let stream = Rc::new(Stream::connect(ADDR).await.unwrap());
        let control = control.borrow().clone().expect("the server listens");
        client(stream, script, control).await
    })
}

fn request(kind: u8, id: u8) -> Vec<u8> {
    vec![0, 0, 0, 2, kind, id]
}

async fn send(stream: &Stream, requests: &[(u8, u8)]) {
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(|(kind, id)| request(*kind, *id))
        .collect();
    stream
        .write_vectored_all(&[Bytes::from(bytes)])
        .await
        .unwrap();
}

/// Reads one-byte answers; fewer when the connection ends.
async fn answers(stream: &Stream, count: usize) -> Vec<u8> {
    let mut ids = Vec::new();
    while ids.len() < count {
        let mut byte = [0];
        match stream.read(&mut byte).await {
            Ok(1..) => ids.push(byte[0]),
            Ok(0) | Err(_) => break,
        }
    }
    ids
}

/// Long enough for what is under way to arrive.
async fn settle() {
    sleep(Duration::from_secs(1)).await;
}

fn at(log: &[String], entry: &str) -> usize {
    log.iter()
        .position(|line| line == entry)
        .unwrap_or_else(|| panic!("{entry} not in {log:?}"))
}

#[test]
fn replies_leave_in_request_order() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        let script = Rc::<Script>::default();
        let client = run(&mut simulation, &script, |stream, script, _| async move {
            send(&stream, &[(b'P', 1), (b'P', 2), (b'P', 3)]).await;
            settle().await;
            // All have begun, none is answered; then they become durable in the wrong order.
            assert_eq!(script.log(), ["begin 1", "begin 2", "begin 3"]);
            for id in [3, 2, 1] {
                script.release(id);
                settle().await;
            }
            answers(&stream, 3).await
        });
        assert_eq!(simulation.run_until_done(&client), [1, 2, 3]);
    }
}

#[test]
fn a_fetch_begins_only_when_earlier_produces_are_answered() {
    for seed in 0..20 {
        let mut simulation = Simulation::new(seed);
        let script = Rc::<Script>::default();
        let client = run(&mut simulation, &script, |stream, script, _| async move {
            send(&stream, &[(b'P', 1), (b'P', 2), (b'F', 3), (b'P', 4)]).await;
            settle().await;
            assert_eq!(script.log(), ["begin 1", "begin 2"]);
            script.release(1);
            settle().await;
            assert_eq!(answers(&stream, 1).await, [1]);
            assert!(!script.log().contains(&"begin 3".to_owned()));
            script.release(2);
            assert_eq!(answers(&stream, 1).await, [2]);
            settle().await;
            // The fetch is parked: what comes behind it has not begun.
            let log = script.log();
            assert!(at(&log, "durable 2") < at(&log, "begin 3"));
            assert!(!log.contains(&"begin 4".to_owned()));
            script.release(3);
            script.release(4);
            answers(&stream, 2).await
        });
        assert_eq!(simulation.run_until_done(&client), [3, 4]);
        let log = script.log();
        assert!(at(&log, "fetched 3") < at(&log, "begin 4"));
    }
}

#[test]
fn any_other_request_waits_for_its_turn_too() {
    let mut simulation = Simulation::new(3);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, script, _| async move {
        send(&stream, &[(b'O', 1), (b'P', 2), (b'O', 3)]).await;
        settle().await;
        assert_eq!(script.log(), ["begin 1", "begin 2"]);
        script.release(2);
        answers(&stream, 3).await
    });
    assert_eq!(simulation.run_until_done(&client), [1, 2, 3]);
}

#[test]
fn a_malformed_request_ends_the_connection_after_earlier_answers() {
    let mut simulation = Simulation::new(4);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, script, _| async move {
        send(&stream, &[(b'P', 1), (b'X', 2), (b'O', 3)]).await;
        settle().await;
        script.release(1);
        answers(&stream, 9).await
    });
    assert_eq!(simulation.run_until_done(&client), [1]);
    assert!(!script.log().contains(&"begin 3".to_owned()));
    assert_eq!(script.ended.take().unwrap(), "unknown API key 999");
}

#[test]
fn a_frame_with_an_impossible_length_ends_the_connection() {
    let mut simulation = Simulation::new(5);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, _, _| async move {
        let http = Bytes::from_static(b"GET / HTTP/1.1\r\n\r\n");
        stream.write_vectored_all(&[http]).await.unwrap();
        answers(&stream, 1).await
    });
    assert!(simulation.run_until_done(&client).is_empty());
    assert!(
        script
            .ended
            .take()
            .unwrap()
            .contains("socket.request.max.bytes")
    );
}

#[test]
fn a_request_without_an_answer_sends_nothing_and_its_failure_closes() {
    let mut simulation = Simulation::new(6);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, script, _| async move {
        for id in [1, 2, 3] {
            script.release(id);
        }
        send(&stream, &[(b'A', 1), (b'O', 2)]).await;
        assert_eq!(answers(&stream, 1).await, [2]);
        send(&stream, &[(b'E', 3)]).await;
        answers(&stream, 1).await
    });
    assert!(simulation.run_until_done(&client).is_empty());
    assert_eq!(
        script.ended.take().unwrap(),
        Ending::FailedUnanswered.to_string()
    );
}

#[test]
fn a_parked_fetch_is_forgotten_when_its_client_goes() {
    let mut simulation = Simulation::new(7);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, script, _| async move {
        send(&stream, &[(b'F', 1)]).await;
        settle().await;
        assert_eq!(script.log(), ["begin 1"]);
        stream.shutdown().unwrap();
        settle().await;
        script.ended.take()
    });
    assert_eq!(
        simulation.run_until_done(&client).unwrap(),
        Ending::ByPeer.to_string()
    );
    assert_eq!(script.log(), ["begin 1"]);
}

#[test]
fn draining_answers_what_is_in_flight_and_forgets_what_is_parked() {
    let mut simulation = Simulation::new(8);
    let script = Rc::<Script>::default();
    let client = run(
        &mut simulation,
        &script,
        |stream, script, control| async move {
            send(&stream, &[(b'P', 1), (b'P', 2)]).await;
            settle().await;
            control.tell(Order::Drain);
            send(&stream, &[(b'P', 3)]).await;
            settle().await;
            script.release(2);
            script.release(1);
            answers(&stream, 9).await
        },
    );
    assert_eq!(simulation.run_until_done(&client), [1, 2]);
    assert!(!script.log().contains(&"begin 3".to_owned()));

    let mut simulation = Simulation::new(9);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, _, control| async move {
        send(&stream, &[(b'F', 1)]).await;
        settle().await;
        control.tell(Order::Drain);
        answers(&stream, 9).await
    });
    assert!(simulation.run_until_done(&client).is_empty());
}

#[test]
fn a_slow_reader_is_closed() {
    let mut simulation = Simulation::new(10);
    let script = Rc::<Script>::default();
    script.answer_bytes.set(64 << 20);
    let client = run(&mut simulation, &script, |stream, script, _| async move {
        send(&stream, &[(b'O', 1)]).await;
        // It asked, and takes nothing.
        sleep(SEND_STEP_MAX * 2).await;
        drop(stream);
        script.ended.take()
    });
    let ended = simulation
        .run_until_done(&client)
        .expect("the connection has ended");
    assert!(ended.starts_with("the peer took less than"), "{ended}");
}

#[test]
fn a_reader_that_makes_progress_is_not_closed() {
    let mut simulation = Simulation::new(11);
    let script = Rc::<Script>::default();
    const ANSWER: usize = 4 << 20;
    script.answer_bytes.set(ANSWER);
    let client = run(&mut simulation, &script, |stream, _, _| async move {
        send(&stream, &[(b'O', 1)]).await;
        let mut buffer = vec![0; 64 << 10];
        let mut taken = 0;
        while taken < ANSWER {
            sleep(Duration::from_secs(1)).await;
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                count => taken += count,
            }
        }
        taken
    });
    assert_eq!(simulation.run_until_done(&client), ANSWER);
}

#[test]
fn what_is_in_flight_is_bounded_and_its_memory_comes_back() {
    let mut simulation = Simulation::new(12);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, script, _| async move {
        let requests: Vec<_> = (0..200).map(|id| (b'P', id)).collect();
        send(&stream, &requests).await;
        settle().await;
        assert_eq!(script.log().len(), crate::limits::IN_FLIGHT_COUNT_MAX);
        let memory = script.memory.borrow().clone().unwrap();
        assert!(memory.available() < MEMORY);
        let counters = script.counters.borrow().clone().unwrap();
        assert_eq!(counters.total(Counter::WaitsForInFlight), 1);
        for id in 0..200 {
            script.release(id);
        }
        let got = answers(&stream, 200).await;
        settle().await;
        assert_eq!(memory.available(), MEMORY);
        got
    });
    assert_eq!(
        simulation.run_until_done(&client),
        (0..200).collect::<Vec<u8>>()
    );
}

#[test]
fn a_large_frame_behind_a_parked_fetch_is_charged_only_when_the_fetch_is_done() {
    let mut simulation = Simulation::new(15);
    let script = Rc::<Script>::default();
    let client = run(&mut simulation, &script, |stream, script, _| async move {
        const LARGE: usize = 500_000;
        let prefix = i32::try_from(LARGE).unwrap().to_be_bytes();
        let large = [&prefix[..], &[b'O', 2], &vec![0; LARGE - 2]].concat();
        let both = [Bytes::from([request(b'F', 1), large].concat())];
        let sends = stream.write_vectored_all(&both);
        let sends = sends.map(Result::unwrap);
        let meanwhile = async {
            settle().await;
            let memory = script.memory.borrow().clone().unwrap();
            let held = MEMORY - memory.available();
            assert!(held < LARGE as u64, "{held} held behind a parked fetch");
            script.release(1);
            answers(&stream, 2).await
        };
        futures_util::future::join(sends, meanwhile).await.1
    });
    assert_eq!(simulation.run_until_done(&client), [1, 2]);
}

#[test]
fn idle_is_only_who_has_nothing_in_flight() {
    let mut simulation = Simulation::new(13);
    let script = Rc::<Script>::default();
    let client = run(
        &mut simulation,
        &script,
        |stream, script, control| async move {
            let idle = || control.idle_for(tailwater_shards::now());
            send(&stream, &[(b'F', 1)]).await;
            settle().await;
            assert_eq!(idle(), None, "a parked fetch is not idle");
            script.release(1);
            assert_eq!(answers(&stream, 1).await, [1]);
            sleep(Duration::from_secs(50)).await;
            assert!(idle().expect("nothing is in flight") >= Duration::from_secs(49));
            control.tell(Order::Close);
            answers(&stream, 1).map(|got| got.is_empty()).await
        },
    );
    assert!(simulation.run_until_done(&client));
}

#[test]
fn a_client_that_sends_without_end_leaves_the_shard_its_turns() {
    let mut simulation = Simulation::new(14);
    let script = Rc::<Script>::default();
    let shared = Rc::clone(&script);
    simulation.boot(1, move |_| {
        let script = Rc::clone(&shared);
        async move {
            let listener = Listener::bind(ADDR).unwrap();
            let stream = listener.accept().await.unwrap().into_stream().unwrap();
            // All of them have arrived before the connection is first looked at.
            settle().await;
            let resources = Resources {
                request_memory: RequestMemory::new(MEMORY),
                scratch: scratch(),
                request_bytes_max: 1 << 20,
                slow: Rc::default(),
                turns: Turns::start(),
            };
            let service = Scripted(Rc::clone(&script));
            let control = Rc::new(Control::new());
            let serving = serve(Rc::new(stream), ADDR.ip(), control, resources, &service);
            let mut serving = std::pin::pin!(serving);
            let mut turns = Vec::new();
            while script.log().len() < 100 {
                let before = script.log().len();
                assert!(futures_util::poll!(serving.as_mut()).is_pending());
                turns.push(script.log().len() - before);
                tailwater_shards::yield_now().await;
            }
            let most = crate::limits::ROUNDS_PER_POLL_MAX as usize;
            assert!(turns.iter().all(|requests| *requests <= most), "{turns:?}");
            assert!(turns.iter().any(|requests| *requests > 1), "{turns:?}");
        }
    });
    simulation.run_for(Duration::from_millis(1));
    let client = simulation.spawn("client", async move {
        let stream = Stream::connect(ADDR).await.unwrap();
        let requests: Vec<_> = (0..100).map(|id| (b'O', id)).collect();
        send(&stream, &requests).await;
        answers(&stream, 100).await.len()
    });
    assert!(simulation.run_until_done(&client) > 50);
}

/// Connections of which one has been told to go and never does, so that all others wait in line.
fn hold_up(turns: &Rc<Turns>) -> [crate::turns::Seat; 3] {
    let hogs: [_; 3] = std::array::from_fn(|n| {
        let address = std::net::Ipv4Addr::new(10, 0, 0, n as u8).into();
        turns.join(address, Rc::new(Control::new()))
    });
    let [first, others @ ..] = &hogs;
    let turn = first.ask(false).expect("nobody waits");
    let to_begin = true;
    let left = Left {
        to_begin,
        ..Left::default()
    };
    first.end(turn, 1000, left);
    assert!(others.iter().all(|seat| seat.ask(false).is_none()));
    hogs
}

#[test]
fn nobody_waits_for_a_peer_whose_connection_stands_in_line_unless_next_to_nothing_comes_of_it() {
    let mut simulation = Simulation::new(16);
    let checked = Rc::<Cell<bool>>::default();
    let shared = Rc::clone(&checked);
    simulation.boot(1, move |_| {
        let checked = Rc::clone(&shared);
        async move {
            let listener = Listener::bind(ADDR).unwrap();
            let stream = listener.accept().await.unwrap().into_stream().unwrap();
            let turns = Turns::start();
            let control = Rc::new(Control::new());
            let held = Rc::clone(&control);
            let resources = Resources {
                request_memory: RequestMemory::new(MEMORY),
                scratch: scratch(),
                request_bytes_max: 1 << 20,
                slow: Rc::default(),
                turns: Rc::clone(&turns),
            };
            tailwater_shards::spawn("serving", async move {
                let service = Scripted(Rc::default());
                serve(Rc::new(stream), ADDR.ip(), held, resources, &service).await
            })
            .detach();
            let seconds = |seconds| sleep(Duration::from_secs(seconds));
            let still = || {
                let still = control.holding.reading.stands_still(now());
                still.expect("a frame has begun").as_secs()
            };
            seconds(2).await;
            assert_eq!(still(), 1, "nothing comes, and nobody holds it up");
            let hogs = hold_up(&turns);
            seconds(10).await;
            assert!(still() <= 3, "{} s, all but 3 in line", still());
            drop(hogs);
            seconds(2).await;
            assert!(still() <= 5, "{} s, with 20,000 bytes since", still());
            let hogs = hold_up(&turns);
            seconds(10).await;
            assert!(still() <= 7, "nobody knows yet what has come");
            drop(hogs);
            seconds(1).await;
            assert!(still() >= 12, "{} s, with one byte since", still());
            checked.set(true);
        }
    });
    simulation.run_for(Duration::from_millis(1));
    let client = simulation.spawn("client", async move {
        let stream = Stream::connect(ADDR).await.unwrap();
        let began = now();
        let prefix = 500_000i32.to_be_bytes();
        let begin = [&prefix[..], &[b'O', 1], &[0; 30_000]].concat();
        for (at, part) in [(0, begin), (3, vec![0; 20_000]), (15, vec![0])] {
            tailwater_shards::sleep_until(began + Duration::from_secs(at)).await;
            let part = [Bytes::from(part)];
            stream.write_vectored_all(&part).await.unwrap();
        }
        sleep(Duration::from_secs(20)).await;
    });
    simulation.run_until_done(&client);
    assert!(checked.get());
}

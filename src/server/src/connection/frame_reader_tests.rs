//! Frames out of streams that are cut anywhere, and what hostile ones may cost.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Duration;

use tailwater_shards::sim::Simulation;
use tailwater_shards::{now, timeout};

use super::*;
use crate::limits::FRAME_STILL_MAX;

/// Gives its chunks one read each; then either ends or never says anything again.
struct Chunks {
    chunks: RefCell<VecDeque<Vec<u8>>>,
    ends: bool,
    /// The largest buffer that a read was offered.
    offered_max: Rc<Cell<usize>>,
}

impl ByteSource for Chunks {
    fn poll_read(&self, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        self.offered_max.set(self.offered_max.get().max(into.len()));
        let mut chunks = self.chunks.borrow_mut();
        let Some(chunk) = chunks.front_mut() else {
            return if self.ends {
                Poll::Ready(Ok(0))
            } else {
                Poll::Pending
            };
        };
        let count = chunk.len().min(into.len());
        into[..count].copy_from_slice(&chunk[..count]);
        chunk.drain(..count);
        if chunk.is_empty() {
            chunks.pop_front();
        }
        Poll::Ready(Ok(count))
    }
}

const MEMORY: u64 = 64 << 20;
const FRAME_MAX: usize = 32 << 20;

struct Fixture {
    frames: FrameReader<Chunks>,
    memory: RequestMemory,
    control: Rc<Control>,
    offered_max: Rc<Cell<usize>>,
}

fn fixture(chunks: Vec<Vec<u8>>, ends: bool) -> Fixture {
    let offered_max = Rc::<Cell<usize>>::default();
    let source = Chunks {
        chunks: RefCell::new(chunks.into()),
        ends,
        offered_max: Rc::clone(&offered_max),
    };
    let memory = RequestMemory::new(MEMORY);
    let control = Rc::new(Control::new());
    let frames = FrameReader::new(
        source,
        memory.clone(),
        scratch(),
        FRAME_MAX,
        Rc::clone(&control),
    );
    Fixture {
        frames,
        memory,
        control,
        offered_max,
    }
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).unwrap();
    [&length.to_be_bytes(), body].concat()
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[test]
fn what_is_read_ahead_is_charged_and_little_is_once_memory_is_short() {
    Simulation::new(1).run(async {
        let small = framed(&body(100));
        let many = small.repeat(8 * READ_STEP_BYTES / small.len());
        let mut fixture = fixture(vec![many], false);
        let mut frames = Vec::new();
        frames.push(fixture.frames.next().await.unwrap().unwrap());
        let held = MEMORY - fixture.memory.available();
        assert_eq!(
            held,
            READ_STEP_BYTES as u64 + 100,
            "a frame, and all that came"
        );
        // Others take what they need; what is behind is read in small steps, uncharged.
        let others = fixture
            .memory
            .charge(MEMORY as usize / 2 + 1, &Rc::default())
            .await;
        let ahead = |fixture: &Fixture| fixture.frames.ahead.capacity();
        while ahead(&fixture) > READ_STEP_UNCHARGED_BYTES {
            frames.push(fixture.frames.next().await.unwrap().unwrap());
        }
        for _ in 0..500 {
            frames.push(fixture.frames.next().await.unwrap().unwrap());
            assert!(ahead(&fixture) <= READ_STEP_UNCHARGED_BYTES + LENGTH_BYTES);
        }
        let held = MEMORY - fixture.memory.available() - others.bytes();
        assert_eq!(
            held,
            100 * frames.len() as u64,
            "the frames and nothing else"
        );
        assert!(frames.iter().all(|frame| *frame.bytes == body(100)));
    });
}

#[test]
fn frames_are_the_same_wherever_the_stream_is_cut() {
    let bodies = [
        body(1),
        body(100),
        body(5_000),
        body(9),
        body(70_000),
        body(300_000),
    ];
    let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
    for chunk_bytes in [1, 3, 4, 5, 1_000, 4_096, 65_536, usize::MAX] {
        let chunks = stream
            .chunks(chunk_bytes.min(stream.len()))
            .map(<[u8]>::to_vec)
            .collect();
        let bodies = bodies.clone();
        Simulation::new(1).run(async move {
            let Fixture {
                mut frames, memory, ..
            } = fixture(chunks, true);
            for body in &bodies {
                let frame = frames.next().await.unwrap().unwrap();
                assert_eq!(&frame.bytes[..], body);
                let ahead = frames.ahead_charge.as_ref().map_or(0, Charge::bytes);
                assert!(ahead >= frames.ahead_len() as u64 || frames.ahead_len() <= 4_096);
                assert_eq!(
                    MEMORY - memory.available(),
                    body.len() as u64 + ahead,
                    "charged exactly"
                );
            }
            assert!(frames.next().await.unwrap().is_none());
            assert_eq!(memory.available(), MEMORY);
        });
    }
}

#[test]
fn a_length_that_cannot_be_ends_the_stream() {
    for length in [
        i32::MIN,
        -1,
        0,
        i32::try_from(FRAME_MAX).unwrap() + 1,
        i32::MAX,
    ] {
        Simulation::new(1).run(async move {
            let mut stream = length.to_be_bytes().to_vec();
            stream.extend_from_slice(&body(100));
            let Fixture {
                mut frames, memory, ..
            } = fixture(vec![stream], false);
            let refused = frames.next().await.unwrap_err();
            assert!(
                matches!(refused, FrameError::Length(_)),
                "{length}: {refused}"
            );
            assert_eq!(memory.available(), MEMORY);
        });
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_told_from_one_that_ends_between() {
    for cut in 1..14 {
        Simulation::new(1).run(async move {
            let stream = framed(&body(10))[..cut].to_vec();
            let Fixture {
                mut frames, memory, ..
            } = fixture(vec![stream], true);
            let ended = frames.next().await.unwrap_err();
            assert!(
                matches!(ended, FrameError::EndedInside { .. }),
                "{cut}: {ended}"
            );
            assert_eq!(memory.available(), MEMORY);
        });
    }
}

#[test]
fn an_announced_length_costs_nothing_until_its_bytes_come() {
    Simulation::new(1).run(async move {
        for arrived in [0, 10, 5_000, 100_000] {
            let length = i32::try_from(FRAME_MAX).unwrap();
            let stream = [&length.to_be_bytes()[..], &body(arrived)].concat();
            let Fixture {
                mut frames,
                memory,
                offered_max,
                ..
            } = fixture(vec![stream], false);
            let pending = futures_util::poll!(Box::pin(frames.next()).as_mut());
            assert!(pending.is_pending());
            let held = offered_max.get().max(READ_STEP_BYTES);
            let bound = READ_STEP_BYTES.max(FRAME_GROWTH_FACTOR * arrived);
            assert!(held <= bound, "{held} for {arrived}");
            assert_eq!(
                memory.available(),
                MEMORY,
                "given back with the reader's future"
            );
        }
    });
}

#[test]
fn a_frame_is_charged_whole_and_a_small_one_only_when_it_is_there() {
    Simulation::new(1).run(async move {
        for (length, arrived, charged) in [
            (SMALL_FRAME_BYTES_MAX, SMALL_FRAME_BYTES_MAX - 1, 0),
            (FRAME_MAX, SMALL_FRAME_BYTES_MAX - 1, 0),
            (FRAME_MAX, SMALL_FRAME_BYTES_MAX, FRAME_MAX),
            (FRAME_MAX, 100_000, FRAME_MAX),
        ] {
            let prefix = i32::try_from(length).unwrap().to_be_bytes();
            let stream = [&prefix[..], &body(arrived)].concat();
            let Fixture {
                mut frames, memory, ..
            } = fixture(vec![stream], false);
            let mut next = Box::pin(frames.next());
            assert!(futures_util::poll!(next.as_mut()).is_pending());
            let held = MEMORY - memory.available();
            assert_eq!(held, charged as u64, "{arrived} of {length}");
        }
    });
}

#[test]
fn a_frame_that_finds_no_memory_waits_unread_and_nobody_waits_for_its_peer_meanwhile() {
    Simulation::new(1).run(async move {
        let length = 1_000_000;
        let stream = framed(&body(length));
        let Fixture {
            mut frames,
            memory,
            control,
            offered_max,
        } = fixture(vec![stream], false);
        // Others hold all there is.
        let others = (MEMORY / length as u64).try_into().unwrap();
        let (mut held, nobody) = (Vec::new(), Rc::default());
        for _ in 0..others {
            let charge = memory.charge(length, &nobody);
            held.push(timeout(Duration::from_secs(1), charge).await);
        }
        held.retain(Result::is_ok);
        let mut next = Box::pin(frames.next());
        // Much longer than any patience.
        assert!(timeout(FRAME_STILL_MAX * 10, next.as_mut()).await.is_err());
        assert_eq!(control.holding.reading.stands_still(now()), None);
        assert!(offered_max.get() <= SMALL_FRAME_BYTES_MAX);
        held.clear();
        let frame = next.await.unwrap().unwrap();
        assert_eq!(frame.bytes.len(), length);
    });
}

#[test]
fn a_peer_is_waited_for_from_the_first_byte_of_a_frame_to_its_last() {
    Simulation::new(1).run(async move {
        let whole = framed(&body(100_000));
        for arrived in [1, 4, 5, 50_000, whole.len()] {
            let stream = [&framed(&body(10)), &whole[..arrived]].concat();
            let Fixture {
                mut frames,
                control,
                ..
            } = fixture(vec![stream], false);
            let waits = || control.holding.reading.stands_still(now()).is_some();
            frames.next().await.unwrap().unwrap();
            assert!(!waits(), "between frames");
            let mut next = Box::pin(frames.next());
            let done = futures_util::poll!(next.as_mut()).is_ready();
            assert_eq!(done, arrived == whole.len());
            assert_eq!(waits(), !done, "{arrived} bytes");
        }
    });
}

#[test]
fn frames_never_wait_for_what_is_charged_for_bytes_read_ahead() {
    Simulation::new(1).run(async move {
        // The largest frame takes all that large ones have, and lies behind small ones in what is
        // read at once; two connections have the same.
        let large = crate::request_memory::large_frames_bytes(1 << 20) as usize;
        let stream = [framed(&body(100)), framed(&body(large))].concat();
        let memory = RequestMemory::new(1 << 20);
        let connection = |memory: RequestMemory| {
            let chunks = RefCell::new([stream.clone()].into());
            let source = Chunks {
                chunks,
                ends: true,
                offered_max: Rc::default(),
            };
            let control = Rc::new(Control::new());
            let mut frames = FrameReader::new(source, memory, scratch(), large, control);
            async move {
                let mut bytes = 0;
                while let Some(frame) = frames.next().await.unwrap() {
                    bytes += frame.bytes.len();
                }
                bytes
            }
        };
        let both = futures_util::future::join(connection(memory.clone()), connection(memory));
        let both = timeout(Duration::from_secs(60), both).await.unwrap();
        assert_eq!(both, (large + 100, large + 100));
    });
}

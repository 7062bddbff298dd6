//! Frames out of streams that are cut anywhere, and what hostile ones may cost.

use std::cell::Cell;
use std::collections::VecDeque;

use tailwater_shards::sim::Simulation;

use super::*;

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
    memory: Semaphore,
    offered_max: Rc<Cell<usize>>,
}

fn fixture(chunks: Vec<Vec<u8>>, ends: bool) -> Fixture {
    let offered_max = Rc::<Cell<usize>>::default();
    let source = Chunks {
        chunks: RefCell::new(chunks.into()),
        ends,
        offered_max: Rc::clone(&offered_max),
    };
    let memory = Semaphore::new(MEMORY);
    let frames = FrameReader::new(
        source,
        memory.clone(),
        scratch(),
        FRAME_MAX,
        Box::new(|| {}),
    );
    Fixture {
        frames,
        memory,
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
        let many = small.repeat(4 * READ_STEP_BYTES / small.len());
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
        let others = fixture.memory.acquire(MEMORY / 2 + 1).await;
        let ahead = |fixture: &Fixture| fixture.frames.ahead.capacity();
        while ahead(&fixture) > READ_STEP_UNCHARGED_BYTES {
            frames.push(fixture.frames.next().await.unwrap().unwrap());
        }
        for _ in 0..500 {
            frames.push(fixture.frames.next().await.unwrap().unwrap());
            assert!(ahead(&fixture) <= READ_STEP_UNCHARGED_BYTES + LENGTH_BYTES);
        }
        let held = MEMORY - fixture.memory.available() - others.count();
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
                let ahead = frames.ahead_charge.as_ref().map_or(0, Permit::count);
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
fn what_a_slow_frame_holds_is_charged_and_bounded_by_what_has_come() {
    Simulation::new(1).run(async move {
        for arrived in [0, 10, 5_000, 100_000] {
            let length = i32::try_from(FRAME_MAX).unwrap();
            let stream = [&length.to_be_bytes()[..], &body(arrived)].concat();
            let Fixture {
                mut frames, memory, ..
            } = fixture(vec![stream], false);
            let mut next = Box::pin(frames.next());
            assert!(futures_util::poll!(next.as_mut()).is_pending());
            let held = MEMORY - memory.available();
            let bound = FRAME_FIRST_STEP_BYTES.max(FRAME_GROWTH_FACTOR * arrived) as u64;
            assert!(
                (arrived as u64..=bound).contains(&held),
                "{held} for {arrived}"
            );
        }
    });
}

#[test]
fn frames_that_wait_for_each_others_memory_do_not_wait_for_ever() {
    Simulation::new(1).run(async move {
        let length = 1_000_000;
        let stream = [&i32::to_be_bytes(length)[..], &body(500_000)].concat();
        let Fixture {
            mut frames, memory, ..
        } = fixture(vec![stream], false);
        // Somebody else holds nearly everything and does not let go.
        let _held = memory.acquire(MEMORY - 300_000).await;
        let refused = frames.next().await.unwrap_err();
        assert!(
            matches!(refused, FrameError::OutOfMemory { .. }),
            "{refused}"
        );
        assert_eq!(memory.available(), 300_000);
    });
}

//! One connection: frames in, replies out, in order.
//!
//! Owns the socket and the order of its requests. It must not know what an API does: a
//! [`Service`] decodes a frame, begins a request and says what becomes of it.
//!
//! One task drives three parts over one shared [`Link`]: *reading* takes one frame ahead,
//! *beginning* is the ordered stage, *writing* sends replies. The parts wait for each other with
//! [`Link::until`], which needs no wakers: whenever one of them moves something, the task polls
//! all of them again before it sleeps.
//!
//! Invariants: request n has finished its ordered stage before n+1 begins its own; a request
//! that does not overlap begins only when everything before it is answered; replies leave in the
//! order of requests.

mod control;
mod frame_reader;
mod holding;
mod in_flight;
mod send;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tailwater_shards::{Counter, Stream, now};
use tailwater_wire::WireError;

pub(crate) use control::{Control, Order};
#[cfg(feature = "fuzzing")]
pub(crate) use frame_reader::ByteSource;
pub(crate) use frame_reader::{Frame, FrameError, FrameReader, Scratch, scratch};
pub(crate) use holding::Holding;
pub(crate) use in_flight::{Begun, InFlight, Reply};
use send::Outlet;
pub(crate) use send::SendError;

use crate::limits::ROUNDS_PER_POLL_MAX;
use crate::request_memory::RequestMemory;
use crate::slow_readers::SlowReaders;
use crate::stages::Stages;
use crate::turns::{Left, Turns};

/// A request that a [`Service`] has decoded.
pub(crate) struct Decoded<R> {
    /// The request.
    pub(crate) request: R,
    /// Whether it may begin while earlier ones of its kind are in flight: Produce.
    pub(crate) overlaps: bool,
    /// Whether it waits for something to happen and is forgotten when its client goes: Fetch.
    pub(crate) parks: bool,
}

/// What a connection does with its requests.
pub(crate) trait Service {
    /// A decoded request.
    type Request;

    /// Decodes a frame.
    ///
    /// # Errors
    /// The connection is closed and says why.
    fn decode(&self, frame: &Frame) -> Result<Decoded<Self::Request>, WireError>;

    /// Carries a request through its ordered stage; for all but overlapping ones that is to its
    /// answer. `stages` is stamped up to here.
    fn begin(&self, request: Self::Request, stages: Stages) -> impl Future<Output = Begun>;
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ending {
    #[error("the peer closed it")]
    ByPeer,
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Malformed(#[from] WireError),
    #[error("{0}")]
    Send(#[from] SendError),
    #[error("a request without an answer failed")]
    FailedUnanswered,
    #[error("the server stops")]
    Drained,
    #[error("it was idle for too long, or the server stops")]
    Closed,
}

/// What a connection needs of its shard.
pub(crate) struct Resources {
    /// The shard's request memory.
    pub(crate) request_memory: RequestMemory,
    /// The shard's read buffer.
    pub(crate) scratch: Scratch,
    /// `socket.request.max.bytes`.
    pub(crate) request_bytes_max: usize,
    /// The shard's connections that do not take their replies.
    pub(crate) slow: Rc<SlowReaders>,
    /// The shard's turns.
    pub(crate) turns: Rc<Turns>,
}

/// Serves a connection from `peer` to its end. It works in its turns: without one nothing is read
/// or begun, and what has begun is carried on in turns of its own.
pub(crate) async fn serve<S: Service>(
    stream: Rc<Stream>,
    peer: IpAddr,
    control: Rc<Control>,
    resources: Resources,
    service: &S,
) -> Ending {
    let link = Rc::new(Link::new(stream, control));
    let slow = Rc::clone(&resources.slow);
    let seat = resources.turns.join(peer, Rc::clone(&link.control));
    let mut reading = pin!(read(&link, resources));
    let mut beginning = pin!(begin(&link, service));
    let mut writing = pin!(write(&link, slow));
    let mut reads = true;
    let mut begins = true;
    poll_fn(|cx| {
        link.control.register(cx);
        if link.control.order() == Order::Close {
            return Poll::Ready(Ending::Closed);
        }
        let turn = seat.ask(link.control.is_busy());
        link.control.stands_in_line(turn.as_ref());
        let Some(mut turn) = turn else {
            return Poll::Pending;
        };
        link.may_begin.set(turn.begins);
        let mut rounds = 0;
        loop {
            rounds += 1;
            link.moved.set(false);
            link.held_back.set(false);
            if link.is_draining() {
                link.end_input(Ending::Drained);
            }
            if turn.begins && reads && !link.input_ended.get() {
                reads = reading.as_mut().poll(cx).is_pending();
            }
            if begins {
                begins = beginning.as_mut().poll(cx).is_pending();
            }
            let ended = writing.as_mut().poll(cx);
            let (mut left, mut over) = (Left::default(), (false, false));
            if ended.is_pending() && link.moved.get() {
                over = seat.is_over(&mut turn);
                link.may_begin.set(turn.begins && !over.0);
                left.to_carry_on = link.moved.get();
            }
            if !left.to_carry_on || over.1 || rounds == ROUNDS_PER_POLL_MAX {
                let unread = turn.begins && left.to_carry_on;
                left.to_begin = unread || link.held_back.get();
                // The seat has it woken, after the shard has looked at its sockets and files.
                seat.end(turn, rounds, left);
                return ended;
            }
        }
    })
    .await
}

/// What the three parts share. No borrow of it lasts over an await.
struct Link {
    stream: Rc<Stream>,
    control: Rc<Control>,
    /// The frame read ahead.
    next: RefCell<Option<Frame>>,
    /// Whether the turn that is being had may begin requests.
    may_begin: Cell<bool>,
    /// A request would begin if the turn let it.
    held_back: Cell<bool>,
    /// No further frame will come.
    input_ended: Cell<bool>,
    /// No further request will begin.
    begin_ended: Cell<bool>,
    /// The first reason to end.
    ending: RefCell<Option<Ending>>,
    in_flight: RefCell<InFlight>,
    /// Some part has changed what another may wait for.
    moved: Cell<bool>,
}

impl Link {
    fn new(stream: Rc<Stream>, control: Rc<Control>) -> Self {
        Self {
            stream,
            control,
            next: RefCell::new(None),
            may_begin: Cell::new(false),
            held_back: Cell::new(false),
            input_ended: Cell::new(false),
            begin_ended: Cell::new(false),
            ending: RefCell::new(None),
            in_flight: RefCell::new(InFlight::default()),
            moved: Cell::new(false),
        }
    }

    /// Waits for something that only this connection's own parts change.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        poll_fn(|_| {
            if holds(self) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn end_input(&self, why: Ending) {
        if !self.input_ended.replace(true) {
            self.ending.borrow_mut().get_or_insert(why);
            self.moved.set(true);
        }
    }

    fn take_next(&self) -> Option<Frame> {
        let frame = self.next.borrow_mut().take();
        self.moved.set(true);
        frame
    }

    fn is_draining(&self) -> bool {
        self.control.order() != Order::Serve
    }
}

/// Reads frames, one ahead of the one that is being begun.
async fn read(link: &Rc<Link>, resources: Resources) {
    let mut frames = FrameReader::new(
        Rc::clone(&link.stream),
        resources.request_memory,
        resources.scratch,
        resources.request_bytes_max,
        Rc::clone(&link.control),
    );
    loop {
        link.until(|link| link.next.borrow().is_none()).await;
        match frames.next().await {
            Ok(Some(frame)) => {
                *link.next.borrow_mut() = Some(frame);
                link.moved.set(true);
            }
            Ok(None) => return link.end_input(Ending::ByPeer),
            Err(error) => return link.end_input(error.into()),
        }
    }
}

/// The ordered stage.
async fn begin<S: Service>(link: &Rc<Link>, service: &S) {
    loop {
        link.until(|link| match link.next.borrow().as_ref() {
            Some(_) => {
                link.held_back.set(!link.may_begin.get());
                link.may_begin.get()
            }
            None => link.input_ended.get(),
        })
        .await;
        let Some(mut frame) = link.take_next().filter(|_| !link.is_draining()) else {
            break;
        };
        let decoded = match service.decode(&frame) {
            Ok(decoded) => decoded,
            Err(error) => {
                // What came before is still answered; nothing behind this can be understood.
                link.end_input_malformed(error);
                break;
            }
        };
        frame.stages.stamp_decoded();
        let Frame {
            bytes,
            charge,
            mut stages,
        } = frame;
        let frame_bytes = bytes.len();
        // The request holds slices of the frame as long as it needs them.
        drop(bytes);
        if decoded.overlaps && link.in_flight.borrow().is_full_for(frame_bytes) {
            tailwater_shards::count(Counter::WaitsForInFlight);
        }
        let admits = |link: &Link| {
            let in_flight = link.in_flight.borrow();
            in_flight.admits(decoded.overlaps, frame_bytes)
        };
        let at_once = admits(link);
        link.until(admits).await;
        stages.stamp_begun(at_once);
        link.control.set_busy(true);
        let begun = service.begin(decoded.request, stages);
        let begun = if decoded.parks {
            link.control.set_parked(true);
            let begun = link.unless_left(begun).await;
            link.control.set_parked(false);
            begun
        } else {
            Some(begun.await)
        };
        let Some(begun) = begun else { break };
        link.in_flight.borrow_mut().push(begun, frame_bytes, charge);
        link.moved.set(true);
    }
    link.begin_ended.set(true);
    link.moved.set(true);
}

impl Link {
    fn end_input_malformed(&self, error: WireError) {
        tailwater_shards::count(Counter::ClosedBadRequest);
        self.input_ended.set(true);
        *self.ending.borrow_mut() = Some(error.into());
        self.moved.set(true);
    }

    /// Runs `parked` to its end, unless it has to wait while nobody waits for it any more.
    async fn unless_left<F: Future>(&self, parked: F) -> Option<F::Output> {
        let mut parked = pin!(parked);
        poll_fn(|cx| match parked.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.input_ended.get() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    fn poll_replies(&self, cx: &mut Context<'_>, replies: &mut Vec<Reply>) -> Poll<bool> {
        let mut in_flight = self.in_flight.borrow_mut();
        if in_flight.poll_ready(cx, replies).is_ready() {
            return Poll::Ready(true);
        }
        if self.begin_ended.get() && in_flight.is_empty() {
            return Poll::Ready(false);
        }
        Poll::Pending
    }
}

/// Sends replies in order, all that are ready in one go.
async fn write(link: &Rc<Link>, slow: Rc<SlowReaders>) -> Ending {
    let mut replies = Vec::new();
    loop {
        let some = poll_fn(|cx| link.poll_replies(cx, &mut replies)).await;
        if !some {
            return link.ending.borrow_mut().take().unwrap_or(Ending::ByPeer);
        }
        let outlet = Outlet {
            stream: &link.stream,
            control: &link.control,
            slow: &slow,
        };
        if let Err(error) = send::send(outlet, &mut replies).await {
            return error.into();
        }
        let at = now();
        link.control.touch_at(at);
        let mut closes = false;
        for mut reply in replies.drain(..) {
            reply.stages.replied(at);
            closes |= reply.then_close;
            tracing::trace!(stages = ?reply.stages, "answered");
        }
        if closes {
            return Ending::FailedUnanswered;
        }
        let mut in_flight = link.in_flight.borrow_mut();
        in_flight.answered();
        link.control.set_busy(!in_flight.is_empty());
        link.moved.set(true);
    }
}

#[cfg(test)]
mod tests;

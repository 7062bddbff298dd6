//! Every bound of this crate that nobody configures, with its unit, and what happens at it.

use std::time::Duration;

/// Bytes one read from a socket takes at most while it looks for frames. One buffer of this
/// size serves a whole shard; what a read brings beyond the current frame is charged to the shard's
/// request memory. While less than half of what large frames have of that is free, a read takes
/// [`READ_STEP_UNCHARGED_BYTES`] and the rest stays in the socket. A connection that waits for memory
/// gives the charge back, and keeps the bytes.
pub(crate) const READ_STEP_BYTES: usize = 16 * 1024;

/// Bytes that a connection may read ahead without a charge: with what replies may have
/// ([`REPLY_UNCHARGED_BYTES`]) and a frame that is not all there ([`SMALL_FRAME_BYTES_MAX`]) all that a
/// connection holds which no budget counts.
pub(crate) const READ_STEP_UNCHARGED_BYTES: usize = 4 * 1024;

/// The first step of a frame's buffer. A frame that announces more gets the rest in steps of
/// [`FRAME_GROWTH_FACTOR`], each only when the step before has been filled by the client.
pub(crate) const FRAME_FIRST_STEP_BYTES: usize = 4 * 1024;

/// How much larger each step of a frame's buffer makes it: a frame never holds more than this
/// many times what its client has sent (and the first step).
pub(crate) const FRAME_GROWTH_FACTOR: usize = 4;

/// The largest frame that is charged to the request memory only once it is there. Half of such a
/// frame is memory of a connection that no budget counts; a larger frame is charged whole before
/// it grows beyond this. Without room it waits, unread, for as long as it takes.
pub(crate) const SMALL_FRAME_BYTES_MAX: usize = 16 * 1024;

/// The share of the request memory, as a divisor, that is kept for small frames.
pub(crate) const SMALL_FRAMES_DIVISOR: u64 = 8;

/// How long a frame that has begun may stand still, which is to bring less than
/// [`SLOW_PROGRESS_BYTES`] and not its end. Then its connection is closed.
pub(crate) const FRAME_STILL_MAX: Duration = Duration::from_secs(30);

/// How often frames that stand still are looked for.
pub(crate) const FRAME_LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Requests of one connection that may be in flight. At the bound the next frame stays unread
/// in the socket.
pub(crate) const IN_FLIGHT_COUNT_MAX: usize = 64;

/// Bytes of one connection's requests that may be in flight. A single larger request is let in
/// when nothing else is in flight.
pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Replies that one write takes together.
pub(crate) const REPLIES_PER_WRITE_MAX: usize = 64;

/// Rounds through a connection's parts before the shard's other tasks get their turn, however much
/// more its client has sent: about as many requests.
pub(crate) const ROUNDS_PER_POLL_MAX: u32 = 16;

/// How long a connection goes through its parts before the shard's other tasks get their turn, when
/// no other connection waits for one. What a request costs is not ours alone to say: sending to a
/// peer that reads nothing can take the kernel a quarter of a millisecond each time.
pub(crate) const TURN_MAX: Duration = Duration::from_micros(200);

/// How long a connection that has sent more than a turn's worth begins requests when others wait.
/// One request that takes longer is not interrupted; its address owes the difference.
pub(crate) const TURN_QUANTUM: Duration = Duration::from_micros(50);

/// As [`TURN_QUANTUM`] for one that had nothing left to do when its last turn ended: one request,
/// or some small ones.
pub(crate) const FRESH_TURN_MAX: Duration = Duration::from_micros(25);

/// What all connections of a shard may work between two looks at its sockets and files. Past it
/// those wait that have sent more than a turn's worth.
pub(crate) const WINDOW_MAX: Duration = Duration::from_micros(250);

/// As [`WINDOW_MAX`] for the others, and for carrying on what has begun. Past it these wait too.
pub(crate) const WINDOW_FRESH_MAX: Duration = Duration::from_micros(500);

/// A window this old that is not full is over when nobody waits: the shard has had nothing to do in
/// between, and has looked at its I/O.
pub(crate) const WINDOW_STALE: Duration = Duration::from_millis(1);

/// How much those who are served first may use before one of the others has a turn.
pub(crate) const FRESH_RUN_MAX: Duration = Duration::from_millis(1);

/// What an address used this long ago counts half. One that uses all of a shard's time comes to
/// 1.44 times this.
pub(crate) const USAGE_HALF_LIFE: Duration = Duration::from_millis(70);

/// A connection that has used more than this of late, a fifth of the time, is not served first.
pub(crate) const FRESH_USAGE_MAX: Duration = Duration::from_millis(20);

/// How many times what its address has used of late a connection lets others go before it that came
/// later and whose addresses have used nothing.
pub(crate) const USAGE_WAIT_FACTOR: u64 = 30;

/// A turn that seems to have lasted longer than this asks the kernel for how long the shard's thread
/// has had a processor, which takes half a microsecond: it may have been preempted.
pub(crate) const TURN_METERED_MIN: Duration = Duration::from_micros(100);

/// What a round through a connection's parts is taken to cost at least.
pub(crate) const ROUND_COST_MIN: Duration = Duration::from_micros(1);

/// Bytes a write hands over before its progress is looked at again.
pub(crate) const SEND_STEP_BYTES: usize = 1024 * 1024;

/// How long one step of [`SEND_STEP_BYTES`] may take. A slower reader's connection is closed:
/// what waits to be sent to it holds the memory of others.
pub(crate) const SEND_STEP_MAX: Duration = Duration::from_secs(30);

/// The share of a shard's memory, as a divisor, that request frames may take.
pub(crate) const REQUEST_MEMORY_DIVISOR: u64 = 4;

/// Request memory of a shard at least, so that one ordinary request always fits.
pub(crate) const REQUEST_MEMORY_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// The share of a shard's memory, as a divisor, that fetched records and other large replies may
/// hold until they have left, half of it for readers that lag. At the bound a fetch waits before it reads.
pub(crate) const REPLY_MEMORY_DIVISOR: u64 = 4;

/// The share of a shard's memory, as a divisor, that groups and their offsets may hold, lent by the
/// tail cache as they grow. At the bound new groups, members and offsets are refused.
pub(crate) const GROUP_MEMORY_DIVISOR: u64 = 8;

/// Memory for a shard's groups at least.
pub(crate) const GROUP_MEMORY_BYTES_MIN: u64 = 1024 * 1024;

/// Bytes that a reply which is no fetch may have without a charge. A larger one is charged to the
/// shard's reply memory until it has left; until then it waits in a line in which one reply is made
/// at a time.
pub(crate) const REPLY_UNCHARGED_BYTES: usize = 4 * 1024;

/// A request of this size may have a large reply, whatever it asks.
pub(crate) const LARGE_REQUEST_BYTES: usize = 4 * 1024;

/// A reader lags when its peer has not taken this much of what was sent to it.
pub(crate) const LAG_BYTES: usize = 64 * 1024;

/// While others wait for reply or request memory, a connection that holds some, and whose peer
/// takes, or sends of a frame, less than [`SLOW_PROGRESS_BYTES`] for this long, is closed. Shorter when more than
/// [`SLOW_WAITERS_PATIENTLY`] wait, but never below [`SLOW_PATIENCE_MIN`].
pub(crate) const SLOW_PATIENCE_MAX: Duration = Duration::from_secs(1);

/// See [`SLOW_PATIENCE_MAX`].
pub(crate) const SLOW_PATIENCE_MIN: Duration = Duration::from_millis(100);

/// See [`SLOW_PATIENCE_MAX`].
pub(crate) const SLOW_WAITERS_PATIENTLY: u32 = 8;

/// See [`SLOW_PATIENCE_MAX`].
pub(crate) const SLOW_PROGRESS_BYTES: usize = 64 * 1024;

/// What has to pass in a turn that was waited for, so that the wait for it does not count as the
/// peer's. Less than what a peer that is not slow has sent, or taken, while its connection stood in line.
pub(crate) const LINE_PROGRESS_BYTES: usize = 4 * 1024;

/// How often slow readers are looked at while others wait.
pub(crate) const SLOW_LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How often a shard looks for idle connections at most.
pub(crate) const IDLE_SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// How often a shard looks for idle connections at least apart.
pub(crate) const IDLE_SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The first pause after an accept that failed (no descriptors left, say); it doubles up to
/// [`ACCEPT_BACKOFF_MAX`].
pub(crate) const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(5);

/// The longest pause after an accept that failed.
pub(crate) const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long connections may take to answer what is in flight once the server stops.
pub(crate) const DRAIN_MAX: Duration = Duration::from_millis(300);

/// How long a shard that has drained waits for the others, which drain at the same time.
pub(crate) const DRAIN_GATE_MAX: Duration = Duration::from_millis(100);

/// How long the storage may take to write its tails and checkpoint once the connections are
/// gone. Past it the shard ends as it is: the next start recovers from the log.
pub(crate) const STORAGE_SHUTDOWN_MAX: Duration = Duration::from_millis(450);

/// Messages between two shards of this crate's own mesh that may wait.
pub(crate) const MESH_CAPACITY: usize = 64;

/// How long a start waits for its address to be free, looking every [`LISTEN_RETRY_INTERVAL`].
pub(crate) const LISTEN_RETRY_MAX: Duration = Duration::from_secs(2);

/// See [`LISTEN_RETRY_MAX`].
pub(crate) const LISTEN_RETRY_INTERVAL: Duration = Duration::from_millis(10);

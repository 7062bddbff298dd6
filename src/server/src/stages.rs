//! When a request passed each stage of its way, and for how long it was in each.
//!
//! Every request carries these from its first byte on. Nanoseconds of the monotonic clock; zero
//! means that the stage was not passed. When its answer has left they are added to the shard's
//! histograms, which cost the shard some plain adds a request: see `tailwater_shards::Latencies`.

use tailwater_broker::produce::ProduceTimes;
use tailwater_shards::{Instant, Stage, StageTimes, now, record_acknowledgement, record_latency};
use tailwater_wire::ApiKey;

/// The stamps of one request. They never decrease in the order of the fields, those of a produce
/// standing between `begun_ns` and `done_ns`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// Which API; `None` until the request is decoded.
    pub api: Option<ApiKey>,
    /// The frame's length had arrived.
    pub began_ns: u64,
    /// The whole frame had arrived.
    pub read_ns: u64,
    /// Header and body were decoded.
    pub decoded_ns: u64,
    /// The request's turn on its connection had come.
    pub begun_ns: u64,
    /// Of a produce: checks, mesh, append and commit.
    pub produce: ProduceTimes,
    /// Its condition was met: appended, durable, or enough bytes found.
    pub done_ns: u64,
    /// The answer was given to the socket.
    pub replied_ns: u64,
}

impl Stages {
    /// For a frame that has just arrived, and that began to at `began`, if that was before.
    pub(crate) fn read_now(began: Option<Instant>) -> Self {
        let read_ns = now().as_nanos();
        Self {
            began_ns: began.map_or(read_ns, Instant::as_nanos),
            read_ns,
            ..Self::default()
        }
    }

    pub(crate) fn stamp_decoded(&mut self) {
        self.decoded_ns = now().as_nanos();
    }

    /// With `at_once` the turn had come when the request was decoded.
    pub(crate) fn stamp_begun(&mut self, at_once: bool) {
        self.begun_ns = match at_once {
            true => self.decoded_ns,
            false => now().as_nanos(),
        };
    }

    pub(crate) fn stamp_done(&mut self) {
        self.done_ns = now().as_nanos();
    }

    /// A produce is done: if it was on this shard, just now.
    pub(crate) fn stamp_produced(&mut self, times: ProduceTimes) {
        self.produce = times;
        match times.sent_ns == 0 && times.done_ns > 0 {
            true => self.done_ns = times.done_ns,
            false => self.stamp_done(),
        }
    }

    /// The answer was given to the socket: the request is over, and is recorded.
    pub(crate) fn replied(&mut self, at: Instant) {
        self.replied_ns = at.as_nanos();
        let Some(api) = self.api else { return };
        // A key that no number stands for is none of the table's.
        if let Ok(kind) = usize::try_from(api as i16) {
            let times = self.times();
            record_latency(kind, &times);
            // One that waited for a sync: it survives a power cut.
            if times.of(Stage::Sync).is_some() {
                record_acknowledgement(times.total());
            }
        }
    }

    /// How long the request was in each stage.
    pub fn times(&self) -> StageTimes {
        let mut way = Way {
            at: self.began_ns,
            times: StageTimes::default(),
        };
        way.until(Stage::Read, self.read_ns);
        way.until(Stage::Check, self.decoded_ns);
        way.until(Stage::Order, self.begun_ns);
        if self.produce.taken_ns > 0 {
            way.produce(&self.produce);
            if self.produce.sent_ns > 0 {
                way.until(Stage::Mesh, self.done_ns);
            }
        } else {
            way.until(Stage::Handle, self.done_ns);
        }
        way.until(Stage::Reply, self.replied_ns);
        way.times
    }
}

/// Walks from stamp to stamp.
struct Way {
    at: u64,
    times: StageTimes,
}

impl Way {
    /// In that stage until then, if it was passed at all.
    fn until(&mut self, stage: Stage, stamp: u64) {
        if stamp > 0 {
            self.times.add(stage, stamp.saturating_sub(self.at));
            self.at = self.at.max(stamp);
        }
    }

    fn produce(&mut self, produce: &ProduceTimes) {
        self.until(Stage::Check, produce.sent_ns);
        let taken = match produce.sent_ns > 0 {
            true => Stage::Mesh,
            false => Stage::Check,
        };
        self.until(taken, produce.taken_ns);
        self.until(Stage::Append, produce.appended_ns);
        self.until(Stage::Queue, produce.commit.built_ns);
        self.until(Stage::Write, produce.commit.written_ns);
        self.until(Stage::Sync, produce.commit.durable_ns);
        self.until(Stage::Wake, produce.done_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn produce(sent_ns: u64) -> ProduceTimes {
        let mut times = ProduceTimes {
            sent_ns,
            taken_ns: 150,
            appended_ns: 160,
            done_ns: 1_000,
            ..ProduceTimes::default()
        };
        times.commit.built_ns = 200;
        times.commit.written_ns = 500;
        times.commit.durable_ns = 900;
        times
    }

    fn stages(produce: ProduceTimes) -> Stages {
        Stages {
            api: Some(ApiKey::Produce),
            began_ns: 100,
            read_ns: 105,
            decoded_ns: 110,
            begun_ns: 130,
            produce,
            done_ns: 1_000,
            replied_ns: 1_010,
        }
    }

    fn nonzero(times: &StageTimes) -> Vec<(&'static str, u64)> {
        let all = Stage::ALL.iter();
        all.filter_map(|stage| Some((stage.name(), times.of(*stage)?)))
            .collect()
    }

    #[test]
    fn the_stages_of_a_produce_follow_its_stamps_and_sum_up_to_all_of_it() {
        let times = stages(produce(0)).times();
        let expected = [
            ("read", 5),
            ("order", 20),
            ("check", 5 + 20),
            ("append", 10),
            ("queue", 40),
            ("write", 300),
            ("sync", 400),
            ("wake", 100),
            ("reply", 10),
        ];
        assert_eq!(nonzero(&times), expected);
        assert_eq!(times.total(), 910);
    }

    #[test]
    fn a_produce_for_another_shard_is_in_the_mesh_twice() {
        let mut crossing = stages(produce(140));
        crossing.done_ns = 1_200;
        crossing.replied_ns = 1_300;
        let times = crossing.times();
        assert_eq!(times.of(Stage::Check), Some(5 + 10));
        assert_eq!(times.of(Stage::Mesh), Some(10 + 200));
        assert_eq!(times.of(Stage::Wake), Some(100));
        assert_eq!(times.total(), 1_200);
    }

    #[test]
    fn what_waits_for_no_commit_has_no_stages_of_one() {
        let mut unsynced = produce(0);
        unsynced.commit.durable_ns = 0;
        let times = stages(unsynced).times();
        assert_eq!(times.of(Stage::Sync), None);
        assert_eq!(times.of(Stage::Wake), Some(500));
        let times = stages(ProduceTimes::default()).times();
        assert_eq!(times.of(Stage::Write), None);
        assert_eq!(times.of(Stage::Handle), Some(870));
        assert_eq!(times.total(), 910);
    }

    #[test]
    fn a_stamp_that_is_out_of_order_takes_no_time_and_nothing_from_others() {
        let mut early = produce(0);
        early.commit.built_ns = 120;
        let times = stages(early).times();
        assert_eq!(times.of(Stage::Queue), Some(0));
        assert_eq!(times.of(Stage::Write), Some(340));
        assert_eq!(times.total(), 910);
    }
}

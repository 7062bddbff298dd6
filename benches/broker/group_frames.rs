//! What members of groups say and are told: JoinGroup 5, SyncGroup 3, Heartbeat 3, LeaveGroup 3,
//! ConsumerGroupHeartbeat 1, FindCoordinator 1, OffsetCommit 5, OffsetFetch 5.

use crate::answers::Answer;
use crate::frames::Frame;

const PROTOCOL: &str = "range";

pub fn find_coordinator(group: &str) -> Vec<u8> {
    Frame::new(10, 1).text(group).i8(0).end()
}

/// The error of a FindCoordinator answer.
pub fn found(frame: &[u8]) -> i16 {
    Answer::new(frame).skip(4).i16()
}

/// A consumer that wants one topic.
pub fn join(group: &str, member: &str, topic: &str) -> Vec<u8> {
    let wants = Frame::bare().i16(0).count(1).text(topic).i32(-1).body();
    Frame::new(11, 5)
        .text(group)
        .i32(45_000)
        .i32(60_000)
        .text(member)
        .no_text()
        .text("consumer")
        .count(1)
        .text(PROTOCOL)
        .bytes(&wants)
        .end()
}

/// What a JoinGroup answer says.
pub struct Joined {
    pub error: i16,
    pub generation: i32,
    pub member: String,
    /// Everybody, for the leader alone.
    pub members: Vec<String>,
}

pub fn joined(frame: &[u8]) -> Joined {
    let mut answer = Answer::new(frame).skip(4);
    let (error, generation) = (answer.i16(), answer.i32());
    let (_protocol, _leader, member) = (answer.text(), answer.text(), answer.text());
    let members = (0..answer.count())
        .map(|_| {
            let id = answer.text();
            answer.text();
            answer.bytes();
            id
        })
        .collect();
    Joined {
        error,
        generation,
        member,
        members,
    }
}

/// Partition `n` of the topic to member `n`, and on from the first again; from the leader alone.
pub fn sync(
    group: &str,
    joined: &Joined,
    member: &str,
    (topic, partitions): (&str, usize),
) -> Vec<u8> {
    let frame = Frame::new(14, 3)
        .text(group)
        .i32(joined.generation)
        .text(member)
        .no_text()
        .count(joined.members.len());
    let one = |frame: Frame, (index, id): (usize, &String)| {
        let mine: Vec<usize> = (index..partitions).step_by(joined.members.len()).collect();
        let given = Frame::bare().i16(0).count(1).text(topic).count(mine.len());
        let given = mine.iter().fold(given, |given, each| given.count(*each));
        frame.text(id).bytes(&given.i32(-1).body())
    };
    joined.members.iter().enumerate().fold(frame, one).end()
}

/// The error of a SyncGroup answer, and how many partitions it gives.
pub fn synced(frame: &[u8]) -> (i16, usize) {
    let mut answer = Answer::new(frame).skip(4);
    let error = answer.i16();
    let assignment = answer.bytes();
    if error != 0 || assignment.is_empty() {
        return (error, 0);
    }
    let mut given = Answer::bare(assignment).skip(2);
    let partitions = (0..given.count())
        .map(|_| {
            given.text();
            let count = given.count();
            given.take(4 * count);
            count
        })
        .sum();
    (error, partitions)
}

pub fn heartbeat(group: &str, generation: i32, member: &str) -> Vec<u8> {
    Frame::new(12, 3)
        .text(group)
        .i32(generation)
        .text(member)
        .no_text()
        .end()
}

/// The error of an answer to Heartbeat or LeaveGroup.
pub fn beaten(frame: &[u8]) -> i16 {
    Answer::new(frame).skip(4).i16()
}

pub fn leave(group: &str, member: &str) -> Vec<u8> {
    Frame::new(13, 3)
        .text(group)
        .count(1)
        .text(member)
        .no_text()
        .end()
}

/// What a member of the new protocol owns: partitions of the one topic.
pub type Owned = Vec<i32>;

/// One heartbeat of the new protocol. At epoch 0 and after a change it says everything.
pub fn consumer_heartbeat(
    group: &str,
    member: &str,
    epoch: i32,
    full: Option<(&str, [u8; 16], &Owned)>,
) -> Vec<u8> {
    let frame = Frame::flexible(68, 1)
        .compact(group)
        .compact(member)
        .i32(epoch)
        .varint(0)
        .varint(0);
    let Some((topic, id, owned)) = full else {
        return frame
            .i32(-1)
            .varint(0)
            .varint(0)
            .varint(0)
            .varint(0)
            .varint(0)
            .end();
    };
    let frame = frame.i32(60_000).varint(2).compact(topic).varint(0);
    let frame = frame.compact("uniform");
    if owned.is_empty() {
        return frame.varint(1).varint(0).end();
    }
    let frame = frame.varint(2).raw(&id).varint(owned.len() + 1);
    owned
        .iter()
        .fold(frame, |frame, each| frame.i32(*each))
        .varint(0)
        .varint(0)
        .end()
}

/// What is answered to it.
pub struct Beaten {
    pub error: i16,
    pub epoch: i32,
    /// None: as before.
    pub assigned: Option<(Owned, Option<[u8; 16]>)>,
}

pub fn consumer_beaten(frame: &[u8]) -> Beaten {
    let mut answer = Answer::new(frame).skip(1 + 4);
    let error = answer.i16();
    let (_said, _member) = (answer.compact(), answer.compact());
    let epoch = answer.i32();
    let mut answer = answer.skip(4);
    let mut assigned = None;
    if error == 0 && answer.take(1)[0] == 1 {
        let (mut owned, mut topic) = (Vec::new(), None);
        for _ in 1..answer.varint() {
            topic = answer.take(16).try_into().ok();
            for _ in 1..answer.varint() {
                owned.push(answer.i32());
            }
            answer.varint();
        }
        owned.sort_unstable();
        assigned = Some((owned, topic));
    }
    Beaten {
        error,
        epoch,
        assigned,
    }
}

/// OffsetCommit 5 of who is in no group: one offset for each partition of a topic.
pub fn commit(group: &str, topic: &str, partitions: usize, offset: i64) -> Vec<u8> {
    let frame = Frame::new(8, 5)
        .text(group)
        .i32(-1)
        .text("")
        .count(1)
        .text(topic)
        .count(partitions);
    let one = |frame: Frame, partition| frame.count(partition).i64(offset).text("");
    (0..partitions).fold(frame, one).end()
}

/// The worst error of an OffsetCommit answer.
pub fn committed(frame: &[u8]) -> i16 {
    let mut answer = Answer::new(frame).skip(4);
    let mut worst = 0;
    for _ in 0..answer.count() {
        answer.text();
        for _ in 0..answer.count() {
            let (_partition, error) = (answer.i32(), answer.i16());
            worst = worst.max(error);
        }
    }
    worst
}

/// OffsetFetch 5 of one partition.
pub fn fetch(group: &str, topic: &str, partition: usize) -> Vec<u8> {
    let frame = Frame::new(9, 5).text(group).count(1).text(topic);
    frame.count(1).count(partition).end()
}

/// The error of an OffsetFetch answer, and the one offset in it.
pub fn fetched(frame: &[u8]) -> (i16, i64) {
    let mut answer = Answer::new(frame).skip(4);
    let mut found = (0, -1);
    for _ in 0..answer.count() {
        answer.text();
        for _ in 0..answer.count() {
            let (_partition, offset) = (answer.i32(), answer.i64());
            answer.take(4);
            answer.text();
            found = (answer.i16(), offset);
        }
    }
    match answer.i16() {
        0 => found,
        error => (error, -1),
    }
}

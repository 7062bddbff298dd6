//! What this shard's broker answers to the brokers of other shards.

use crate::broker::Inner;
use crate::fetch::{fetch, read};
use crate::group;
use crate::messages::{ShardReply, ShardRequest};
use crate::metadata::control;
use crate::offsets::{
    answer_delete_records, answer_epoch_ends, answer_list_offsets, answer_log_sizes,
};
use crate::produce::append;
use crate::reach::Reach;
use futures_util::future::FutureExt;
use std::rc::Rc;
use tailwater_shards::{Answer, ShardId};

/// Answers from now on. The handler keeps nothing alive: when the broker is gone, so are its
/// answers.
pub(crate) fn serve(broker: &Rc<Inner>) {
    let weak = Rc::downgrade(broker);
    broker
        .mesh
        .serve_answers(move |from, request| match weak.upgrade() {
            Some(broker) => answer(&broker, from, request),
            None => Answer::Now(ShardReply::Gone),
        });
}

fn answer(broker: &Rc<Inner>, from: ShardId, request: ShardRequest) -> Answer<ShardReply> {
    match request {
        // What fixes an order is done before this returns, or queues in it.
        ShardRequest::Append(request) => {
            let mut appended = append(broker, request);
            match (&mut appended).now_or_never() {
                Some(done) => Answer::Now(ShardReply::Appended(done)),
                None => Answer::Later(appended.map(ShardReply::Appended).boxed_local()),
            }
        }
        ShardRequest::Read(request) => {
            let mut outcomes = read(broker, request);
            match (&mut outcomes).now_or_never() {
                Some(outcomes) => Answer::Now(ShardReply::Read(outcomes)),
                None => Answer::Later(outcomes.map(ShardReply::Read).boxed_local()),
            }
        }
        ShardRequest::Unwatch(set, tps) => {
            broker.unwatch(set, &tps);
            Answer::Now(ShardReply::Done)
        }
        ShardRequest::EpochEnds(queries) => {
            Answer::Now(ShardReply::EpochEnds(answer_epoch_ends(broker, &queries)))
        }
        ShardRequest::LogSizes(tps) => {
            Answer::Now(ShardReply::LogSizes(answer_log_sizes(broker, &tps)))
        }
        ShardRequest::Groups(asks) => {
            let answers = group::answer_groups(broker.clone(), asks);
            Answer::Later(answers.map(ShardReply::Groups).boxed_local())
        }
        ShardRequest::ParkGroup(ask) => {
            group::answer_parked(broker, from, *ask);
            Answer::Now(ShardReply::Done)
        }
        ShardRequest::ForgetGroup(number) => {
            group::forget(broker, from, number);
            Answer::Now(ShardReply::Done)
        }
        ShardRequest::GroupReply(reply) => {
            let (number, answer) = *reply;
            group::settle(broker, number, answer);
            Answer::Now(ShardReply::Done)
        }
        ShardRequest::ListGroups(filters) => {
            let listed = group::answer_list(broker.clone(), *filters);
            Answer::Later(listed.map(ShardReply::GroupsListed).boxed_local())
        }
        later => answer_later(broker.clone(), later),
    }
}

/// What waits for a disk, or for other shards.
fn answer_later(broker: Rc<Inner>, request: ShardRequest) -> Answer<ShardReply> {
    let reply = async move {
        match request {
            ShardRequest::Fetch(request) => {
                ShardReply::Fetched(Box::new(fetch(&broker, Reach::All, *request).await))
            }
            ShardRequest::ListOffsets(isolation, queries) => {
                ShardReply::Offsets(answer_list_offsets(broker, isolation, queries).await)
            }
            ShardRequest::DeleteRecords(parts) => {
                ShardReply::LowWatermarks(answer_delete_records(broker, parts).await)
            }
            ShardRequest::Control(request) => {
                ShardReply::Controlled(Box::new(control(broker, *request).await))
            }
            ShardRequest::Publish(publication) => {
                broker.take_over(publication).await;
                ShardReply::Done
            }
            ShardRequest::Append(_)
            | ShardRequest::Read(_)
            | ShardRequest::Unwatch(..)
            | ShardRequest::EpochEnds(_)
            | ShardRequest::LogSizes(_)
            | ShardRequest::Groups(_)
            | ShardRequest::ParkGroup(_)
            | ShardRequest::ForgetGroup(_)
            | ShardRequest::GroupReply(_)
            | ShardRequest::ListGroups(_) => unreachable!("answered at once"),
        }
    };
    Answer::Later(reply.boxed_local())
}

//! A fetch from its beginning to its answer: session, look, wait, answer.
//!
//! It registers first, then looks, then parks: whatever comes after the look marks the ready set.
//! It never polls: a parked fetch ends when enough bytes were marked, at an urgent mark (an error, a
//! deletion), when its wait is over, or when the broker stops.

use super::interest::Interest;
use super::look::{Takes, look};
use super::memory::{FETCH_BYTES_FREE, HeldReply, ReplyMemory, SLACK_BYTES};
use super::read::ReadOutcome;
use super::session::{FINAL_EPOCH, INITIAL_EPOCH, InUse, SessionCache};
use super::{FetchOutcome, FetchRequest, FetchedPartition};
use crate::BrokerError;
use crate::broker::Inner;
use crate::messages::{ShardReply, ShardRequest};
use crate::offsets::Isolation;
use crate::reach::Reach;
use bytes::Bytes;
use futures_util::future::select;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tailwater_shards::{Instant, ShardId, now, random_u64, spawn, timeout};
use tailwater_storage::TopicPartition;

/// What a fetch was asked, but for its partitions.
pub(super) struct Terms {
    pub(super) reach: Reach,
    pub(super) isolation: Isolation,
    bytes_max: usize,
    bytes_min: u64,
    deadline: Instant,
    /// The watches stay after the answer.
    pub(super) standing: bool,
}

/// What a fetch's records are charged to.
struct Charged<'a> {
    memory: &'a ReplyMemory,
    /// Whether the reader has yet to take what was sent to it before.
    lags: &'a dyn Fn() -> bool,
    /// Held for what was found last.
    held: Option<HeldReply>,
}

/// What was found, by place in the interest.
pub(super) type Looked = BTreeMap<usize, ReadOutcome>;

/// Answers a fetch whose reader keeps up, and holds no memory for its answer.
pub(crate) async fn fetch(broker: &Rc<Inner>, reach: Reach, request: FetchRequest) -> FetchOutcome {
    let (outcome, _held) = fetch_within(broker, reach, request, &|| false).await;
    outcome
}

/// Answers a fetch, with the reply memory that its records hold; one whose session lives on
/// another shard is forwarded there if that is within reach, else its session is not found.
pub(crate) async fn fetch_within(
    broker: &Rc<Inner>,
    reach: Reach,
    request: FetchRequest,
    lags: &dyn Fn() -> bool,
) -> (FetchOutcome, Option<HeldReply>) {
    let memory = broker.replies.borrow().clone();
    let mut charged = Charged {
        memory: &memory,
        lags,
        held: None,
    };
    let home = SessionCache::home(request.session_id, broker.shards);
    let away = request.session_id != 0 && home != broker.shard;
    let outcome = if away && reach.covers(broker, home) {
        let mut outcome = forward(broker, home, request).await;
        // Few are forwarded at once. What they brought is memory of that shard: it is copied.
        let bytes = copy_records(&mut outcome);
        charged.held = Some(memory.reserve(bytes, lags()).await);
        outcome
    } else {
        fetch_here(broker, reach, request, &mut charged).await
    };
    (outcome, charged.held)
}

fn copy_records(outcome: &mut FetchOutcome) -> u64 {
    let mut bytes = 0;
    for fetched in &mut outcome.partitions {
        for slice in &mut fetched.records {
            bytes += slice.len() as u64;
            *slice = Bytes::copy_from_slice(slice);
        }
    }
    bytes
}

async fn fetch_here(
    broker: &Rc<Inner>,
    reach: Reach,
    request: FetchRequest,
    charged: &mut Charged<'_>,
) -> FetchOutcome {
    let is_full = request.session_epoch == INITIAL_EPOCH || request.session_epoch == FINAL_EPOCH;
    if !is_full {
        return incremental(broker, reach, request, charged).await;
    }
    if request.session_id != 0 {
        let ended = broker.sessions.borrow_mut().remove(request.session_id);
        if let Some(session) = ended {
            let watched: Vec<_> = session
                .interest
                .borrow()
                .slots()
                .filter_map(|(_, slot)| slot.watched)
                .collect();
            let set = session.interest.borrow().id;
            spawn("unwatch", unwatch(Rc::clone(broker), set, watched)).detach();
        }
    }
    full(broker, reach, request, charged).await
}

async fn forward(broker: &Rc<Inner>, home: ShardId, request: FetchRequest) -> FetchOutcome {
    let failed = |error| FetchOutcome {
        error: Some(error),
        ..FetchOutcome::default()
    };
    let Some(_permit) = broker.forwarded_fetches.try_acquire(1) else {
        return failed(BrokerError::FetchSessionIdNotFound {
            id: request.session_id,
        });
    };
    match broker
        .call(home, ShardRequest::Fetch(Box::new(request)))
        .await
    {
        Ok(ShardReply::Fetched(outcome)) => *outcome,
        _ => failed(BrokerError::ShuttingDown),
    }
}

async fn full(
    broker: &Rc<Inner>,
    reach: Reach,
    request: FetchRequest,
    charged: &mut Charged<'_>,
) -> FetchOutcome {
    let wants_session = request.session_epoch == INITIAL_EPOCH && !request.partitions.is_empty();
    let terms = Terms::of(broker, reach, &request, wants_session);
    let uses_topic_ids = request.uses_topic_ids;
    let interest = RefCell::new(Interest::new(broker.next_watch_set(), request.partitions));
    let looked = look_until_enough(broker, &interest, &terms, charged).await;
    let partitions = answer(&interest, looked, false);
    let mut interest = interest.into_inner();
    let mut session_id = 0;
    if wants_session {
        match broker
            .sessions
            .borrow_mut()
            .create(interest, uses_topic_ids, now(), random_u64)
        {
            Ok(session) => {
                session_id = session.id;
                return FetchOutcome {
                    error: None,
                    session_id,
                    partitions,
                };
            }
            Err(given_back) => interest = *given_back,
        }
    }
    // Dead markers would be swept, but a standing watch is only replaced by its own set.
    let watched = interest
        .slots()
        .filter_map(|(_, slot)| slot.watched)
        .collect();
    if terms.standing {
        spawn("unwatch", unwatch(Rc::clone(broker), interest.id, watched)).detach();
    }
    FetchOutcome {
        error: None,
        session_id,
        partitions,
    }
}

async fn incremental(
    broker: &Rc<Inner>,
    reach: Reach,
    request: FetchRequest,
    charged: &mut Charged<'_>,
) -> FetchOutcome {
    let failed = |error| FetchOutcome {
        error: Some(error),
        ..FetchOutcome::default()
    };
    let resumed = broker.sessions.borrow_mut().resume(
        request.session_id,
        request.session_epoch,
        request.uses_topic_ids,
        now(),
    );
    let session: InUse = match resumed {
        Ok(session) => session,
        Err(error) => return failed(error),
    };
    let terms = Terms::of(broker, reach, &request, true);
    update(broker, &session, &request).await;
    if session.interest.borrow().len() == 0 {
        session.finish();
        // Nothing is left of it: it ends, and what is asked for is answered without one.
        broker.sessions.borrow_mut().remove(session.id);
        let interest = RefCell::new(Interest::new(broker.next_watch_set(), request.partitions));
        let looked = look_until_enough(broker, &interest, &terms, charged).await;
        return FetchOutcome {
            error: None,
            session_id: 0,
            partitions: answer(&interest, looked, false),
        };
    }
    let looked = look_until_enough(broker, &session.interest, &terms, charged).await;
    let partitions = answer(&session.interest, looked, true);
    session.finish();
    FetchOutcome {
        error: None,
        session_id: session.id,
        partitions,
    }
}

/// Takes over what the request changes in the session. What it forgets is unwatched before anything
/// else is asked of the owners: a later request may watch it again.
async fn update(broker: &Rc<Inner>, session: &InUse, request: &FetchRequest) {
    let (set, watched) = {
        let mut interest = session.interest.borrow_mut();
        for wanted in &request.partitions {
            interest.put(wanted.clone());
        }
        let mut watched = Vec::new();
        for (topic, partition) in &request.forgotten {
            watched.extend(interest.forget(topic, *partition));
        }
        (interest.id, watched)
    };
    unwatch(Rc::clone(broker), set, watched).await;
}

/// Looks until there is enough, or something that cannot wait, or the time is over. What it gives
/// has every partition that was looked at, as it was found last.
async fn look_until_enough(
    broker: &Rc<Inner>,
    interest: &RefCell<Interest>,
    terms: &Terms,
    charged: &mut Charged<'_>,
) -> Looked {
    // Without a session nobody is watched in the first look: most fetches find enough at once.
    let mut watch = terms.standing;
    let mut looked = Looked::new();
    loop {
        // What was found before is found again: nothing is held meanwhile.
        charged.held = None;
        looked.values_mut().for_each(ReadOutcome::forget_records);
        looked.append(&mut look_charged(broker, interest, terms, watch, charged).await);
        let bytes: u64 = looked.values().map(|outcome| outcome.bytes as u64).sum();
        let cannot_wait = looked
            .values()
            .any(|outcome| outcome.error.is_some() || outcome.diverging_epoch.is_some());
        // What did not fit beside others is enough to come back for.
        let full = bytes > 0 && looked.values().any(|outcome| outcome.more);
        let time_left = terms.deadline > now();
        let empty = interest.borrow().len() == 0;
        if bytes >= terms.bytes_min
            || full
            || cannot_wait
            || empty
            || !time_left
            || broker.is_stopping()
        {
            return looked;
        }
        if !watch {
            watch = true;
            continue;
        }
        settle(interest, &looked);
        charged.held = None;
        looked.values_mut().for_each(ReadOutcome::forget_records);
        park(broker, interest, terms, terms.bytes_min - bytes).await;
    }
}

/// Those with nothing to read are not looked at again before they are marked.
fn settle(interest: &RefCell<Interest>, looked: &Looked) {
    let mut interest = interest.borrow_mut();
    for (place, outcome) in looked {
        if outcome.bytes == 0 && outcome.error.is_none() && has_no_more(&interest, *place, outcome)
        {
            interest.make_idle(*place);
        }
    }
}

fn has_no_more(interest: &Interest, place: usize, outcome: &ReadOutcome) -> bool {
    interest
        .slot(place)
        .is_none_or(|slot| slot.wanted.fetch_offset >= outcome.high_watermark)
}

/// Waits for that many bytes, an urgent mark, the deadline or the broker's end.
async fn park(broker: &Rc<Inner>, interest: &RefCell<Interest>, terms: &Terms, needed: u64) {
    let set = interest.borrow().set();
    set.set_needed(needed);
    let marked = set.wait();
    let stopped = broker.stopping.notified();
    futures_util::pin_mut!(marked, stopped);
    let left = terms.deadline - now();
    // Over in either case: what there is is looked at once more.
    let _ = timeout(left, select(marked, stopped)).await;
}

/// Looks with memory reserved for what is found. A first batch that is larger than what a fetch
/// reserves is given up and found again with enough reserved.
async fn look_charged(
    broker: &Rc<Inner>,
    interest: &RefCell<Interest>,
    terms: &Terms,
    watch: bool,
    charged: &mut Charged<'_>,
) -> Looked {
    let mut wanted = charged.memory.reservation(terms.bytes_max);
    let mut at_once = charged.memory.try_reserve(wanted, (charged.lags)());
    if at_once.is_none()
        && !(charged.lags)()
        && let Some(looked) = look_for_little(broker, interest, terms, watch).await
    {
        return looked;
    }
    loop {
        let mut held = match at_once.take() {
            Some(held) => held,
            None => charged.memory.reserve(wanted, (charged.lags)()).await,
        };
        let reserved = usize::try_from(held.bytes()).unwrap_or(usize::MAX);
        let bytes_max = terms.bytes_max.min(reserved.saturating_sub(SLACK_BYTES));
        let looked = look(broker, interest, terms, bytes_max, watch, Takes::All).await;
        let looked = looked.expect("all is taken");
        let bytes: usize = looked.values().map(|outcome| outcome.bytes).sum();
        if bytes > bytes_max.max(reserved - SLACK_BYTES) && !charged.memory.is_all(&held) {
            wanted = (bytes + SLACK_BYTES) as u64;
            continue;
        }
        if bytes > 0 {
            held.shrink_to((bytes + SLACK_BYTES) as u64);
            charged.held = Some(held);
        }
        return looked;
    }
}

/// Looks without memory reserved, for so little that it is copied and needs none; not on the disk.
/// None if the partition whose turn it is has something, and no batch of it is as small and in memory.
async fn look_for_little(
    broker: &Rc<Inner>,
    interest: &RefCell<Interest>,
    terms: &Terms,
    watch: bool,
) -> Option<Looked> {
    let bytes_max = terms.bytes_max.min(FETCH_BYTES_FREE);
    let mut looked = look(broker, interest, terms, bytes_max, watch, Takes::Little).await?;
    let records = looked.values_mut().flat_map(|outcome| &mut outcome.records);
    records.for_each(|slice| *slice = Bytes::copy_from_slice(slice));
    Some(looked)
}

/// Makes the answer, and takes note of what it tells. An incremental one has only partitions with
/// records, an error, or news of high watermark or log start.
fn answer(
    interest: &RefCell<Interest>,
    looked: Looked,
    changes_only: bool,
) -> Vec<FetchedPartition> {
    settle(interest, &looked);
    let mut interest = interest.borrow_mut();
    let mut partitions = Vec::with_capacity(looked.len());
    let mut served = Vec::new();
    for (place, outcome) in looked {
        let Some(slot) = interest.slot_mut(place) else {
            continue;
        };
        let news = outcome.high_watermark != slot.told_high_watermark
            || outcome.log_start_offset != slot.told_log_start;
        let special = outcome.error.is_some() || outcome.diverging_epoch.is_some();
        // An error is told again until it is gone.
        slot.told_high_watermark = if special { -1 } else { outcome.high_watermark };
        slot.told_log_start = outcome.log_start_offset;
        if outcome.bytes > 0 {
            served.push(place);
        }
        if !changes_only || news || special || outcome.bytes > 0 {
            partitions.push(FetchedPartition {
                topic: slot.wanted.topic.clone(),
                partition: slot.wanted.partition,
                error: outcome.error,
                high_watermark: outcome.high_watermark,
                last_stable_offset: outcome.last_stable_offset,
                log_start_offset: outcome.log_start_offset,
                diverging_epoch: outcome.diverging_epoch,
                leader_epoch: outcome.leader_epoch,
                records: outcome.records,
            });
        }
    }
    interest.serve_last(&served);
    partitions
}

/// Ends standing watches at their owners, before whatever is sent to them once this has returned:
/// a watch of the same set that came first would end too.
async fn unwatch(broker: Rc<Inner>, set: u64, watched: Vec<TopicPartition>) {
    let mut shares: BTreeMap<ShardId, Vec<TopicPartition>> = BTreeMap::new();
    for tp in watched {
        shares.entry(broker.owner(tp)).or_default().push(tp);
    }
    for (owner, tps) in shares {
        if owner == broker.shard {
            broker.unwatch(set, &tps);
        } else {
            drop(broker.send(owner, ShardRequest::Unwatch(set, tps)).await);
        }
    }
}

impl Terms {
    fn of(broker: &Rc<Inner>, reach: Reach, request: &FetchRequest, standing: bool) -> Self {
        let limit = broker.image().settings().fetch_bytes_max;
        Self {
            reach,
            isolation: request.isolation,
            bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(limit),
            bytes_min: u64::try_from(request.min_bytes).unwrap_or(0),
            deadline: now() + request.max_wait,
            standing,
        }
    }
}

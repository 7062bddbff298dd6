//! A member of a classic group.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::consumer::ClassicStateMember;
use crate::error::GroupError;
use crate::outcome::ReplyTo;
use crate::records::MemberValue;
use crate::reply::Reply;
use crate::request::JoinGroup;
use crate::step::Step;
use crate::timers::{Timer, TimerId};

/// A member in a record, besides its texts and what it was told: lengths and times.
const MEMBER_RECORD_BYTES: u64 = 24;

/// By so much another assignor's name and metadata may be longer than those that are known.
const TOLD_AGAIN_BYTES: usize = 64;

/// A member, by what it told when it joined.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// Its assignors in its order of preference, no name twice.
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
    pub(crate) assignment: Bytes,
    /// Its JoinGroup that waits for the others.
    pub(super) join: Option<ReplyTo>,
    /// Its SyncGroup that waits for the leader's.
    pub(super) sync: Option<ReplyTo>,
    /// Whether its first join still waits: it does not know its id, or has just learnt it.
    pub(super) new: bool,
    /// When its session ends. The timer may be due earlier, and is then set anew.
    deadline: Duration,
    timer: Option<TimerId>,
}

/// Protocols without those named before, in memory of their own: a request's bytes are part of
/// its whole frame.
pub(crate) fn own_protocols(protocols: &[(Arc<str>, Bytes)]) -> Vec<(Arc<str>, Bytes)> {
    let mut own: Vec<(Arc<str>, Bytes)> = Vec::with_capacity(protocols.len());
    for (name, metadata) in protocols {
        if own.iter().all(|(other, _)| other != name) {
            own.push((name.clone(), Bytes::copy_from_slice(metadata)));
        }
    }
    own
}

impl Member {
    /// A member that joins for the first time.
    pub(super) fn joining(join: &JoinGroup) -> Member {
        Member {
            instance: join.instance.clone(),
            client_id: join.identity.client_id.clone(),
            client_host: join.identity.client_host.clone(),
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: own_protocols(&join.protocols),
            assignment: Bytes::new(),
            join: None,
            sync: None,
            new: true,
            deadline: Duration::ZERO,
            timer: None,
        }
    }

    /// A member that comes from a group of the new protocol.
    pub(super) fn crossing(state: ClassicStateMember) -> Member {
        Member {
            instance: state.instance,
            client_id: state.client_id,
            client_host: state.client_host,
            rebalance_timeout_ms: state.rebalance_timeout_ms,
            session_timeout_ms: state.session_timeout_ms,
            protocols: state.protocols,
            assignment: state.assignment,
            join: None,
            sync: None,
            new: false,
            deadline: Duration::ZERO,
            timer: None,
        }
    }

    /// A member as a record tells of it.
    pub(super) fn recorded(value: MemberValue, protocol: Option<Arc<str>>) -> Member {
        let rebalance_timeout_ms = match value.rebalance_timeout_ms {
            -1 => value.session_timeout_ms,
            timeout => timeout,
        };
        Member {
            instance: value.instance,
            client_id: value.client_id,
            client_host: value.client_host,
            rebalance_timeout_ms,
            session_timeout_ms: value.session_timeout_ms,
            protocols: protocol
                .map(|name| (name, value.subscription))
                .into_iter()
                .collect(),
            assignment: value.assignment,
            join: None,
            sync: None,
            new: false,
            deadline: Duration::ZERO,
            timer: None,
        }
    }

    /// A member that moves in from a group of the new protocol, or out of nothing in a test.
    pub(crate) fn to_record(&self, id: &Arc<str>, protocol: Option<&str>) -> MemberValue {
        MemberValue {
            member: id.clone(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }

    /// What it told for an assignor.
    pub(crate) fn metadata(&self, protocol: Option<&str>) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| Some(&**name) == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    /// Whether a join tells nothing new.
    pub(super) fn matches(&self, join: &JoinGroup) -> bool {
        self.protocols == own_protocols(&join.protocols)
    }

    /// Whether it waits for others, and so need not show itself.
    fn waits(&self) -> bool {
        !self.new && (self.join.is_some() || self.sync.is_some())
    }

    /// What it takes in a record, about.
    pub(super) fn bytes(&self, id: &str) -> u64 {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let texts = id.len() + instance + self.client_id.len() + self.client_host.len() + 64;
        let protocols = self.protocols.iter().map(protocol_bytes).sum::<usize>();
        (texts + protocols + self.assignment.len()) as u64
    }

    /// What it takes in a record besides its assignment.
    pub(super) fn record_bytes(&self, id: &str, protocol: Option<&str>) -> u64 {
        let instance = self.instance.as_ref().map_or(0, |instance| instance.len());
        let texts = id.len() + instance + self.client_id.len() + self.client_host.len();
        (texts + self.metadata(protocol).len()) as u64 + MEMBER_RECORD_BYTES
    }

    /// What a member that was read from a record may come with besides, when it joins again:
    /// another assignor with about the same metadata, in the member and in its record.
    pub(super) fn told_again_bytes(&self) -> u64 {
        let protocols = self.protocols.iter().map(protocol_bytes).sum::<usize>();
        2 * (protocols + TOLD_AGAIN_BYTES) as u64
    }

    /// Its session lasts `timeout_ms` from now on.
    pub(super) fn touch(
        &mut self,
        step: &mut Step<'_>,
        group: &Arc<str>,
        id: &Arc<str>,
        timeout_ms: i32,
    ) {
        self.deadline = step.after_ms(timeout_ms);
        if let Some(timer) = self.timer {
            if timer.at() <= self.deadline {
                return;
            }
            step.timers.cancel(timer);
        }
        self.set_timer(step, group, id);
    }

    fn set_timer(&mut self, step: &mut Step<'_>, group: &Arc<str>, id: &Arc<str>) {
        let timer = Timer::Session(group.clone(), id.clone());
        self.timer = Some(step.timers.set(self.deadline, timer));
    }

    /// Whether its session has ended, now that a timer is due.
    pub(super) fn is_expired(
        &mut self,
        step: &mut Step<'_>,
        group: &Arc<str>,
        id: &Arc<str>,
        due: TimerId,
    ) -> bool {
        if self.timer != Some(due) {
            return false;
        }
        self.timer = None;
        if self.deadline > step.moment.now {
            self.set_timer(step, group, id);
            return false;
        }
        !self.waits()
    }

    /// Ends its timer: it leaves.
    pub(super) fn cancel_timer(&mut self, step: &mut Step<'_>) {
        if let Some(timer) = self.timer.take() {
            step.timers.cancel(timer);
        }
    }

    /// Answers its join, if one waits, with a refusal.
    pub(super) fn refuse_join(&mut self, step: &mut Step<'_>, error: GroupError, id: &Arc<str>) {
        if let Some(to) = self.join.take() {
            step.answer(to, Reply::Joined(Err((error, id.clone()))));
        }
    }

    /// Answers its sync, if one waits, with a refusal.
    pub(super) fn refuse_sync(&mut self, step: &mut Step<'_>, error: GroupError) {
        if let Some(to) = self.sync.take() {
            step.answer(to, Reply::Synced(Err(error)));
        }
    }

    /// Whether a timer of its own is set; for invariants.
    pub(super) fn timer(&self) -> Option<TimerId> {
        self.timer
    }
}

/// What an assignor's name and metadata take, about.
fn protocol_bytes((name, metadata): &(Arc<str>, Bytes)) -> usize {
    name.len() + metadata.len() + 32
}

/// As [`Member::bytes`], of one that joins and has nothing assigned yet.
pub(super) fn joining_bytes(join: &JoinGroup) -> u64 {
    let identity = &join.identity;
    let instance = join.instance.as_ref().map_or(0, |instance| instance.len());
    let names = join.member.len() + instance;
    let texts = names + identity.client_id.len() + identity.client_host.len() + 64;
    let protocols = join.protocols.iter().map(protocol_bytes).sum::<usize>();
    (texts + protocols) as u64
}

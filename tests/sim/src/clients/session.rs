//! A consumer's fetch session (KIP-227): what it has told the broker, and so need not tell again.

use std::collections::BTreeMap;

use tailwater_broker::error_code as code;
use tailwater_broker::fetch::{FetchOutcome, FetchRequest};
use tailwater_broker::metadata::TopicKey;

use crate::event::Tp;

/// The epoch that asks for a session.
const INITIAL_EPOCH: i32 = 0;

/// A session as its consumer knows it.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// 0: there is none.
    id: i32,
    epoch: i32,
    /// The start of the broker that has it.
    generation: u64,
    /// What the broker was told of each partition: offset and last epoch.
    told: BTreeMap<Tp, (i64, i32)>,
    /// Partitions that are no more, and are to be forgotten.
    gone: Vec<Tp>,
}

/// What is asked for in a session, and what an empty answer speaks of.
pub(super) struct Asked {
    pub(super) request: FetchRequest,
    pub(super) wants: Vec<(Tp, i64, i32)>,
}

impl Session {
    /// Makes a request with these partitions one of the session, or one for a session. What it
    /// wants then is all that the session holds. `forgets` leaves one of the others out from now on.
    pub(super) fn ask(
        &mut self,
        mut request: FetchRequest,
        wants: &[(Tp, i64, i32)],
        positions: &BTreeMap<Tp, (i64, i32)>,
        forgets: bool,
    ) -> Asked {
        request.session_id = self.id;
        if self.id == 0 {
            request.session_epoch = INITIAL_EPOCH;
            self.gone.clear();
            self.told = wants
                .iter()
                .map(|(tp, from, epoch)| (*tp, (*from, *epoch)))
                .collect();
            return Asked {
                request,
                wants: wants.to_vec(),
            };
        }
        request.session_epoch = self.epoch;
        let is_wanted = |tp: &Tp| wants.iter().any(|(wanted, _, _)| wanted == tp);
        let other = self.told.keys().find(|tp| !is_wanted(tp)).copied();
        self.gone.extend(other.filter(|_| forgets));
        for tp in self.gone.drain(..) {
            if !is_wanted(&tp) && self.told.remove(&tp).is_some() {
                request.forgotten.push((TopicKey::Id(tp.0), tp.1));
            }
        }
        let mut changed = Vec::new();
        let all: Vec<Tp> = self.told.keys().copied().collect();
        for tp in all.into_iter().chain(wants.iter().map(|(tp, _, _)| *tp)) {
            let position = positions.get(&tp).copied().unwrap_or((0, -1));
            if self.told.insert(tp, position) != Some(position) {
                changed.push((tp, position.0, position.1));
            }
        }
        let as_asked = super::request(&changed, 0, 0, request.isolation);
        request.partitions = as_asked.partitions;
        for partition in &mut request.partitions {
            partition.max_bytes = request.max_bytes;
        }
        let wants = self.told.iter();
        Asked {
            request,
            wants: wants
                .map(|(tp, (from, epoch))| (*tp, *from, *epoch))
                .collect(),
        }
    }

    /// Takes an answer's word about the session. `Err`: the broker does not know it, and has not
    /// been started since.
    pub(super) fn answered(&mut self, outcome: &FetchOutcome, generation: u64) -> Result<(), i16> {
        if let Some(error) = &outcome.error {
            let lost = std::mem::take(self);
            let unknown = matches!(
                error.code(),
                code::FETCH_SESSION_ID_NOT_FOUND | code::INVALID_FETCH_SESSION_EPOCH
            );
            return match unknown && lost.generation == generation {
                true => Err(error.code()),
                false => Ok(()),
            };
        }
        if self.id == outcome.session_id {
            self.epoch += 1;
        } else {
            self.epoch = 1;
            self.generation = generation;
        }
        self.id = outcome.session_id;
        Ok(())
    }

    /// The partition is no more: the next request says so.
    pub(super) fn lost(&mut self, tp: Tp) {
        self.gone.push(tp);
    }
}

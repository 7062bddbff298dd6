//! The way of a classic group to the new protocol and back.

use std::sync::Arc;

use crate::consumer::{ClassicState, ClassicStateMember};
use crate::error::GroupError;
use crate::step::Step;

use super::{CONSUMER, ClassicGroup, Member, State};

impl ClassicGroup {
    /// Whether its members are consumers.
    pub(crate) fn is_of_consumers(&self) -> bool {
        self.has_consumers()
    }

    /// Whether there is a record of it.
    pub(crate) fn is_recorded(&self) -> bool {
        self.durable.is_some()
    }

    /// What of it crosses over.
    pub(crate) fn leaving_state(&self) -> ClassicState {
        let members = self.members.iter();
        ClassicState {
            group: self.id.clone(),
            generation: self.generation,
            protocol: self.protocol.clone().unwrap_or_else(|| Arc::from("")),
            members: members
                .map(|(id, member)| ClassicStateMember {
                    id: id.clone(),
                    instance: member.instance.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: member.protocols.clone(),
                    assignment: member.assignment.clone(),
                })
                .collect(),
        }
    }

    /// Tells all who wait to join again: the group is about to be another.
    pub(crate) fn refuse_all(&mut self, step: &mut Step<'_>) {
        for (id, member) in &mut self.members {
            self.joining -= usize::from(member.join.is_some());
            member.refuse_join(step, GroupError::RebalanceInProgress, id);
            member.refuse_sync(step, GroupError::RebalanceInProgress);
        }
    }

    /// The group that comes back, recorded, its sessions begun.
    pub(crate) fn come_back(
        step: &mut Step<'_>,
        state: ClassicState,
        rebalance: bool,
    ) -> ClassicGroup {
        let mut group = ClassicGroup::new(state.group);
        group.generation = state.generation;
        group.protocol_type = Some(Arc::from(CONSUMER));
        for member in state.members {
            group.insert(member.id.clone(), Member::crossing(member));
        }
        group.protocol = group.select_protocol();
        group.note_subscribed();
        group.transition(step, State::Stable);
        group.record(step);
        for (id, member) in &mut group.members {
            member.touch(step, &group.id, id, member.session_timeout_ms);
        }
        if rebalance {
            group.prepare_rebalance(step);
        }
        group
    }
}

//! A partition has at most one member at a time. In the classic protocol that is one in each
//! generation; in the new one the next member is given it only when the last has let it go, or has
//! not been heard of for as long as a session lasts.

use std::collections::BTreeMap;

use super::Property;
use crate::event::Event;
use crate::facts::Facts;
use crate::groups::Protocol;

/// The session of a member of the new protocol ends after 45 s; a little less is sure.
const SESSION_NS: u64 = 40_000_000_000;

#[derive(Default)]
pub(crate) struct GroupOwners {
    /// By generation and partition.
    classic: BTreeMap<(i32, i32), u8>,
    /// By partition, and when the member was heard of last.
    consumer: BTreeMap<i32, (u8, u64)>,
}

impl Property for GroupOwners {
    fn name(&self) -> &'static str {
        "group_owners"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        match event {
            Event::GroupReleased {
                protocol: Protocol::Consumer,
                client,
            } => self.consumer.retain(|_, (owner, _)| owner != client),
            Event::GroupAssigned {
                protocol: Protocol::Classic,
                client,
                epoch,
                partitions,
                ..
            } => {
                for partition in partitions {
                    let owner = self.classic.insert((*epoch, *partition), *client);
                    if let Some(owner) = owner.filter(|owner| owner != client) {
                        return Err(format!(
                            "client {client} has partition {partition} in generation {epoch}, as client {owner}"
                        ));
                    }
                }
            }
            Event::GroupAssigned {
                protocol: Protocol::Consumer,
                client,
                epoch,
                partitions,
                ..
            } => {
                self.consumer.retain(|_, (owner, _)| owner != client);
                for partition in partitions {
                    let now = (*client, facts.now_ns);
                    let owner = self.consumer.insert(*partition, now);
                    let lives = |(_, heard): &(u8, u64)| facts.now_ns < heard + SESSION_NS;
                    if let Some((owner, _)) = owner.filter(lives) {
                        return Err(format!(
                            "client {client} is given partition {partition} at epoch {epoch}, and client {owner} still has it"
                        ));
                    }
                }
            }
            Event::Started(started) if started.unknown_losses => {
                self.classic.clear();
                self.consumer.clear();
            }
            _ => {}
        }
        Ok(())
    }
}

//! What rots is named and contained: a start that is refused for it names the file, damage that a
//! start finds names it too, and one bit takes no more than one partition out of service, one of a
//! snapshot none. That nothing rotten is served, and that nothing else is missing, the other properties say.

use super::Property;
use crate::event::Event;
use crate::facts::Facts;
use crate::rot::{Kind, Rotten};

#[derive(Default)]
pub(crate) struct Rot;

impl Property for Rot {
    fn name(&self) -> &'static str {
        "rot"
    }

    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String> {
        if facts.failing || facts.full {
            return Ok(());
        }
        let Some(rotten) = facts.rot.last() else {
            return Ok(());
        };
        let path = rotten.path.display();
        match event {
            Event::StartRefused { reason } => {
                if matches!(rotten.kind, Kind::Segment | Kind::Index | Kind::Snapshot) {
                    return Err(format!("a start was refused for {path}: {reason}"));
                }
                if !facts.names_rot(reason) {
                    return Err(format!("{path} has rotted and was not named: {reason}"));
                }
            }
            Event::Started(started) => {
                let damage = &started.damage;
                let named = damage.iter().any(|damage| facts.names_rot(damage));
                if !damage.is_empty() && !named {
                    return Err(format!("{path} has rotted and was not named: {damage:?}"));
                }
                let taken = started.out_of_service.len();
                let costs = |rotten: &&Rotten| rotten.kind != Kind::Snapshot;
                let most = facts.rot.iter().filter(costs).count();
                if facts.rot.iter().all(Rotten::is_one_bit) && taken > most {
                    return Err(format!(
                        "one bit of each of {} files, {path} the last, has taken out of service {:?}",
                        facts.rot.len(),
                        started.out_of_service
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

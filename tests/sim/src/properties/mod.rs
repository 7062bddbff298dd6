//! What must hold, one property a file. A property sees each event before the model does.

mod acknowledged;
mod answered;
mod compacted;
mod duplicates;
mod durable;
mod epochs;
mod group_epochs;
mod group_offsets;
mod group_owners;
mod indexes;
mod intact;
mod log_start;
mod memory;
mod metadata;
mod nothing_missed;
mod once_in_order;
mod one_value;
mod producer_ids;
mod rot;
mod seen_stays;
mod sessions;
mod starts;
mod timestamps;
mod verified;
mod watermarks;
mod woken;

use crate::event::Event;
use crate::facts::Facts;

/// Something that must hold in every history.
pub(crate) trait Property {
    /// Its name, as a violation tells it.
    fn name(&self) -> &'static str;

    /// Looks at what has happened; the sentence that says what does not hold.
    fn observe(&mut self, facts: &Facts, event: &Event) -> Result<(), String>;
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Property>> {
    vec![
        Box::<acknowledged::Acknowledged>::default(),
        Box::<answered::Answered>::default(),
        Box::<compacted::Compacted>::default(),
        Box::<duplicates::Duplicates>::default(),
        Box::<durable::Durable>::default(),
        Box::<epochs::Epochs>::default(),
        Box::<group_epochs::GroupEpochs>::default(),
        Box::<group_offsets::GroupOffsets>::default(),
        Box::<group_owners::GroupOwners>::default(),
        Box::<indexes::Indexes>::default(),
        Box::<intact::Intact>::default(),
        Box::<log_start::LogStart>::default(),
        Box::<memory::Memory>::default(),
        Box::<metadata::Metadata>::default(),
        Box::<nothing_missed::NothingMissed>::default(),
        Box::<once_in_order::OnceInOrder>::default(),
        Box::<one_value::OneValue>::default(),
        Box::<producer_ids::ProducerIds>::default(),
        Box::<rot::Rot>::default(),
        Box::<seen_stays::SeenStays>::default(),
        Box::<sessions::Sessions>::default(),
        Box::<starts::Starts>::default(),
        Box::<timestamps::Timestamps>::default(),
        Box::<verified::Verified>::default(),
        Box::<watermarks::Watermarks>::default(),
        Box::<woken::Woken>::default(),
    ]
}

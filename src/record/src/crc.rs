//! The batch's checksum: CRC-32C (Castagnoli, as in iSCSI) from the attributes to the end.

use crate::header::{AT_ATTRIBUTES, BatchHeader};

/// The checksum that `batch`, one whole batch and nothing more, should have. `None` if it is too short
/// to have one.
pub fn computed_crc(batch: &[u8]) -> Option<u32> {
    batch.get(AT_ATTRIBUTES..).map(crc_fast::crc32_iscsi)
}

/// Whether `batch`, one whole batch and nothing more, has the checksum that its header states.
pub fn crc_is_valid(batch: &[u8]) -> bool {
    BatchHeader::parse(batch).is_ok_and(|header| {
        header.total_bytes() == batch.len() && computed_crc(batch) == Some(header.crc)
    })
}

//! The batch's 61-byte header, and the few fields that are patched in place.

use crate::codec::Codec;
use crate::crc;
use crate::error::RecordError;

/// Bytes of a v2 batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before those which the length field counts: base offset and the length itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// The magic of the only format spoken here.
pub const MAGIC: i8 = 2;
/// "No timestamp".
pub const NO_TIMESTAMP: i64 = -1;
/// "No producer id": the producer is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// "No producer epoch".
pub const NO_PRODUCER_EPOCH: i16 = -1;
/// "No sequence".
pub const NO_SEQUENCE: i32 = -1;
/// "No leader epoch", as producers send it.
pub const NO_LEADER_EPOCH: i32 = -1;

const LENGTH_MIN: i32 = (HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32;
/// The shortest legacy message: below that, Kafka calls a length corrupt whatever the magic.
const LEGACY_LENGTH_MIN: i32 = 14;
const AT_LEADER_EPOCH: usize = 12;
const AT_MAGIC: usize = 16;
const AT_CRC: usize = 17;
/// Where the checksum's reach begins; it ends with the batch.
pub(crate) const AT_ATTRIBUTES: usize = 21;
const AT_MAX_TIMESTAMP: usize = 35;

/// Who gives the records their timestamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer: each record has its own.
    #[default]
    CreateTime,
    /// The broker: the batch's `max_timestamp` is that of all its records.
    LogAppendTime,
}

/// The batch's sixteen attribute bits; the codec among them is one that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(u16);

impl Attributes {
    const CODEC: u16 = 0x07;
    const TIMESTAMP_TYPE: u16 = 0x08;
    const TRANSACTIONAL: u16 = 0x10;
    const CONTROL: u16 = 0x20;
    const DELETE_HORIZON: u16 = 0x40;
    const KNOWN: u16 = 0x7f;

    /// From the header's bits, whatever the unknown ones are.
    ///
    /// # Errors
    /// `UnknownCodec` for codec ids 5 to 7.
    pub fn from_bits(bits: u16) -> Result<Attributes, RecordError> {
        let id = (bits & Self::CODEC) as u8;
        Codec::from_id(id)
            .map(|_| Attributes(bits))
            .ok_or(RecordError::UnknownCodec { id })
    }

    /// The sixteen bits.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// How the records are compressed.
    pub fn codec(self) -> Codec {
        Codec::from_id((self.0 & Self::CODEC) as u8).expect("checked when the attributes were made")
    }

    /// Who gave the records their timestamps.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::TIMESTAMP_TYPE == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Part of a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Holds control records (transaction markers), never for applications.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// `base_timestamp` is the time from which tombstones may be dropped (KIP-534). Only a cleaner sets it.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// The same with `base_timestamp` as the delete horizon.
    #[must_use]
    pub fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | Self::DELETE_HORIZON)
    }

    /// Those of a batch without records: no codec and no delete horizon.
    #[must_use]
    pub(crate) fn emptied(self) -> Attributes {
        Attributes(self.0 & !(Self::CODEC | Self::DELETE_HORIZON))
    }

    /// Whether bits are set that mean nothing.
    pub fn has_unknown_bits(self) -> bool {
        self.0 & !Self::KNOWN != 0
    }

    /// The same with another codec.
    #[must_use]
    pub fn with_codec(self, codec: Codec) -> Attributes {
        Attributes(self.0 & !Self::CODEC | u16::from(codec.id()))
    }

    /// The same with another timestamp type.
    #[must_use]
    pub fn with_timestamp_type(self, timestamp_type: TimestampType) -> Attributes {
        match timestamp_type {
            TimestampType::CreateTime => Attributes(self.0 & !Self::TIMESTAMP_TYPE),
            TimestampType::LogAppendTime => Attributes(self.0 | Self::TIMESTAMP_TYPE),
        }
    }

    /// The same, part of a transaction or not.
    #[must_use]
    pub fn with_transactional(self, transactional: bool) -> Attributes {
        Attributes(if transactional {
            self.0 | Self::TRANSACTIONAL
        } else {
            self.0 & !Self::TRANSACTIONAL
        })
    }

    /// The same, with control records or not.
    #[must_use]
    pub fn with_control(self, control: bool) -> Attributes {
        Attributes(if control {
            self.0 | Self::CONTROL
        } else {
            self.0 & !Self::CONTROL
        })
    }
}

/// A v2 batch's header. All fields as they are in the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The first record's offset.
    pub base_offset: i64,
    /// Bytes after the length field: at least those of the rest of the header.
    pub batch_length: u32,
    /// The epoch of the leader that appended the batch.
    pub partition_leader_epoch: i32,
    /// CRC-32C from the attributes to the end.
    pub crc: u32,
    /// Codec, timestamp type, transactional, control.
    pub attributes: Attributes,
    /// The last record's offset less the base offset.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas count from.
    pub base_timestamp: i64,
    /// The greatest timestamp of the records.
    pub max_timestamp: i64,
    /// Who produced it, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// The producer's epoch, or [`NO_PRODUCER_EPOCH`].
    pub producer_epoch: i16,
    /// The first record's sequence, or [`NO_SEQUENCE`].
    pub base_sequence: i32,
    /// How many records the header claims.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; the records need not be there.
    ///
    /// # Errors
    /// `Empty`, `Truncated`, `LengthImpossible`, `OldMagic`, `UnknownMagic`, `UnknownCodec`.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, RecordError> {
        if bytes.is_empty() {
            return Err(RecordError::Empty);
        }
        let truncated = RecordError::Truncated {
            have: bytes.len(),
            need: HEADER_BYTES,
        };
        let Some(head) = bytes.first_chunk::<{ AT_MAGIC + 1 }>() else {
            return Err(truncated);
        };
        let length = i32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let magic = head[AT_MAGIC] as i8;
        if length < LEGACY_LENGTH_MIN {
            return Err(RecordError::LengthImpossible { length });
        }
        match magic {
            MAGIC => {}
            0 | 1 => return Err(RecordError::OldMagic { magic }),
            _ => return Err(RecordError::UnknownMagic { magic }),
        }
        if length < LENGTH_MIN {
            return Err(RecordError::LengthImpossible { length });
        }
        bytes
            .first_chunk()
            .ok_or(truncated)
            .and_then(BatchHeader::from_bytes)
    }

    /// Length and magic have been checked.
    fn from_bytes(bytes: &[u8; HEADER_BYTES]) -> Result<BatchHeader, RecordError> {
        let mut fields = Fields(bytes);
        let base_offset = i64::from_be_bytes(fields.take());
        let batch_length = u32::from_be_bytes(fields.take());
        let partition_leader_epoch = i32::from_be_bytes(fields.take());
        let _magic: [u8; 1] = fields.take();
        Ok(BatchHeader {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc: u32::from_be_bytes(fields.take()),
            attributes: Attributes::from_bits(u16::from_be_bytes(fields.take()))?,
            last_offset_delta: i32::from_be_bytes(fields.take()),
            base_timestamp: i64::from_be_bytes(fields.take()),
            max_timestamp: i64::from_be_bytes(fields.take()),
            producer_id: i64::from_be_bytes(fields.take()),
            producer_epoch: i16::from_be_bytes(fields.take()),
            base_sequence: i32::from_be_bytes(fields.take()),
            record_count: i32::from_be_bytes(fields.take()),
        })
    }

    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = bytes.as_mut_slice();
        put(&mut rest, self.base_offset.to_be_bytes());
        put(&mut rest, self.batch_length.to_be_bytes());
        put(&mut rest, self.partition_leader_epoch.to_be_bytes());
        put(&mut rest, MAGIC.to_be_bytes());
        put(&mut rest, self.crc.to_be_bytes());
        put(&mut rest, self.attributes.bits().to_be_bytes());
        put(&mut rest, self.last_offset_delta.to_be_bytes());
        put(&mut rest, self.base_timestamp.to_be_bytes());
        put(&mut rest, self.max_timestamp.to_be_bytes());
        put(&mut rest, self.producer_id.to_be_bytes());
        put(&mut rest, self.producer_epoch.to_be_bytes());
        put(&mut rest, self.base_sequence.to_be_bytes());
        put(&mut rest, self.record_count.to_be_bytes());
        debug_assert!(rest.is_empty());
        bytes
    }

    /// Bytes of the whole batch, header included. At least [`HEADER_BYTES`].
    pub fn total_bytes(&self) -> usize {
        self.batch_length as usize + LENGTH_PREFIX_BYTES
    }

    /// The last record's offset. Meaningful once the batch has been validated or appended.
    pub fn last_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record's.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The last record's sequence, which starts again at 0 after `i32::MAX`; [`NO_SEQUENCE`] without one.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NO_SEQUENCE;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// Whether the producer is idempotent.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// How the records are compressed.
    pub fn codec(&self) -> Codec {
        self.attributes.codec()
    }
}

/// Gives a batch its offset. Outside the checksum.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_base_offset(batch: &mut [u8], base_offset: i64) {
    patch(batch, 0, base_offset.to_be_bytes());
}

/// Gives a batch its leader epoch. Outside the checksum.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_leader_epoch(batch: &mut [u8], partition_leader_epoch: i32) {
    patch(batch, AT_LEADER_EPOCH, partition_leader_epoch.to_be_bytes());
}

/// Gives a batch another greatest timestamp and other attributes, and the checksum that follows from
/// them, which it returns. `batch` is the whole batch and nothing more.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn set_max_timestamp_and_attributes(
    batch: &mut [u8],
    max_timestamp: i64,
    attributes: Attributes,
) -> u32 {
    patch(batch, AT_MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    patch(batch, AT_ATTRIBUTES, attributes.bits().to_be_bytes());
    let crc = crc::computed_crc(batch).expect("a batch is no shorter than its header");
    patch(batch, AT_CRC, crc.to_be_bytes());
    crc
}

fn patch<const N: usize>(batch: &mut [u8], at: usize, value: [u8; N]) {
    assert!(
        batch.len() >= HEADER_BYTES,
        "a batch begins with its header"
    );
    batch
        .get_mut(at..at + N)
        .expect("every field lies in the header")
        .copy_from_slice(&value);
}

/// Takes field after field off a header.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .expect("the fields' lengths add up to the header's");
        self.0 = rest;
        *field
    }
}

/// Puts field after field into a header.
fn put<const N: usize>(rest: &mut &mut [u8], value: [u8; N]) {
    let (field, after) = std::mem::take(rest)
        .split_first_chunk_mut()
        .expect("the fields' lengths add up to the header's");
    *field = value;
    *rest = after;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::{BatchBuilder, NewRecord};
    use crate::crc::crc_is_valid;

    fn batch() -> Vec<u8> {
        BatchBuilder::new()
            .producer(5, 6, i32::MAX)
            .record(NewRecord::default())
            .record(NewRecord::default())
            .build()
            .to_vec()
    }

    #[test]
    fn a_header_comes_back_from_its_bytes() {
        let bytes = batch();
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.encode(), bytes[..HEADER_BYTES]);
        assert_eq!(header.total_bytes(), bytes.len());
        assert_eq!(
            header.last_sequence(),
            0,
            "sequences start again after the greatest"
        );
        assert_eq!((header.last_offset(), header.next_offset()), (1, 2));
    }

    #[test]
    fn offset_and_leader_epoch_lie_outside_the_checksum() {
        let mut bytes = batch();
        set_base_offset(&mut bytes, i64::MAX);
        set_leader_epoch(&mut bytes, 9);
        assert!(crc_is_valid(&bytes));
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(
            (header.base_offset, header.partition_leader_epoch),
            (i64::MAX, 9)
        );
        assert_eq!(
            header.next_offset(),
            i64::MAX,
            "an offset beyond the last there can be"
        );
    }

    #[test]
    fn timestamp_and_attributes_bring_their_checksum() {
        let mut bytes = batch();
        let attributes = Attributes::default().with_timestamp_type(TimestampType::LogAppendTime);
        let crc = set_max_timestamp_and_attributes(&mut bytes, 77, attributes);
        assert!(crc_is_valid(&bytes));
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(
            (header.crc, header.max_timestamp, header.attributes),
            (crc, 77, attributes)
        );
    }

    #[test]
    #[should_panic(expected = "a batch begins with its header")]
    fn patching_less_than_a_header_is_a_fault_of_ours() {
        set_base_offset(&mut [0; HEADER_BYTES - 1], 0);
    }

    #[test]
    fn attributes_keep_their_other_bits() {
        let all = Attributes::from_bits(0xfff8).unwrap();
        assert!(
            all.is_transactional()
                && all.is_control()
                && all.has_delete_horizon()
                && all.has_unknown_bits()
        );
        let packed = all
            .with_codec(Codec::Zstd)
            .with_timestamp_type(TimestampType::CreateTime);
        assert_eq!(packed.bits(), 0xfff4);
        assert_eq!(packed.codec(), Codec::Zstd);
        assert_eq!(
            packed.with_transactional(false).with_control(false).bits(),
            0xffc4
        );
    }
}

//! OffsetCommit and OffsetFetch requests: version 10 names topics by their ids, and the codec's
//! requests end at version 9. Below 10 the codec decodes them; version 10 is read here, into the
//! codec's own structures.

use bytes::Bytes;
use uuid::Uuid;

use crate::error::WireError;
use crate::header::RequestHeader;
use crate::messages as m;
use crate::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use crate::primitives::{Lengths, Reader, sliced};
use crate::request::by_codec;
use crate::skim::{self, decoded_bytes_max};

/// From this version on topics are named by id.
const IDS_FROM: i16 = 10;

const COMPACT: Lengths = Lengths::Compact;

/// Partition, offset, epoch, metadata, tags.
const COMMIT_PARTITION_BYTES_MIN: usize = 4 + 8 + 4 + 1 + 1;
/// Id, a count, tags.
const TOPIC_BYTES_MIN: usize = 16 + 1 + 1;
/// Group, member, epoch, a count, tags.
const FETCH_GROUP_BYTES_MIN: usize = 1 + 1 + 4 + 1 + 1;

/// Decodes OffsetCommit in any version that is served.
pub(crate) fn offset_commit(
    header: &RequestHeader,
    body: Bytes,
) -> Result<m::OffsetCommitRequest, WireError> {
    if header.version < IDS_FROM {
        return by_codec(header, body);
    }
    let body = skim::check(header.api, header.version, body)?;
    let mut reader = Reader::new(&body, decoded_bytes_max(body.len()));
    let request = m::OffsetCommitRequest::default()
        .with_group_id(sliced(&body, reader.str(COMPACT)?).into())
        .with_generation_id_or_member_epoch(reader.i32()?)
        .with_member_id(sliced(&body, reader.str(COMPACT)?))
        .with_group_instance_id(text(&mut reader, &body)?);
    let topics = array(&mut reader, TOPIC_BYTES_MIN, |reader| {
        let id: Uuid = reader.uuid()?;
        let partitions = array(reader, COMMIT_PARTITION_BYTES_MIN, |reader| {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(reader.i32()?)
                .with_committed_offset(reader.i64()?)
                .with_committed_leader_epoch(reader.i32()?)
                .with_committed_metadata(text(reader, &body)?);
            reader.skip_tagged(COMPACT)?;
            Ok(partition)
        })?;
        reader.skip_tagged(COMPACT)?;
        let topic = OffsetCommitRequestTopic::default().with_topic_id(id);
        Ok(topic.with_partitions(partitions.unwrap_or_default()))
    })?;
    reader.skip_tagged(COMPACT)?;
    Ok(request.with_topics(topics.unwrap_or_default()))
}

/// Decodes OffsetFetch in any version that is served.
pub(crate) fn offset_fetch(
    header: &RequestHeader,
    body: Bytes,
) -> Result<m::OffsetFetchRequest, WireError> {
    if header.version < IDS_FROM {
        return by_codec(header, body);
    }
    let body = skim::check(header.api, header.version, body)?;
    let mut reader = Reader::new(&body, decoded_bytes_max(body.len()));
    let groups = array(&mut reader, FETCH_GROUP_BYTES_MIN, |reader| {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(sliced(&body, reader.str(COMPACT)?).into())
            .with_member_id(text(reader, &body)?)
            .with_member_epoch(reader.i32()?);
        let topics = array(reader, TOPIC_BYTES_MIN, |reader| {
            let id: Uuid = reader.uuid()?;
            let partitions = array(reader, 4, Reader::i32)?;
            reader.skip_tagged(COMPACT)?;
            let topic = OffsetFetchRequestTopics::default().with_topic_id(id);
            Ok(topic.with_partition_indexes(partitions.unwrap_or_default()))
        })?;
        reader.skip_tagged(COMPACT)?;
        Ok(group.with_topics(topics))
    })?;
    let require_stable = reader.i8()? != 0;
    reader.skip_tagged(COMPACT)?;
    Ok(m::OffsetFetchRequest::default()
        .with_groups(groups.unwrap_or_default())
        .with_require_stable(require_stable))
}

fn text(reader: &mut Reader<'_>, body: &Bytes) -> Result<Option<crate::StrBytes>, WireError> {
    let text = reader.nullable_str(COMPACT)?;
    Ok(text.map(|text| sliced(body, text)))
}

/// An array that may be null: where it may not be, the skim has refused it.
fn array<'a, T>(
    reader: &mut Reader<'a>,
    least_bytes: usize,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Option<Vec<T>>, WireError> {
    let Some(count) = reader.nullable_count(COMPACT, least_bytes, size_of::<T>())? else {
        return Ok(None);
    };
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        elements.push(element(reader)?);
    }
    Ok(Some(elements))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ApiKey;
    use crate::request::Request;
    use crate::testing::header;

    const ID: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn commits_by_id_are_read_field_by_field() {
        let mut body = b"\x02g\0\0\0\x05\x02m\x02i\x02".to_vec();
        body.extend(ID);
        // Partition 3 at offset 9, leader epoch 4, metadata "x".
        body.extend(b"\x02\0\0\0\x03\0\0\0\0\0\0\0\x09\0\0\0\x04\x02x\0\0\0");
        let request = Request::decode(&header(ApiKey::OffsetCommit, 10), body.into()).unwrap();
        let Request::OffsetCommit(request) = request else {
            panic!("{request:?}")
        };
        assert_eq!(&**request.group_id, "g");
        assert_eq!(request.generation_id_or_member_epoch, 5);
        assert_eq!(&*request.member_id, "m");
        assert_eq!(request.group_instance_id.as_deref(), Some("i"));
        assert_eq!(request.topics.len(), 1);
        assert_eq!(request.topics[0].topic_id, Uuid::from_bytes(ID));
        let partition = &request.topics[0].partitions[0];
        assert_eq!(
            (partition.partition_index, partition.committed_offset),
            (3, 9)
        );
        assert_eq!(partition.committed_leader_epoch, 4);
        assert_eq!(partition.committed_metadata.as_deref(), Some("x"));
    }

    #[test]
    fn fetches_by_id_are_read_field_by_field() {
        let mut body = b"\x03\x02g\x02m\0\0\0\x07\x02".to_vec();
        body.extend(ID);
        body.extend(b"\x03\0\0\0\x01\0\0\0\x02\0\0");
        // A group that asks for everything, as nobody.
        body.extend(b"\x02h\0\xff\xff\xff\xff\0\0\x01\0");
        let request = Request::decode(&header(ApiKey::OffsetFetch, 10), body.into()).unwrap();
        let Request::OffsetFetch(request) = request else {
            panic!("{request:?}")
        };
        assert!(request.require_stable);
        let [one, all] = &request.groups[..] else {
            panic!("{:?}", request.groups)
        };
        assert_eq!((&**one.group_id, one.member_epoch), ("g", 7));
        assert_eq!(one.member_id.as_deref(), Some("m"));
        let topics = one.topics.as_ref().unwrap();
        assert_eq!(topics[0].topic_id, Uuid::from_bytes(ID));
        assert_eq!(topics[0].partition_indexes, [1, 2]);
        assert_eq!((&**all.group_id, all.member_epoch), ("h", -1));
        assert!(all.member_id.is_none() && all.topics.is_none());
    }
}

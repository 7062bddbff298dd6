//! The header before each request and each answer.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api::ApiKey;
use crate::error::WireError;
use crate::primitives::{Lengths, Reader, sliced};

/// What an answer needs to know of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API asked for.
    pub api: ApiKey,
    /// Its version: always one that is served, except for ApiVersions, where any may stand here.
    pub version: i16,
    /// The client's number for the request, returned in the answer.
    pub correlation_id: i32,
}

/// A frame after its header was read.
#[derive(Debug, Clone)]
pub struct RequestFrame {
    /// What the answer needs.
    pub header: RequestHeader,
    /// The client's name for itself: a slice of the frame, which lives as long as this does.
    /// Invalid UTF-8 is replaced as Java does it.
    pub client_id: Option<StrBytes>,
    /// The body: a slice of the frame.
    pub body: Bytes,
}

impl RequestFrame {
    /// Reads the header of a frame.
    ///
    /// An unknown API or version is an error (Kafka closes the connection), except for a version
    /// of ApiVersions that is not served: that is to be answered.
    pub fn decode(frame: Bytes) -> Result<RequestFrame, WireError> {
        // Only the client id is kept, as a slice: the header costs no memory of its own.
        let mut reader = Reader::new(&frame, usize::MAX);
        let api = ApiKey::try_from(reader.i16()?)?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        if !api.row().served.contains(version) && api != ApiKey::ApiVersions {
            return Err(WireError::UnsupportedVersion { api, version });
        }
        // Of a 16-bit length in every version of the header.
        let client_id = reader
            .nullable_str(Lengths::Fixed)?
            .map(|id| sliced(&frame, id));
        if api.is_flexible(version) {
            reader.tagged(|_, _| Ok(false))?;
        }
        let body = frame.slice(reader.at()..);
        Ok(RequestFrame {
            header: RequestHeader {
                api,
                version,
                correlation_id,
            },
            client_id,
            body,
        })
    }
}

impl RequestHeader {
    /// Begins the answer: a length yet to be set, and the header.
    pub(crate) fn begin_answer(&self, buffer: &mut BytesMut) {
        buffer.put_i32(0);
        buffer.put_i32(self.correlation_id);
        if self.api.response_header_is_flexible(self.version) {
            buffer.put_u8(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::RequestHeader as CodecHeader;
    use kafka_protocol::protocol::Encodable;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::rows;

    fn frame(api_key: i16, version: i16, rest: &[u8]) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_i16(api_key);
        frame.put_i16(version);
        frame.put_i32(7);
        frame.put_slice(rest);
        frame.freeze()
    }

    #[test]
    fn headers_of_each_version_are_read_as_the_codec_writes_them() {
        for (api, version) in rows() {
            for client_id in [None, Some(StrBytes::from_static_str("a client"))] {
                let mut bytes = BytesMut::new();
                CodecHeader::default()
                    .with_request_api_key(api.key())
                    .with_request_api_version(version)
                    .with_correlation_id(-5)
                    .with_client_id(client_id.clone())
                    .encode(&mut bytes, if api.is_flexible(version) { 2 } else { 1 })
                    .unwrap();
                bytes.put_slice(b"body");
                let frame = RequestFrame::decode(bytes.freeze()).unwrap();
                assert_eq!(
                    frame.header,
                    RequestHeader {
                        api,
                        version,
                        correlation_id: -5
                    }
                );
                assert_eq!(frame.client_id, client_id);
                assert_eq!(frame.body, "body");
            }
        }
    }

    #[test]
    fn a_client_id_that_is_not_utf8_is_repaired_and_one_of_negative_length_is_null() {
        let decoded = RequestFrame::decode(frame(18, 0, b"\0\x02\xff\xfe")).unwrap();
        assert_eq!(decoded.client_id.as_deref(), Some("\u{fffd}\u{fffd}"));
        let decoded = RequestFrame::decode(frame(18, 0, b"\xff\xfb")).unwrap();
        assert_eq!(decoded.client_id, None);
    }

    #[test]
    fn unknown_apis_and_versions_are_refused_by_name() {
        let refused = |api_key, version| {
            RequestFrame::decode(frame(api_key, version, b"\xff\xff\0")).unwrap_err()
        };
        assert_eq!(refused(999, 0), WireError::UnknownApi { api_key: 999 });
        assert_eq!(refused(-1, 0), WireError::UnknownApi { api_key: -1 });
        for (api, version) in [
            (ApiKey::Produce, 2),
            (ApiKey::Produce, 14),
            (ApiKey::Metadata, 14),
            (ApiKey::Metadata, -1),
        ] {
            assert_eq!(
                refused(api.key(), version),
                WireError::UnsupportedVersion { api, version }
            );
        }
    }

    #[test]
    fn an_unknown_version_of_api_versions_is_no_error() {
        for version in [-1, 5, 99, i16::MAX] {
            let decoded = RequestFrame::decode(frame(18, version, b"\xff\xff\0junk")).unwrap();
            assert_eq!(
                (decoded.header.api, decoded.header.version),
                (ApiKey::ApiVersions, version)
            );
        }
        // Its header is read by the rules of the newest version: as a broker, which closes here.
        assert!(RequestFrame::decode(frame(18, 9, b"\xff\xff")).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = RequestFrame::decode(Bytes::from(bytes.clone()));
            for (api, version) in rows() {
                let mut all = frame(api.key(), version, &[]).to_vec();
                all.extend_from_slice(&bytes);
                let _ = RequestFrame::decode(Bytes::from(all));
            }
        }
    }
}

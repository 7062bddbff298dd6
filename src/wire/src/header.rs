//! The header before each request and each answer.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api::ApiKey;
use crate::error::{Problem, WireError};
use crate::primitives::Reader;

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
        let client_id = client_id(&mut reader, &frame)?;
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

/// The client id: a string of a 16-bit length in every version of the header.
fn client_id(reader: &mut Reader<'_>, frame: &Bytes) -> Result<Option<StrBytes>, WireError> {
    let length = reader.i16()?;
    let Ok(length) = usize::try_from(length) else {
        return match length {
            -1 => Ok(None),
            _ => Err(reader.error(Problem::NegativeLength(i64::from(length)))),
        };
    };
    let bytes = frame.slice_ref(reader.take(length)?);
    Ok(Some(StrBytes::from_utf8(bytes.clone()).unwrap_or_else(
        |_| StrBytes::from_string(String::from_utf8_lossy(&bytes).into_owned()),
    )))
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

//! What ApiVersions answers: the API table.
//!
//! As a 4.3.0 broker: a version that is not served is answered in version 0 with
//! UNSUPPORTED_VERSION and the versions of ApiVersions itself (KIP-511). Features and
//! the check of the client's software name are the handler's.

use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};

use crate::api::ApiKey;
use crate::header::RequestHeader;
use crate::response::{Encoded, Response, encode_response};

/// Kafka's UNSUPPORTED_VERSION. It is here because the wire answers an unknown version of
/// ApiVersions by itself; all other error codes are the broker's.
pub const UNSUPPORTED_VERSION: i16 = 35;

/// The answer to ApiVersions: every row of the table.
pub fn response() -> ApiVersionsResponse {
    ApiVersionsResponse::default().with_api_keys(ApiKey::ALL.iter().copied().map(entry).collect())
}

/// The answer to ApiVersions in a version that is not served.
pub fn unsupported_response(header: &RequestHeader) -> Encoded {
    let response = ApiVersionsResponse::default()
        .with_error_code(UNSUPPORTED_VERSION)
        .with_api_keys(vec![entry(ApiKey::ApiVersions)]);
    let header = RequestHeader {
        version: 0,
        ..*header
    };
    encode_response(&header, Response::ApiVersions(response))
        .expect("version 0 has all the fields that are set")
}

fn entry(api: ApiKey) -> ApiVersion {
    let row = api.row();
    ApiVersion::default()
        .with_api_key(row.key.key())
        .with_min_version(row.advertised.min)
        .with_max_version(row.advertised.max)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::Decodable;

    use super::*;

    #[test]
    fn the_table_is_told_in_each_version() {
        for version in ApiKey::ApiVersions.row().served.iter() {
            let header = RequestHeader {
                api: ApiKey::ApiVersions,
                version,
                correlation_id: 1,
            };
            let answer = response();
            let encoded = encode_response(&header, Response::ApiVersions(answer.clone())).unwrap();
            let mut body = encoded.pieces[0].slice(8..);
            assert_eq!(
                ApiVersionsResponse::decode(&mut body, version).unwrap(),
                answer
            );
            assert!(body.is_empty());
            let told = answer
                .api_keys
                .iter()
                .map(|key| (key.api_key, key.min_version, key.max_version));
            let table = ApiKey::ALL.iter().map(|api| {
                (
                    api.key(),
                    api.row().advertised.min,
                    api.row().advertised.max,
                )
            });
            assert!(told.eq(table));
        }
    }

    #[test]
    fn an_unknown_version_is_answered_byte_for_byte_as_a_broker_does() {
        let header = RequestHeader {
            api: ApiKey::ApiVersions,
            version: 9,
            correlation_id: 7,
        };
        let encoded = unsupported_response(&header);
        assert_eq!(encoded.total_bytes, 20);
        let expected = b"\0\0\0\x10\0\0\0\x07\0\x23\0\0\0\x01\0\x12\0\0\0\x04";
        assert_eq!(&*encoded.pieces[0], expected);
    }
}

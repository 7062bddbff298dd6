//! What ApiVersions answers: the API table.
//!
//! As a 4.3.0 broker: a client software name or version that breaks KIP-511's pattern is answered
//! with INVALID_REQUEST and no keys; a version that is not served is answered in version 0 with
//! UNSUPPORTED_VERSION and the versions of ApiVersions itself. There are no features to tell.

use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};

use crate::api::ApiKey;
use crate::header::RequestHeader;
use crate::response::{Encoded, Response, encode_response};

/// Kafka's UNSUPPORTED_VERSION. This and [`INVALID_REQUEST`] are here because the wire answers
/// ApiVersions by itself; all other error codes are the broker's.
pub const UNSUPPORTED_VERSION: i16 = 35;

/// Kafka's INVALID_REQUEST.
pub const INVALID_REQUEST: i16 = 42;

/// The answer to ApiVersions of `version`: every row of the table.
pub fn response(version: i16, request: &ApiVersionsRequest) -> ApiVersionsResponse {
    let names = [
        &request.client_software_name,
        &request.client_software_version,
    ];
    if version >= 3 && !names.into_iter().all(|name| is_software_name(name)) {
        return ApiVersionsResponse::default().with_error_code(INVALID_REQUEST);
    }
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

/// Letters, digits, dashes and dots, with a letter or digit at each end.
fn is_software_name(name: &str) -> bool {
    let at_end = |byte: &u8| byte.is_ascii_alphanumeric();
    let within = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let bytes = name.as_bytes();
    bytes.first().is_some_and(at_end)
        && bytes.last().is_some_and(at_end)
        && bytes.iter().all(within)
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
    use kafka_protocol::protocol::{Decodable, StrBytes};

    use super::*;

    fn request(name: &'static str, version: &'static str) -> ApiVersionsRequest {
        ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(name))
            .with_client_software_version(StrBytes::from_static_str(version))
    }

    #[test]
    fn the_table_is_told_in_each_version() {
        for version in ApiKey::ApiVersions.row().served.iter() {
            let header = RequestHeader {
                api: ApiKey::ApiVersions,
                version,
                correlation_id: 1,
            };
            let answer = response(version, &request("librdkafka", "2.12.1"));
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
    fn a_software_name_that_breaks_the_pattern_is_an_invalid_request_from_version_3_on() {
        for (name, valid) in [
            ("a", true),
            ("a-b.c9", true),
            ("", false),
            (" ", false),
            ("-a", false),
            ("a.", false),
            ("ä", false),
        ] {
            let code = if valid { 0 } else { INVALID_REQUEST };
            for request in [request(name, "1"), request("x", name)] {
                assert_eq!(response(3, &request).error_code, code, "{name:?}");
                assert_eq!(response(3, &request).api_keys.is_empty(), !valid);
                assert_eq!(response(2, &request).error_code, 0);
            }
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

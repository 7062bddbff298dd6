//! What ApiVersions answers: the API table.
//!
//! As a 4.3.0 broker: flexible extras (features, ZooKeeper migration) only where a version has
//! them, and a version that is not served is answered in version 0 with UNSUPPORTED_VERSION and
//! the versions of ApiVersions itself (KIP-511).

use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};

use crate::api::ApiKey;
use crate::header::RequestHeader;
use crate::response::{Encoded, Response, encode_response};

/// Kafka's UNSUPPORTED_VERSION: the one error code that belongs to the wire.
pub const UNSUPPORTED_VERSION: i16 = 35;

/// The answer to ApiVersions: every row of the table; no features.
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

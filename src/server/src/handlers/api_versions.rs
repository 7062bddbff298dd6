//! ApiVersions: what this broker speaks.

use tailwater_broker::error_code::INVALID_REQUEST;
use tailwater_wire::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use tailwater_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use tailwater_wire::{Encoded, RequestHeader, Response, StrBytes, api_versions};

use crate::router::RequestContext;

/// From this version on an answer has features.
const FEATURES_FROM: i16 = 3;
/// And from this one on such as may be 0.
const FEATURES_OF_ZERO_FROM: i16 = 4;

/// From this version on a client says what it is.
const CLIENT_SOFTWARE_FROM: i16 = 3;

pub(crate) fn handle(context: &RequestContext, request: &ApiVersionsRequest) -> Response {
    let names = [
        &request.client_software_name,
        &request.client_software_version,
    ];
    let bad = context.header.version >= CLIENT_SOFTWARE_FROM
        && names.into_iter().any(|name| !is_software_name(name));
    Response::ApiVersions(if bad {
        ApiVersionsResponse::default().with_error_code(INVALID_REQUEST)
    } else {
        features(context.header.version)
    })
}

/// What is served, and from the versions on that have it, that the new protocol of groups works.
fn features(version: i16) -> ApiVersionsResponse {
    let response = api_versions::response();
    if version < FEATURES_FROM {
        return response;
    }
    let name = StrBytes::from_static_str("group.version");
    let finalized = FinalizedFeatureKey::default()
        .with_name(name.clone())
        .with_max_version_level(1)
        .with_min_version_level(1);
    let response = response
        .with_finalized_features_epoch(0)
        .with_finalized_features(vec![finalized]);
    if version < FEATURES_OF_ZERO_FROM {
        return response;
    }
    let supported = SupportedFeatureKey::default()
        .with_name(name)
        .with_max_version(1);
    response.with_supported_features(vec![supported])
}

/// The answer to a version of ApiVersions that is not served.
pub(crate) fn unsupported(header: &RequestHeader) -> Option<Encoded> {
    Some(api_versions::unsupported_response(header))
}

/// KIP-511: letters, digits, dots and hyphens, beginning and ending with a letter or a digit.
fn is_software_name(name: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    ends(name.chars().next())
        && ends(name.chars().next_back())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-')
}

#[cfg(test)]
mod tests {
    use super::is_software_name;

    #[test]
    fn a_software_name_follows_kip_511() {
        for good in ["a", "apache-kafka-java", "4.3.0", "librdkafka", "0"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a/b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}

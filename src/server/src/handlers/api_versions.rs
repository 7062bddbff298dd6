//! ApiVersions: what this broker speaks.

use tailwater_broker::error_code::INVALID_REQUEST;
use tailwater_wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use tailwater_wire::{Encoded, RequestHeader, Response, api_versions};

use crate::router::RequestContext;

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
        api_versions::response()
    })
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

//! ApiVersions: what the played version advertises (broker-facts A8).
//!
//! It never closes: an unknown version gets error 35 in the shape of version 0.

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::messages::ApiVersionsRequest;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use crate::broker::api;
use crate::broker::cluster::TestCluster;
use crate::broker::serve::Outcome;
use crate::broker::takeover::Call;

/// Answers ApiVersions.
pub fn answer(cluster: &TestCluster, call: &Call) -> Outcome {
    let version = cluster.look(|state| state.spec.version);
    let keys = version.ranges().map(|(key, low, high)| {
        ApiVersion::default().with_api_key(key as i16).with_min_version(low).with_max_version(high)
    });
    let mut response = ApiVersionsResponse::default();
    let spoken = version.speaks(ApiKey::ApiVersions, call.version);
    if spoken && call.version >= 3 && !names_itself(call) {
        response.error_code = ResponseError::InvalidRequest.code();
        return api::encode(&response, call);
    }
    if spoken {
        response.api_keys = keys.collect();
        if call.version >= 1 {
            response.throttle_time_ms = cluster.look(|state| api::throttle_ms(state, call));
        }
        return api::encode(&response, call);
    }
    response.error_code = ResponseError::UnsupportedVersion.code();
    // a broker tells at least the versions of this very API
    response.api_keys = keys.filter(|key| key.api_key == ApiKey::ApiVersions as i16).collect();
    api::encode(&response, &Call { version: 0, ..call.clone() })
}

/// From version 3 on a client must say who it is, in letters, digits, dashes and dots.
fn names_itself(call: &Call) -> bool {
    let Some(request) = api::decode::<ApiVersionsRequest>(call) else { return false };
    let sound = |name: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner)
    };
    sound(&request.client_software_name) && sound(&request.client_software_version)
}

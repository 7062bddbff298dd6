//! Answers cut to what their version can carry.
//!
//! The codec refuses an answer with a field set that its version does not have. Handlers fill in
//! what they know, whatever the version; what a version lacks is taken out here, in one place. The
//! codec leaves out all other newer fields by itself.

use kafka_protocol::messages::{DescribeClusterResponse, MetadataResponse};
use kafka_protocol::protocol::StrBytes;

use crate::response::Response;

/// "Not asked for", in the bit fields of authorized operations.
const OPERATIONS_UNKNOWN: i32 = i32::MIN;

/// The answer without what `version` cannot carry.
pub(crate) fn fit(version: i16, mut response: Response) -> Response {
    match &mut response {
        Response::ListOffsets(response) if version < 4 => {
            for partition in response
                .topics
                .iter_mut()
                .flat_map(|topic| &mut topic.partitions)
            {
                partition.leader_epoch = -1;
            }
        }
        Response::Metadata(response) => metadata(version, response),
        Response::DescribeCluster(response) => describe_cluster(version, response),
        Response::InitProducerId(response) if version < 6 => {
            response.ongoing_txn_producer_id = (-1).into();
            response.ongoing_txn_producer_epoch = -1;
        }
        _ => fit_groups(version, &mut response),
    }
    response
}

/// As [`fit`], for the answers about groups.
fn fit_groups(version: i16, response: &mut Response) {
    match response {
        Response::JoinGroup(response) => {
            if version < 9 {
                response.skip_assignment = false;
            }
            // Before 7 the name cannot be null.
            if version < 7 && response.protocol_name.is_none() {
                response.protocol_name = Some(StrBytes::new());
            }
        }
        Response::LeaveGroup(response) if version < 3 => {
            // There is one member, and its error is the answer's.
            let error = response.members.drain(..).map(|member| member.error_code);
            let error = error.fold(
                response.error_code,
                |whole, own| if whole == 0 { own } else { whole },
            );
            response.error_code = error;
        }
        Response::DescribeGroups(response) if version < 6 => {
            for group in &mut response.groups {
                group.error_message = None;
                if version < 3 {
                    group.authorized_operations = OPERATIONS_UNKNOWN;
                }
            }
        }
        Response::ConsumerGroupDescribe(response) if version < 1 => {
            let members = response
                .groups
                .iter_mut()
                .flat_map(|group| &mut group.members);
            members.for_each(|member| member.member_type = -1);
        }
        _ => {}
    }
}

fn metadata(version: i16, response: &mut MetadataResponse) {
    if !(8..=10).contains(&version) {
        response.cluster_authorized_operations = OPERATIONS_UNKNOWN;
    }
    if version < 8 {
        for topic in &mut response.topics {
            topic.topic_authorized_operations = OPERATIONS_UNKNOWN;
        }
    }
}

fn describe_cluster(version: i16, response: &mut DescribeClusterResponse) {
    if version < 1 {
        response.endpoint_type = 1;
    }
    if version < 2 {
        for broker in &mut response.brokers {
            broker.is_fenced = false;
        }
    }
}

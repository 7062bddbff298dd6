//! DescribeLogDirs: the one log directory, with real sizes.

use std::sync::Arc;

use tailwater_broker::error_code;
use tailwater_broker::offsets::LogDir;
use tailwater_wire::Response;
use tailwater_wire::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use tailwater_wire::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use super::common::{text, topic_name};
use crate::shard::Shard;

pub(crate) async fn handle(shard: &Shard, request: DescribeLogDirsRequest) -> Response {
    let query = request.topics.map(|topics| {
        let topics = topics.into_iter();
        topics
            .map(|topic| (Arc::from(&**topic.topic), topic.partitions))
            .collect()
    });
    let response = DescribeLogDirsResponse::default();
    Response::DescribeLogDirs(match shard.broker.describe_log_dirs(query).await {
        Ok(dir) => response.with_results(vec![answer(dir)]),
        Err(error) => response.with_error_code(error.code()),
    })
}

fn answer(dir: LogDir) -> DescribeLogDirsResult {
    let topics = dir.topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, bytes)| {
            DescribeLogDirsPartition::default()
                .with_partition_index(index)
                .with_partition_size(bytes)
        });
        DescribeLogDirsTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(partitions.collect())
    });
    DescribeLogDirsResult::default()
        .with_error_code(error_code::NONE)
        .with_log_dir(text(dir.path))
        .with_topics(topics.collect())
        .with_total_bytes(dir.total_bytes)
        .with_usable_bytes(dir.usable_bytes)
}

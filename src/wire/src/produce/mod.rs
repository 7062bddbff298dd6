//! Produce, by decoders and encoders of our own: record bytes stay slices of the frame.

mod request;
mod response;

#[cfg(test)]
mod tests;

pub use request::{ProducePartition, ProduceRequest, ProduceTopic};
pub use response::{
    CurrentLeader, ProducePartitionResponse, ProduceResponse, ProduceTopicResponse, RecordError,
};

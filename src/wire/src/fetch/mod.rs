//! Fetch, by decoders and encoders of our own: records go out as the slices that they are.

mod request;
mod response;

#[cfg(test)]
mod tests;

pub use request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
pub use response::{
    AbortedTransaction, DivergingEpoch, FetchPartitionResponse, FetchResponse, FetchTopicResponse,
    RECORD_BYTES_MAX,
};

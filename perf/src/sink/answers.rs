//! What the sink answers, by the project's own wire: decoded and encoded as the broker does it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use tailwater_wire::messages::create_topics_response::CreatableTopicResult;
use tailwater_wire::messages::delete_topics_response::DeletableTopicResult;
use tailwater_wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use tailwater_wire::messages::{
    BrokerId, CreateTopicsResponse, DeleteTopicsResponse, InitProducerIdResponse, MetadataRequest,
    MetadataResponse, ProducerId, TopicName,
};
use tailwater_wire::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse,
};
use tailwater_wire::{
    ApiKey, Request, RequestFrame, Response, StrBytes, api_versions, encode_response,
};
use uuid::Uuid;

use crate::{clock, frames};

/// What a producer needs.
const SPOKEN: [ApiKey; 6] = [
    ApiKey::ApiVersions,
    ApiKey::Metadata,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::InitProducerId,
    ApiKey::Produce,
];
/// The last version that names topics; later ones have ids.
const PRODUCE_VERSION_MAX: i16 = 12;
/// Of a topic that somebody asks about.
const PARTITIONS: usize = 1;
const NODE: BrokerId = BrokerId(1);

/// How many records each partition of each topic was sent.
pub(super) struct Topics {
    addr: SocketAddr,
    records: BTreeMap<String, Topic>,
    producers: i64,
}

struct Topic {
    id: Uuid,
    next_offsets: Vec<i64>,
}

impl Topics {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            records: BTreeMap::new(),
            producers: 0,
        }
    }

    /// Answers a request at the end of `outbox`; says whether it was one to produce. The witness gets
    /// the stamps of its records.
    pub(super) fn answer(
        &mut self,
        frame: Bytes,
        outbox: &mut Vec<u8>,
        witness: Option<&mut Vec<(u64, u64)>>,
    ) -> anyhow::Result<bool> {
        let RequestFrame { header, body, .. } = RequestFrame::decode(frame)?;
        let request = Request::decode(&header, body)?;
        let produces = matches!(request, Request::Produce(_));
        let response = match request {
            Request::Produce(request) => {
                let response = self.produce(&request)?;
                if let Some(witness) = witness {
                    testify(&request, witness)?;
                }
                if request.acks == 0 {
                    return Ok(true);
                }
                Response::Produce(response)
            }
            Request::Metadata(request) => Response::Metadata(self.metadata(&request)),
            Request::ApiVersions(_) => Response::ApiVersions(versions()),
            Request::UnsupportedApiVersions => {
                put(outbox, &api_versions::unsupported_response(&header).pieces);
                return Ok(false);
            }
            Request::CreateTopics(request) => {
                let topics = request.topics.iter().map(|topic| {
                    let partitions = usize::try_from(topic.num_partitions).unwrap_or(PARTITIONS);
                    let id = self.topic(&topic.name, partitions).id;
                    CreatableTopicResult::default()
                        .with_name(topic.name.clone())
                        .with_topic_id(id)
                        .with_num_partitions(topic.num_partitions)
                        .with_replication_factor(1)
                });
                Response::CreateTopics(
                    CreateTopicsResponse::default().with_topics(topics.collect()),
                )
            }
            Request::DeleteTopics(request) => {
                let responses = request.topic_names.iter().map(|name| {
                    self.records.remove(name.as_str());
                    DeletableTopicResult::default().with_name(Some(name.clone()))
                });
                Response::DeleteTopics(
                    DeleteTopicsResponse::default().with_responses(responses.collect()),
                )
            }
            Request::InitProducerId(_) => {
                self.producers += 1;
                let response =
                    InitProducerIdResponse::default().with_producer_id(ProducerId(self.producers));
                Response::InitProducerId(response.with_producer_epoch(0))
            }
            _ => bail!("the sink does not speak {}", header.api.name()),
        };
        put(outbox, &encode_response(&header, response)?.pieces);
        Ok(produces)
    }

    fn topic(&mut self, name: &str, partitions: usize) -> &mut Topic {
        // An id that the name alone decides, so that nothing random is needed.
        let made = || {
            let mut id = [7_u8; 16];
            name.bytes()
                .enumerate()
                .for_each(|(at, byte)| id[at % 16] = id[at % 16].rotate_left(3) ^ byte);
            Topic {
                id: Uuid::from_bytes(id),
                next_offsets: vec![0; partitions.max(1)],
            }
        };
        self.records.entry(name.to_owned()).or_insert_with(made)
    }

    fn produce(&mut self, request: &ProduceRequest) -> anyhow::Result<ProduceResponse> {
        let mut response = ProduceResponse::default();
        for topic in &request.topics {
            let name = topic.topic.name().context("topics are named")?;
            let known = self.topic(name, PARTITIONS);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let next = usize::try_from(partition.index)
                    .ok()
                    .and_then(|index| known.next_offsets.get_mut(index));
                let next = next.context("a partition that is not there")?;
                let records = partition.records.as_deref().unwrap_or_default();
                partitions.push(ProducePartitionResponse {
                    base_offset: *next,
                    log_start_offset: 0,
                    ..ProducePartitionResponse::refused(partition.index, 0)
                });
                *next += frames::next_offset(records).unwrap_or(0);
            }
            response.topics.push(ProduceTopicResponse {
                topic: topic.topic.clone(),
                partitions,
            });
        }
        Ok(response)
    }

    fn metadata(&mut self, request: &MetadataRequest) -> MetadataResponse {
        let names: Vec<String> = match &request.topics {
            None => self.records.keys().cloned().collect(),
            Some(topics) => topics
                .iter()
                .filter_map(|topic| Some(topic.name.as_ref()?.to_string()))
                .collect(),
        };
        let topics = names.into_iter().map(|name| {
            let topic = self.topic(&name, PARTITIONS);
            let partitions = (0..topic.next_offsets.len()).map(|index| {
                MetadataResponsePartition::default()
                    .with_partition_index(i32::try_from(index).unwrap_or(i32::MAX))
                    .with_leader_id(NODE)
                    .with_leader_epoch(0)
                    .with_replica_nodes(vec![NODE])
                    .with_isr_nodes(vec![NODE])
            });
            MetadataResponseTopic::default()
                .with_topic_id(topic.id)
                .with_partitions(partitions.collect())
                .with_name(Some(TopicName(StrBytes::from_string(name))))
        });
        let topics = topics.collect();
        let broker = MetadataResponseBroker::default()
            .with_node_id(NODE)
            .with_host(StrBytes::from_string(self.addr.ip().to_string()))
            .with_port(i32::from(self.addr.port()));
        let response = MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_topics(topics);
        response
            .with_controller_id(NODE)
            .with_cluster_id(Some(StrBytes::from_static_str("discard")))
    }
}

fn versions() -> tailwater_wire::messages::ApiVersionsResponse {
    let mut response = api_versions::response();
    response
        .api_keys
        .retain(|row| SPOKEN.iter().any(|api| api.key() == row.api_key));
    for row in &mut response.api_keys {
        if row.api_key == ApiKey::Produce.key() {
            row.max_version = PRODUCE_VERSION_MAX;
        }
    }
    response
}

fn testify(request: &ProduceRequest, witness: &mut Vec<(u64, u64)>) -> anyhow::Result<()> {
    let now_ns = clock::now_ns();
    for partition in request.topics.iter().flat_map(|topic| &topic.partitions) {
        let records = partition.records.as_deref().unwrap_or_default();
        frames::read_stamps(records, |stamp| witness.push((stamp, now_ns)))?;
    }
    Ok(())
}

fn put(outbox: &mut Vec<u8>, pieces: &[Bytes]) {
    pieces
        .iter()
        .for_each(|piece| outbox.extend_from_slice(piece));
}

//! What is asked of a broker before and after a load: its versions, topics to be made and deleted.
//! By the codec, one request at a time, blocking.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};

use crate::frames;

/// How long a broker may take to answer, or to have a new topic served.
const ANSWER_MAX: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(5);

/// A connection for questions.
pub(crate) struct Control {
    stream: TcpStream,
    correlation: i32,
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: usize,
    pub(crate) configs: &'a [(&'a str, &'a str)],
}

impl Control {
    /// Connects.
    pub(crate) fn open(addr: SocketAddr) -> anyhow::Result<Self> {
        let stream =
            TcpStream::connect(addr).with_context(|| format!("nobody answers at {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self {
            stream,
            correlation: 0,
        })
    }

    fn call<R>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response>
    where
        R: Request + Encodable + HeaderVersion,
        R::Response: Decodable + HeaderVersion,
    {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("tailwater-perf")));
        let mut frame = BytesMut::zeroed(4);
        encode_request_header_into_buffer(&mut frame, &header)?;
        request.encode(&mut frame, version)?;
        let mut answer = self.exchange(&mut frame)?;
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        ensure!(
            header.correlation_id == self.correlation,
            "an answer to another request"
        );
        R::Response::decode(&mut answer, version)
    }

    /// Sends a frame, whose length is yet to be set, and returns the answer behind its length.
    fn exchange(&mut self, frame: &mut [u8]) -> anyhow::Result<Bytes> {
        let length = i32::try_from(frame.len() - 4)?.to_be_bytes();
        frame[..4].copy_from_slice(&length);
        self.stream.write_all(frame)?;
        let mut prefix = [0; 4];
        self.stream.read_exact(&mut prefix)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(prefix))?];
        self.stream.read_exact(&mut answer)?;
        Ok(Bytes::from(answer))
    }

    /// Fails unless the broker speaks the versions that the hot path is written in.
    pub(crate) fn check_versions(&mut self, reads: bool) -> anyhow::Result<()> {
        for (key, version) in [frames::PRODUCE, frames::FETCH] {
            let needed = key == frames::PRODUCE.0 || reads;
            ensure!(
                !needed || self.speaks(key, version)?,
                "the broker does not speak version {version} of API {key}"
            );
        }
        Ok(())
    }

    fn speaks(&mut self, key: i16, version: i16) -> anyhow::Result<bool> {
        let answer = self.call(0, &ApiVersionsRequest::default())?;
        let row = answer.api_keys.iter().find(|row| row.api_key == key);
        Ok(row.is_some_and(|row| (row.min_version..=row.max_version).contains(&version)))
    }

    /// Makes a topic and waits until all its partitions are served.
    pub(crate) fn create(&mut self, topic: &NewTopic<'_>) -> anyhow::Result<()> {
        let configs = topic.configs.iter().map(|(name, value)| {
            let config = CreatableTopicConfig::default()
                .with_name(StrBytes::from_string((*name).to_owned()));
            config.with_value(Some(StrBytes::from_string((*value).to_owned())))
        });
        let creatable = CreatableTopic::default()
            .with_name(topic_name(topic.name))
            .with_num_partitions(i32::try_from(topic.partitions)?)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![creatable])
            .with_timeout_ms(60_000);
        for created in self.call(4, &request)?.topics {
            let said = created
                .error_message
                .map_or(String::new(), |said| said.to_string());
            ensure!(
                created.error_code == 0,
                "topic {} was refused with error {} {said}",
                topic.name,
                created.error_code
            );
        }
        let began = Instant::now();
        while self.leaders(topic.name)? < topic.partitions {
            ensure!(
                began.elapsed() < ANSWER_MAX,
                "topic {} has no leaders",
                topic.name
            );
            std::thread::sleep(RETRY);
        }
        let (key, version) = frames::FETCH;
        if self.speaks(key, version)? {
            self.await_served(topic)?;
        }
        Ok(())
    }

    fn leaders(&mut self, topic: &str) -> anyhow::Result<usize> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = self.call(4, &request.with_allow_auto_topic_creation(false))?;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(partitions
            .filter(|one| one.error_code == 0 && one.leader_id.0 >= 0)
            .count())
    }

    /// Kafka names leaders before they serve: a fetch that every partition answers says that they do.
    /// A sink that serves none takes everything at once.
    fn await_served(&mut self, topic: &NewTopic<'_>) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let mut fetch = frames::FetchFrame::new(topic.name, topic.partitions, 0, 1);
            self.correlation += 1;
            fetch.stamp(self.correlation);
            let mut frame = fetch.bytes().to_vec();
            let answer = self.exchange(&mut frame)?;
            match crate::answers::fetched(answer.chunk(), |_| Ok(())) {
                Ok(()) => return Ok(()),
                Err(error) if began.elapsed() > ANSWER_MAX => {
                    bail!("topic {}: {error}", topic.name)
                }
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    /// Deletes a topic.
    pub(crate) fn delete(&mut self, topic: &str) -> anyhow::Result<()> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic_name(topic)])
            .with_timeout_ms(60_000);
        for deleted in self.call(4, &request)?.responses {
            ensure!(
                deleted.error_code == 0,
                "deleting {topic} was refused with error {}",
                deleted.error_code
            );
        }
        Ok(())
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// How long a broker takes until it answers ApiVersions, asked again and again from `began` on.
pub(crate) fn await_answer(
    addr: SocketAddr,
    began: Instant,
    at_most: Duration,
) -> anyhow::Result<Duration> {
    loop {
        let asked = Control::open(addr)
            .and_then(|mut control| control.call(0, &ApiVersionsRequest::default()));
        match asked {
            Ok(_) => return Ok(began.elapsed()),
            Err(error) if began.elapsed() > at_most => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

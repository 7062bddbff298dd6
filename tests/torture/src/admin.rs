//! The admin calls of librdkafka, each waited for.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use crate::failure::{Failure, fail};

const ANSWER_MAX: Duration = Duration::from_secs(30);

pub(crate) struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    pub(crate) fn new(bootstrap: &str) -> Result<Self, Failure> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        Ok(Self(config.create()?))
    }

    pub(crate) fn create(
        &self,
        topic: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> Result<(), Failure> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = configs
            .iter()
            .fold(new, |new, (key, value)| new.set(key, value));
        for result in wait(self.0.create_topics([&new], &options()))? {
            if let Err((topic, code)) = result {
                return fail(format!("topic {topic} was not created: {code}"));
            }
        }
        Ok(())
    }

    pub(crate) fn delete(&self, topic: &str) -> Result<(), Failure> {
        for result in wait(self.0.delete_topics(&[topic], &options()))? {
            if let Err((topic, code)) = result {
                return fail(format!("topic {topic} was not deleted: {code}"));
            }
        }
        Ok(())
    }

    /// The names of all topics, sorted.
    pub(crate) fn topics(&self) -> Result<Vec<String>, Failure> {
        let metadata = self.0.inner().fetch_metadata(None, ANSWER_MAX)?;
        let mut names: Vec<String> = metadata
            .topics()
            .iter()
            .map(|topic| topic.name().to_owned())
            .filter(|name| name != OFFSETS_TOPIC)
            .collect();
        names.sort();
        Ok(names)
    }
}

/// The broker's own, made when the first client looks for a group's coordinator.
const OFFSETS_TOPIC: &str = "__consumer_offsets";

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(ANSWER_MAX))
        .operation_timeout(Some(ANSWER_MAX))
}

/// Waits for a future on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

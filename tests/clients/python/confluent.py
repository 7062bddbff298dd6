#!/usr/bin/env python3
"""confluent-kafka (librdkafka): admin, every codec and acks level, consuming by assignment."""
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from common import ACKS, CODECS, OFFSET, RUN, TIMED, VECTORS, compare, report

BOOTSTRAP = sys.argv[1]
admin = AdminClient({"bootstrap.servers": BOOTSTRAP})


def create(topic, partitions=1, **config):
    created = admin.create_topics([NewTopic(topic, partitions, 1, config=config)])
    created[topic].result(20)


def produce(topic, codec, acks, **more):
    config = {"bootstrap.servers": BOOTSTRAP, "compression.codec": codec, "acks": acks, "linger.ms": 5}
    producer = Producer({**config, **more})
    failures = []

    def delivered(error, _message):
        if error is not None:
            failures.append(error)

    for v in VECTORS:
        producer.produce(
            topic,
            key=v["key"],
            value=v["value"],
            headers=v["headers"],
            timestamp=v["timestamp"],
            partition=0,
            on_delivery=delivered,
        )
    left = producer.flush(30)
    if left or failures:
        raise AssertionError(f"{left} unsent, failures {failures[:2]}")


def read(topic, start, count, partition=0, at=None):
    consumer = Consumer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "group.id": "unused",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "check.crcs": True,
        }
    )
    try:
        where = TopicPartition(topic, partition, start if at is None else at)
        if at is not None:
            where = consumer.offsets_for_times([where], timeout=20)[0]
        consumer.assign([where])
        got = []
        while len(got) < count:
            message = consumer.poll(20)
            if message is None:
                raise AssertionError(f"nothing more after {len(got)} records")
            if message.error():
                raise AssertionError(str(message.error()))
            got.append(
                {
                    "key": message.key(),
                    "value": message.value(),
                    "headers": message.headers() or [],
                    "timestamp": message.timestamp()[1],
                    "offset": message.offset(),
                }
            )
        return got
    finally:
        consumer.close()


def all_reads(topic):
    n = len(VECTORS)
    compare(read(topic, OFFSET_BEGINNING, n), 0)
    compare(read(topic, OFFSET, n - OFFSET), OFFSET)
    compare(read(topic, None, n - TIMED, at=VECTORS[TIMED]["timestamp"]), TIMED)


def cell(codec, acks):
    def test():
        topic = f"{RUN}-confluent-{codec}-{acks}"
        create(topic)
        produce(topic, codec, acks)
        all_reads(topic)

    return test


def idempotent():
    topic = f"{RUN}-confluent-idempotent"
    create(topic)
    produce(topic, "lz4", "all", **{"enable.idempotence": True})
    all_reads(topic)


def administration():
    topic = f"{RUN}-confluent-admin"
    create(topic, 2, **{"retention.ms": "3600000"})
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(20)
    topics = admin.list_topics(timeout=20).topics
    if len(topics[topic].partitions) != 4:
        raise AssertionError("partitions were not added")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    config = admin.describe_configs([resource])[resource].result(20)
    if config["retention.ms"].value != "3600000":
        raise AssertionError(f"retention.ms is {config['retention.ms'].value}")
    low, high = Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": "unused"}).get_watermark_offsets(
        TopicPartition(topic, 3), timeout=20
    )
    if (low, high) != (0, 0):
        raise AssertionError(f"watermarks {(low, high)}")
    admin.delete_topics([topic])[topic].result(20)
    if topic in admin.list_topics(timeout=20).topics:
        raise AssertionError("the topic is still listed")




if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[2] == "read":
        for topic in sys.argv[3:]:
            report(f"confluent reads {topic}", lambda t=topic: compare(read(t, OFFSET_BEGINNING, len(VECTORS)), 0))
        sys.exit(0)
    for codec in CODECS:
        for acks in ACKS:
            report(f"confluent {codec} acks={acks}", cell(codec, acks))
    report("confluent idempotent", idempotent)
    report("confluent admin", administration)

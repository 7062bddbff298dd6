"""The broker under test, and a producer that never stops while the groups read."""
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
import brokers  # noqa: E402
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

from lane import PARTITIONS  # noqa: E402


class World:
    def __init__(self, work, consumer_session_ms, flags=()):
        self.work = Path(work)
        self.work.mkdir(parents=True)
        self.flags = [
            *("--set", f"group.consumer.session.timeout.ms={consumer_session_ms}"),
            *("--set", "group.consumer.heartbeat.interval.ms=500"),
            *("--wal-size", "64MiB"),
            *flags,
        ]
        self.port = brokers.free_port()
        self.log = open(self.work / "broker.log", "ab")
        self.start()
        self.acknowledged = {}  # topic -> {(partition, offset): value}
        self.refused = []
        self.sending = threading.Event()
        self.sender = None

    def start(self):
        self.broker, self.address = brokers.start_ours(self.work, self.flags, self.port, self.log)
        brokers.wait_port(self.broker, self.address)
        # One of its own for each start: what one still waits for when its broker goes is lost.
        self.admin = AdminClient({"bootstrap.servers": self.address, "reconnect.backoff.max.ms": 500, "log_level": 2})

    def kill(self):
        self.broker.kill()
        self.broker.wait()

    def topics(self, names, partitions=PARTITIONS):
        for future in self.admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
            future.result(20)

    def produce(self, topics):
        """From now on to all partitions, a record to each ten times a second, until `produced`."""
        self.acknowledged.update({topic: {} for topic in topics})
        self.sending.set()
        self.sender = threading.Thread(target=self._send, args=(topics,), daemon=True)
        self.sender.start()

    def produced(self):
        """Ends it; all that was sent is acknowledged then, or it raises."""
        self.sending.clear()
        self.sender.join(90)
        if self.sender.is_alive() or self.refused:
            raise AssertionError(f"the producer ended badly: {self.refused[:2]}")

    def _send(self, topics):
        config = {"bootstrap.servers": self.address, "enable.idempotence": True, "reconnect.backoff.max.ms": 500}
        producer = Producer({**config, "linger.ms": 5, "message.timeout.ms": 60_000, "log_level": 2})

        def delivered(error, message):
            if error is not None:
                self.refused.append(error)
            else:
                where = message.partition(), message.offset()
                self.acknowledged[message.topic()][where] = message.value().decode()

        number = 0
        while self.sending.is_set():
            for topic in topics:
                for partition in range(PARTITIONS):
                    value = f"{topic}-{partition}-{number}"
                    producer.produce(topic, value.encode(), partition=partition, on_delivery=delivered)
            number += 1
            until = time.monotonic() + 0.1
            while (left := until - time.monotonic()) > 0:
                producer.poll(left)
        if producer.flush(60):
            self.refused.append("records that were never answered")

    def committed(self, group, topic):
        """The group's offsets as the broker has them, by partition."""
        wanted = [TopicPartition(topic, each) for each in range(PARTITIONS)]
        until = time.monotonic() + 30
        while True:
            asked = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, wanted)])
            try:
                found = asked[group].result(20).topic_partitions
                return {each.partition: each.offset for each in found if each.offset >= 0}
            except KafkaException as error:
                # A broker that has just started reads the groups first, and says so.
                if error.args[0].code() != KafkaError.COORDINATOR_LOAD_IN_PROGRESS or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def close(self):
        self.sending.clear()
        self.kill()
        self.log.close()

#!/usr/bin/env python3
"""aiokafka: admin, every codec and acks level, consuming by assignment."""
import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from common import ACKS, CODECS, OFFSET, RUN, TIMED, VECTORS, compare, report

BOOTSTRAP = sys.argv[1]


async def create(topic):
    admin = AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()


async def produce(topic, codec, acks):
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP,
        compression_type=None if codec == "none" else codec,
        acks=acks if acks == "all" else int(acks),
    )
    await producer.start()
    try:
        for v in VECTORS:
            await producer.send(
                topic,
                key=v["key"],
                value=v["value"],
                headers=v["headers"],
                timestamp_ms=v["timestamp"],
                partition=0,
            )
        await producer.flush()
    finally:
        await producer.stop()


async def read(topic, count, offset=None, time=None):
    consumer = AIOKafkaConsumer(bootstrap_servers=BOOTSTRAP, enable_auto_commit=False, check_crcs=True)
    await consumer.start()
    try:
        where = TopicPartition(topic, 0)
        consumer.assign([where])
        if time is not None:
            offset = (await consumer.offsets_for_times({where: time}))[where].offset
        if offset is None:
            await consumer.seek_to_beginning(where)
        else:
            consumer.seek(where, offset)
        got = []
        while len(got) < count:
            m = await asyncio.wait_for(consumer.getone(), 20)
            got.append(
                {
                    "key": m.key,
                    "value": m.value,
                    "headers": list(m.headers),
                    "timestamp": m.timestamp,
                    "offset": m.offset,
                }
            )
        return got
    finally:
        await consumer.stop()


async def cell(codec, acks):
    topic = f"{RUN}-aiokafka-{codec}-{acks}"
    n = len(VECTORS)
    await create(topic)
    await produce(topic, codec, acks)
    compare(await read(topic, n), 0)
    compare(await read(topic, n - OFFSET, offset=OFFSET), OFFSET)
    compare(await read(topic, n - TIMED, time=VECTORS[TIMED]["timestamp"]), TIMED)


if __name__ == "__main__":
    for codec in CODECS:
        for acks in ACKS:
            report(f"aiokafka {codec} acks={acks}", lambda c=codec, a=acks: asyncio.run(cell(c, a)))

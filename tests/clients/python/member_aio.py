#!/usr/bin/env python3
"""One member of a group with aiokafka; what its lines mean stands in groups/lane.py."""
import asyncio
import os
import signal
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import KafkaError

BOOTSTRAP, TOPIC, GROUP, _PROTOCOL, NAME, SESSION_MS, *INSTANCE = sys.argv[1:]


def say(line):
    os.write(1, f"{NAME} {line}\n".encode())


class Told(ConsumerRebalanceListener):
    def on_partitions_assigned(self, assigned):
        say(" ".join(["+", *(str(each.partition) for each in assigned)]))

    def on_partitions_revoked(self, revoked):
        say(" ".join(["-", *(str(each.partition) for each in revoked)]))


async def main():
    leaving = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leaving.set)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=BOOTSTRAP,
        group_id=GROUP,
        client_id=NAME,
        group_instance_id=INSTANCE[0] if INSTANCE else None,
        session_timeout_ms=int(SESSION_MS),
        heartbeat_interval_ms=500,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    consumer.subscribe([TOPIC], listener=Told())
    await consumer.start()
    while not leaving.is_set():
        ends = {}
        for where, messages in (await consumer.getmany(timeout_ms=100)).items():
            for each in messages:
                say(f"R {each.partition} {each.offset} {each.value.decode()}")
            ends[where] = messages[-1].offset + 1
        if ends:
            try:
                await consumer.commit(ends)
                say(" ".join(["C", *(f"{where.partition}:{end}" for where, end in ends.items())]))
            except KafkaError as error:
                say(f"E commit: {error!r}")
    await consumer.stop()


asyncio.run(main())

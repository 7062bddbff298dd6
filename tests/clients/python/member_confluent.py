#!/usr/bin/env python3
"""One member of a group with confluent-kafka; what its lines mean stands in groups/lane.py."""
import os
import signal
import sys

from confluent_kafka import Consumer, KafkaException, TopicPartition

BOOTSTRAP, TOPIC, GROUP, PROTOCOL, NAME, SESSION_MS, *INSTANCE = sys.argv[1:]
leaving = False


def leave(*_):
    global leaving
    leaving = True


def say(line):
    os.write(1, f"{NAME} {line}\n".encode())


def told(sign):
    return lambda _, partitions: say(" ".join([sign, *(str(each.partition) for each in partitions)]))


def config():
    all_of_them = {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": GROUP,
        "client.id": NAME,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "reconnect.backoff.max.ms": 500,
        "fetch.wait.max.ms": 100,
    }
    if PROTOCOL == "consumer":
        all_of_them["group.protocol"] = "consumer"
    else:
        all_of_them["session.timeout.ms"] = int(SESSION_MS)
        all_of_them["heartbeat.interval.ms"] = 500
        strategy = "cooperative-sticky" if PROTOCOL == "cooperative" else "range"
        all_of_them["partition.assignment.strategy"] = strategy
    if INSTANCE:
        all_of_them["group.instance.id"] = INSTANCE[0]
    return all_of_them


def commit(consumer, ends):
    if not ends:
        return
    try:
        offsets = [TopicPartition(TOPIC, partition, end) for partition, end in ends.items()]
        done = consumer.commit(offsets=offsets, asynchronous=False)
        good = [f"{each.partition}:{each.offset}" for each in done if each.error is None]
        if good:
            say(" ".join(["C", *good]))
    except KafkaException as error:
        say(f"E commit: {error}")


signal.signal(signal.SIGTERM, leave)
members = Consumer(config())
members.subscribe([TOPIC], on_assign=told("+"), on_revoke=told("-"), on_lost=told("-"))
while not leaving:
    next_ones = {}
    for message in members.consume(num_messages=200, timeout=0.1):
        if message.error():
            say(f"E poll: {message.error()}")
            continue
        say(f"R {message.partition()} {message.offset()} {message.value().decode()}")
        next_ones[message.partition()] = message.offset() + 1
    commit(members, next_ones)
members.close()

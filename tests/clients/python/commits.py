#!/usr/bin/env python3
"""Commits offsets of some groups, many times each, and prints the last of each.

usage: commits.py HOST:PORT TOPIC FIRST [NAME=VALUE...]
The last arguments are configurations for __consumer_offsets.
"""
import sys
import time

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

BOOTSTRAP, TOPIC, FIRST = sys.argv[1], sys.argv[2], int(sys.argv[3])
GROUPS, ROUNDS = 4, 25

admin = AdminClient({"bootstrap.servers": BOOTSTRAP})
try:
    admin.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result(20)
except Exception as error:  # noqa: BLE001 - made by an earlier call
    if "exists" not in str(error):
        raise


def member(group):
    return Consumer({"bootstrap.servers": BOOTSTRAP, "group.id": f"{TOPIC}-{group}", "enable.auto.commit": False})


members = [member(group) for group in range(GROUPS)]


def commit(group, partition, offset):
    where = TopicPartition(TOPIC, partition, offset, metadata=f"note {offset}")
    [done] = members[group].commit(offsets=[where], asynchronous=False)
    if done.error is not None:
        raise done.error


commit(0, 0, FIRST)  # Now the topic is there.
resource = ConfigResource(ConfigResource.Type.TOPIC, "__consumer_offsets")
for pair in sys.argv[4:]:
    name, value = pair.split("=")
    resource.add_incremental_config(ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET))
admin.incremental_alter_configs([resource])[resource].result(20)

for offset in range(FIRST + 1, FIRST + ROUNDS):
    for group in range(GROUPS):
        for partition in range(2):
            commit(group, partition, offset)
    time.sleep(0.02)
# A segment is closed by its age at the next append.
time.sleep(0.4)
for group in range(GROUPS):
    for partition in range(2):
        commit(group, partition, FIRST + ROUNDS)
        print(f"{TOPIC}-{group} {TOPIC} {partition} {FIRST + ROUNDS}")
for each in members:
    each.close()

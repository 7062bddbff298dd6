#!/usr/bin/env python3
"""Stock clients against a broker with shard-direct routing: each finds the right shard by itself, so
that no request crosses over, by the broker's own count.

  groups/direct.py WORK CLASSES    in WORK, with the compiled Java member
"""
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from clients import JAVA, SCRATCH, clients
from lane import Lane
from run import PROTOCOLS, Steps, begin, finish, shared
from world import World

import brokers

SHARDS = 3
FLAGS = ["--shards", str(SHARDS), "--shard-direct", "--shard-port-base", "0"]
RECORDS, RECORD_BYTES = 20_000, 1000


def tool(world, name, *words, at="--bootstrap-server"):
    """What one of Kafka's own tools prints."""
    command = [*JAVA, "-cp", brokers.jars(), f"org.apache.kafka.tools.{name}"]
    if at:
        command += [at, world.address]
    return subprocess.run([*command, *words], check=True, timeout=60, capture_output=True, text=True).stdout


def counted(world):
    """What the broker has counted since its start, by name."""
    log = world.work / "broker.log"
    before = log.stat().st_size
    world.broker.send_signal(signal.SIGUSR1)
    until = time.monotonic() + 20
    while True:
        told = re.search(r"counted since the start:\n((?:\w+ \d+\n)+)", log.read_bytes()[before:].decode())
        if told:
            return {name: int(number) for name, number in (line.split() for line in told[1].splitlines())}
        if time.monotonic() > until:
            raise AssertionError("the broker did not tell its counters")
        time.sleep(0.05)


def java_producer(world):
    world.topics(["sizes"])
    props = ["--producer-props", f"bootstrap.servers={world.address}", "acks=all", "batch.size=8192"]
    load = ["--num-records", str(RECORDS), "--record-size", str(RECORD_BYTES), "--throughput", "-1"]
    said = tool(world, "ProducerPerformance", "--topic", "sizes", *load, *props, at=None)
    assert f"{RECORDS} records sent" in said, said


def franz_go(world):
    said = subprocess.run([SCRATCH / "go" / "matrix", world.address], timeout=60, capture_output=True, text=True).stdout
    assert "PASS " in said and "FAIL " not in said, said


def log_dirs(world):
    """Each partition is told of by one shard, with its size."""
    said = tool(world, "LogDirsCommand", "--describe", "--topic-list", "sizes")
    assert len(set(re.findall(r'"broker":(\d+)', said))) == SHARDS, said
    sizes = re.findall(r'"partition":"(sizes-\d+)","size":(\d+)', said)
    assert len(sizes) == len(dict(sizes)) == 6, said
    total = sum(int(size) for _, size in sizes)
    least = RECORDS * RECORD_BYTES
    assert least <= total <= least * 1.05, f"{total} bytes of {least}: {said}"


def consumer_groups(world, groups):
    listed = Counter(tool(world, "consumer.group.ConsumerGroupCommand", "--list").split())
    assert listed == Counter(groups), f"listed {listed}, there are {groups}"
    said = tool(world, "consumer.group.ConsumerGroupCommand", "--describe", "--all-groups", "--offsets")
    missing = [group for group in groups if group not in said]
    assert not missing, f"not described: {missing}: {said}"


def brokers_are_shards(world):
    nodes = world.admin.list_topics(timeout=20).brokers
    assert sorted(nodes) == [1000 + shard for shard in range(SHARDS)], nodes
    assert world.port not in [node.port for node in nodes.values()], nodes


def nothing_crosses(world):
    told = counted(world)
    assert told.get("commits", 0) > 0, told
    assert "mesh_requests" not in told, f"{told['mesh_requests']} requests crossed over: {told}"


def check(name, act, *words):
    began = time.monotonic()
    try:
        act(*words)
        print(f"PASS direct {name}, {time.monotonic() - began:.1f} s", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever went wrong is the report
        print(f"FAIL direct {name}: {error}", flush=True)


def main():
    work, classes = sys.argv[1:]
    world, lanes = World(Path(work), 6000, FLAGS), []
    try:
        of = clients(world.address, classes)
        for name, protocols in PROTOCOLS.items():
            for protocol in protocols:
                lane = Lane(of[name], protocol, f"direct-{name}-{protocol}", world.work / "errors")
                lane.label += ", direct"
                lanes.append(lane)
        world.topics([lane.topic for lane in lanes])
        check("the brokers are the shards", brokers_are_shards, world)
        steps = Steps(lanes)
        world.produce([lane.topic for lane in lanes])
        steps.all("two members share", begin("a", "b"), shared)
        finish(world, steps)
        check("a Java producer to many partitions", java_producer, world)
        check("kafka-log-dirs tells each partition once, and its size", log_dirs, world)
        check("kafka-consumer-groups lists each group once", consumer_groups, world, [lane.group for lane in lanes])
        check("the matrix of franz-go", franz_go, world)
        check("no request crossed over", nothing_crosses, world)
    finally:
        for lane in lanes:
            for process in lane.members.values():
                process.kill()
        world.close()


if __name__ == "__main__":
    main()

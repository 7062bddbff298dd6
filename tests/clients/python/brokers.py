#!/usr/bin/env python3
"""Starts a broker for a test: this one, or a real Kafka of one node from Maven's jars.

  brokers.py DIR [KEY=VALUE...]   a real Kafka; prints its address and process id once it answers,
                                  and ends it when standard input ends
"""
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

CLIENTS = Path(__file__).resolve().parents[1]
CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def jars():
    found = subprocess.run([CLIENTS / "jars"], check=True, stdout=subprocess.PIPE, text=True)
    return f"{found.stdout.strip()}/*"


def start_kafka(work, configs=()):
    """The process and the address of a new one; `configs` are lines KEY=VALUE."""
    port, controller = free_port(), free_port()
    config = Path(work) / "server.properties"
    config.write_text(
        "\n".join(
            [
                "process.roles=broker,controller",
                "node.id=1",
                f"controller.quorum.voters=1@127.0.0.1:{controller}",
                f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                "controller.listener.names=CONTROLLER",
                f"log.dirs={work}/kafka",
                "offsets.topic.replication.factor=1",
                "group.initial.rebalance.delay.ms=0",
                "transaction.state.log.replication.factor=1",
                "transaction.state.log.min.isr=1",
                *configs,
            ]
        )
    )
    java = ["java", "-Xmx1g", "-cp", jars()]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(config)], check=True, **quiet)
    return subprocess.Popen([*java, "kafka.Kafka", str(config)], **quiet), f"127.0.0.1:{port}"


def start_ours(work, flags=(), port=None, log=subprocess.DEVNULL):
    """The process and the address of this project's broker on `work`/ours."""
    binary = os.environ.get("BROKER_BIN") or CLIENTS.parents[1] / "target" / "release" / "tailwater"
    address = f"127.0.0.1:{port or free_port()}"
    shards = [] if "--shards" in flags else ["--shards", "2"]
    words = ["--listen", address, "--data-dir", f"{work}/ours", "--disk-reserve", "64MiB", *shards, *flags]
    return subprocess.Popen([str(binary), "serve", *words], stdout=subprocess.DEVNULL, stderr=log), address


def wait_port(process, address, seconds=60):
    """Until it takes connections."""
    host, port = address.split(":")
    until = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the broker at {address} did not start") from None
            time.sleep(0.05)


if __name__ == "__main__":
    kafka, where = start_kafka(sys.argv[1], sys.argv[2:])
    try:
        wait_port(kafka, where)
        print(where, kafka.pid, flush=True)
        sys.stdin.read()
    finally:
        kafka.kill()
        kafka.wait()

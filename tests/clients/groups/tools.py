#!/usr/bin/env python3
"""kafka-consumer-groups against this broker and a real Kafka: groups/tools.py WORK CLASSES"""
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
import brokers  # noqa: E402

work, classes = sys.argv[1:]
os.mkdir(work)
started = []
try:
    # As Kafka's is started: nobody waits for more members of a new group.
    started.append(brokers.start_ours(work, ["--set", "group.initial.rebalance.delay.ms=0"]))
    started.append(brokers.start_kafka(work))
    for each in started:
        brokers.wait_port(*each)
    java = ["java", "-Xmx256m", "-cp", f"{classes}:{brokers.jars()}", "GroupTools"]
    status = subprocess.run([*java, *(address for _, address in started)], check=False).returncode
finally:
    for process, _ in started:
        process.kill()
        process.wait()
sys.exit(status)

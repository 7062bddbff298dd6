#!/usr/bin/env python3
"""Checks what DumpLogSegments --offsets-decoder has printed; prints how many commits there are.

usage: dumped.py DUMP LAST   where LAST has a line a group and partition: GROUP TOPIC PARTITION OFFSET
"""
import json
import re
import sys

dump, last = (open(path, encoding="utf-8").read() for path in sys.argv[1:])
batches = re.findall(r"isvalid: (\w+)", dump)
assert batches and set(batches) == {"true"}, f"{len(batches)} batches, {set(batches)}"
assert "Found" not in dump, "a mismatch was found"
records = re.findall(r"^\| offset: (\d+) .*? key: (\{.*?\}) payload: (\{.*\})$", dump, re.MULTILINE)
committed = {}
for _, key, payload in records:
    key, payload = json.loads(key), json.loads(payload)
    if key["type"] in ("1", 1):
        data = key["data"]
        where = (data["group"], data["topic"], data["partition"])
        committed.setdefault(where, []).append(payload["data"]["offset"])
wanted = {}
for line in last.split("\n")[:-1]:
    group, topic, partition, offset = line.split(" ")
    wanted[(group, topic, int(partition))] = int(offset)
found = {where: offsets[-1] for where, offsets in committed.items()}
assert found == wanted, f"{found} and not {wanted}"
print(sum(len(offsets) for offsets in committed.values()))

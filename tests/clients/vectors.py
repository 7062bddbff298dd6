#!/usr/bin/env python3
"""Writes the records every client produces: the same bytes for all of them.

A line of JSON a record: key, value and header values in base64 or null, the timestamp in ms.
Keys and values that are null, empty, binary and large; headers repeated, empty and null.
"""
import base64
import hashlib
import json
import sys
import time

RECORDS = 40
# Recent, so that no retention takes them away while they are read.
BASE_MS = int(time.time()) * 1000 - 600_000
STEP_MS = 1_000


def noise(seed: int, length: int) -> bytes:
    out = b""
    counter = 0
    while len(out) < length:
        out += hashlib.sha256(f"{seed}/{counter}".encode()).digest()
        counter += 1
    return out[:length]


def text(data):
    return None if data is None else base64.b64encode(data).decode()


def record(i: int) -> dict:
    key = [None, b"", f"key-{i}".encode(), noise(i, 33)][i % 4]
    value = [noise(1000 + i, 700), f"value {i} ".encode() * 40, b"", noise(i, 1)][i % 4]
    if i == 7:
        value = None
    if i == 11:
        value = noise(77, 100_000)
    headers = []
    if i % 3 == 1:
        headers = [["trace", text(noise(i, 16))], ["trace", text(b"again")], ["empty", ""]]
    if i % 3 == 2:
        headers = [["h\u00e9ader", text(b"\x00\xff")]]
    if i % 6 == 2:
        headers.append(["nothing", None])
    return {"key": text(key), "value": text(value), "headers": headers, "timestamp": BASE_MS + i * STEP_MS}


if __name__ == "__main__":
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        for i in range(RECORDS):
            out.write(json.dumps(record(i)) + "\n")

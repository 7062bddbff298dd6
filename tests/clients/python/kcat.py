#!/usr/bin/env python3
"""kcat: produces lines with keys and headers by every codec and acks level, reads them back."""
import json
import subprocess
import sys

from common import ACKS, CODECS, OFFSET, RUN, TIMED, report

BOOTSTRAP = sys.argv[1]
LINES = [f"key {i}\tline {i} " + "word " * (i * 7) for i in range(40)]


def kcat(*words, **more):
    done = subprocess.run(
        ["kcat", "-b", BOOTSTRAP, *words], capture_output=True, timeout=60, check=False, text=True, **more
    )
    if done.returncode != 0:
        raise AssertionError(f"kcat {' '.join(words)}: {done.stderr.strip()[-300:]}")
    return done.stdout


def read(topic, start):
    out = kcat("-C", "-t", topic, "-p", "0", "-o", start, "-e", "-J", "-q", "-X", "fetch.wait.max.ms=20")
    return [json.loads(line) for line in out.splitlines()]


def compare(got, first):
    want = [line.split("\t") for line in LINES[first:]]
    if [[g["key"], g["payload"]] for g in got] != want:
        raise AssertionError(f"keys or values from {first} on differ ({len(got)} records)")
    if [g["offset"] for g in got] != list(range(first, len(LINES))):
        raise AssertionError(f"offsets from {first} on differ")
    if any(g["headers"] != ["trace", "a", "trace", "b"] for g in got):
        raise AssertionError("headers differ")


def cell(codec, acks):
    def test():
        topic = f"{RUN}-kcat-{codec}-{acks}"
        produce = ["-P", "-t", topic, "-p", "0", "-K", "\t", "-H", "trace=a", "-H", "trace=b"]
        options = ["-X", f"compression.codec={codec}", "-X", f"acks={acks}", "-X", "batch.num.messages=8"]
        kcat(*produce, *options, input="\n".join(LINES) + "\n")
        everything = read(topic, "beginning")
        compare(everything, 0)
        compare(read(topic, str(OFFSET)), OFFSET)
        # Lines of one batch can share a millisecond: the first record at or after it is right.
        at = everything[TIMED]["ts"]
        compare(read(topic, f"s@{at}"), next(g["offset"] for g in everything if g["ts"] >= at))

    return test


def group():
    """A group reads a part, and resumes where it stopped."""
    topic = f"{RUN}-kcat-group"
    kcat("-P", "-t", topic, "-p", "0", input="\n".join(f"line {i}" for i in range(40)) + "\n")
    got = []
    for count in (15, 25):
        out = kcat("-q", "-G", topic, "-c", str(count), "-X", "auto.offset.reset=earliest", topic)
        got += out.splitlines()
    if got != [f"line {i}" for i in range(40)]:
        raise AssertionError(f"{len(got)} lines: {got}")


def listing():
    out = json.loads(kcat("-L", "-J"))
    if not any(t["topic"] == f"{RUN}-kcat-none-all" for t in out["topics"]):
        raise AssertionError("the topic is not listed")


if __name__ == "__main__":
    for codec in CODECS:
        for acks in ACKS:
            report(f"kcat {codec} acks={acks}", cell(codec, acks))
    report("kcat -L", listing)
    report("kcat -G", group)

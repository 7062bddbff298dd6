"""What both Python clients share: the vectors, the comparison, the lines the runner counts."""
import base64
import json
import os
import sys
import traceback

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
ACKS = ["0", "1", "all"]
RUN = os.environ.get("RUN", "run")
OFFSET = 17
TIMED = 23


def unbase(text):
    return None if text is None else base64.b64decode(text)


def vectors():
    with open(os.environ["VECTORS"], encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            yield {
                "key": unbase(record["key"]),
                "value": unbase(record["value"]),
                "headers": [(k, unbase(v)) for k, v in record["headers"]],
                "timestamp": record["timestamp"],
            }


VECTORS = list(vectors())
if os.environ.get("NULL_HEADERS_AS_EMPTY"):  # what kafkajs can say
    for v in VECTORS:
        v["headers"] = [(k, h if h is not None else b"") for k, h in v["headers"]]


def compare(got, first):
    """Every byte of what was read against the vectors from `first` on."""
    want = VECTORS[first:]
    if len(got) != len(want):
        raise AssertionError(f"{len(got)} records, expected {len(want)}")
    for i, (g, w) in enumerate(zip(got, want)):
        for field in ("key", "value", "headers", "timestamp"):
            if g[field] != w[field]:
                raise AssertionError(f"record {first + i}: {field} is {g[field]!r:.80}, expected {w[field]!r:.80}")
        if g["offset"] != first + i:
            raise AssertionError(f"record {first + i} has offset {g['offset']}")


def report(name, test):
    """One line a test, which the runner counts."""
    try:
        test()
        print(f"PASS {name}", flush=True)
    except Exception as error:  # noqa: BLE001 - whatever went wrong is the report
        if os.environ.get("VERBOSE"):
            traceback.print_exc(file=sys.stderr)
        print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)

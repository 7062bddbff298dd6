"""The requests: for every API at least one good and three bad ones, each at every version.

A case is (name, value, damage): `value(v, ctx)` makes the request's dictionary at a version,
`damage` changes its encoded body. `ctx.id(topic)` is a topic's id at the broker that is asked.
"""
import struct
import time
import uuid

import groups
from batches import batch, record, zstd
from case import Case, good

T0 = int(time.time()) * 1000 - 60_000  # recent, so that no retention takes the records away
NOBODY = uuid.UUID("11111111-2222-4333-8444-555555555555")
LOG = "d-log"  # ten records in three batches, made by the set-up
TRUNCATED = "d-truncated"  # the same, with its first four deleted
ZSTD = "d-zstd"  # a topic of compression.type=zstd with one record in it
COMPACTED = "d-compacted"  # a topic of cleanup.policy=compact


def halve(body):
    return body[: len(body) // 2]


def empty(_body):
    return b""


def all_ones(body):
    return b"\xff" * max(len(body), 8)


# What every API gets besides its own.
DAMAGED = [("cut in half", halve), ("no body", empty), ("all ones", all_ones)]


def produce(topic, data, partition=0, acks=-1, transactional=None, known=None):
    def value(v, ctx):
        name = topic(v) if callable(topic) else topic
        records = data(v) if callable(data) else data
        entry = {"name": name, "topic_id": known or ctx.id(name), "partition_data": [{"index": partition, "records": records}]}
        return {"transactional_id": transactional, "acks": acks, "timeout_ms": 5000, "topic_data": [entry]}

    return value


def fresh(v):
    return f"d-produce-{v}"


KEYLESS = record(0, 0, b"k0", b"a") + record(1, 0, None, b"b")
GARBAGE = b"\x7f\x01\x02 not records at all"
NONE_ZSTD = zstd(record(0, 0, b"k0", b"a"))  # one record, as zstd that compresses nothing
PRODUCE = [
    good("three records", produce(fresh, batch([b"a", b"b", b"c"], T0))),
    good("idempotent", produce(fresh, lambda v: batch([b"a"], T0, producer=(9000 + v, 0, 0)))),
    good("the same again", produce(fresh, lambda v: batch([b"a"], T0, producer=(9000 + v, 0, 0)))),
    Case("a gap in the sequence", produce(fresh, lambda v: batch([b"a"], T0, producer=(9000 + v, 0, 5)))),
    good("a newer epoch", produce(fresh, lambda v: batch([b"a"], T0, producer=(9000 + v, 1, 0)))),
    Case("an old epoch", produce(fresh, lambda v: batch([b"a"], T0, producer=(9000 + v, 0, 1)))),
    Case("unknown topic", produce("d-nowhere", batch([b"a"], T0), known=NOBODY)),
    Case("unknown partition", produce(fresh, batch([b"a"], T0), partition=7)),
    Case("negative partition", produce(fresh, batch([b"a"], T0), partition=-1)),
    Case("wrong CRC", produce(fresh, batch([b"a"], T0, crc_xor=1))),
    Case("magic 1", produce(fresh, batch([b"a"], T0, magic=1))),
    Case("magic 3", produce(fresh, batch([b"a"], T0, magic=3))),
    Case("right CRC over garbage", produce(fresh, batch([b"a"], T0, records=GARBAGE))),
    Case("more records promised", produce(fresh, batch([b"a"], T0, count=2, last_delta=1))),
    Case("count and last offset differ", produce(fresh, batch([b"a", b"b"], T0, last_delta=5))),
    Case("two batches", produce(fresh, batch([b"a"], T0) + batch([b"b"], T0))),
    Case("a control batch", produce(fresh, batch([b"a"], T0, attributes=0x20))),
    Case("a transactional batch", produce(fresh, batch([b"a"], T0, attributes=0x10, producer=(77, 0, 0)))),
    Case("unknown codec", produce(fresh, batch([b"a"], T0, attributes=7))),
    Case("gzip over garbage", produce(fresh, batch([b"a"], T0, attributes=1, records=GARBAGE))),
    good("zstd", produce(fresh, batch([b"a"], T0, attributes=4, records=NONE_ZSTD))),
    good("to a topic of zstd", produce(ZSTD, batch([b"a"], T0))),
    good("to a compacted topic", produce(COMPACTED, batch([b"a", b"b"], T0))),
    good("a tombstone to a compacted topic", produce(COMPACTED, batch([], T0, records=record(0, 0, b"k0", None), count=1, last_delta=0))),
    Case("no key to a compacted topic", produce(COMPACTED, batch([], T0, records=KEYLESS, count=2, last_delta=1))),
    Case("acks of 5", produce(fresh, batch([b"a"], T0), acks=5)),
    Case("acks of 5, unknown topic", produce("d-nowhere", batch([b"a"], T0), acks=5, known=NOBODY)),
    Case("acks of 5, unknown partition", produce(fresh, batch([b"a"], T0), partition=7, acks=5)),
    Case("acks of 5, magic 1", produce(fresh, batch([b"a"], T0, magic=1), acks=5)),
    Case("acks of 5, two batches", produce(fresh, batch([b"a"], T0) + batch([b"b"], T0), acks=5)),
    Case("acks of 5, no records", produce(fresh, b"", acks=5)),
    Case("acks of 5, wrong CRC", produce(fresh, batch([b"a"], T0, crc_xor=1), acks=5)),
    Case("acks of 5, zstd", produce(fresh, batch([b"a"], T0, attributes=4, records=NONE_ZSTD), acks=5)),
    Case("acks of 5, too large", produce(fresh, batch([bytes(1_100_000)], T0), acks=5)),
    Case("too large", produce(fresh, batch([bytes(1_100_000)], T0))),
    Case("no records", produce(fresh, b"")),
    Case("null records", produce(fresh, None), patience=1),
    Case("an empty batch", produce(fresh, batch([], T0))),
    Case("from the future", produce(fresh, batch([b"a"], T0 * 3))),
    good("the log's end after all of it", produce(fresh, batch([b"z"], T0))),
]


def fetch(topic, offset, *, partition=0, max_bytes=1 << 20, part_bytes=1 << 20, epoch=-1, last_epoch=-1, known=None, **more):
    def value(v, ctx):
        part = {
            "partition": partition, "current_leader_epoch": epoch, "fetch_offset": offset,
            "last_fetched_epoch": last_epoch, "log_start_offset": -1, "partition_max_bytes": part_bytes,
            "high_watermark": (1 << 63) - 1,
        }  # fmt: skip
        entry = {"topic": topic, "topic_id": known or ctx.id(topic), "partitions": [part]}
        base = {
            "replica_id": -1, "max_wait_ms": 20, "min_bytes": 1, "max_bytes": max_bytes,
            "session_epoch": -1, "topics": [entry], "forgotten_topics_data": [], "rack_id": "",
        }  # fmt: skip
        return {**base, **more}

    return value


FETCH = [
    good("from the start", fetch(LOG, 0)),
    good("from the middle of a batch", fetch(LOG, 5)),
    good("at the end", fetch(LOG, 10)),
    good("one byte gives one batch", fetch(LOG, 0, max_bytes=1, part_bytes=1)),
    good("read committed", fetch(LOG, 0, isolation_level=1)),
    good("a new session", fetch(LOG, 0, session_epoch=0), versions=(7, 99)),
    good("after the log start", fetch(TRUNCATED, 4)),
    good("of a topic of zstd", fetch(ZSTD, 0, part_bytes=1)),
    Case("past the end of a topic of zstd", fetch(ZSTD, 5000)),
    Case("an unknown partition of a topic of zstd", fetch(ZSTD, 0, partition=9)),
    Case("before the log start", fetch(TRUNCATED, 1)),
    Case("past the end", fetch(LOG, 11)),
    Case("a negative offset", fetch(LOG, -5)),
    Case("unknown topic", fetch("d-nowhere", 0, known=NOBODY)),
    Case("unknown partition", fetch(LOG, 0, partition=9)),
    Case("an unknown session", fetch(LOG, 0, session_id=12345, session_epoch=3), versions=(7, 99)),
    Case("an unknown epoch", fetch(LOG, 0, epoch=99), versions=(9, 99)),
    Case("as a follower", fetch(LOG, 0, replica_id=5), versions=(4, 14)),
]


def list_offsets(topic, timestamp, partition=0, epoch=-1, isolation=0):
    part = {"partition_index": partition, "current_leader_epoch": epoch, "timestamp": timestamp}
    return lambda v, ctx: {
        "replica_id": -1, "isolation_level": isolation, "timeout_ms": 5000,
        "topics": [{"name": topic, "partitions": [part]}],
    }  # fmt: skip


LIST_OFFSETS = [
    good("earliest", list_offsets(LOG, -2)),
    good("latest", list_offsets(LOG, -1)),
    good("latest, read committed", list_offsets(LOG, -1, isolation=1)),
    good("largest timestamp", list_offsets(LOG, -3)),
    good("earliest local", list_offsets(LOG, -4)),
    good("latest tiered", list_offsets(LOG, -5)),
    good("by time", list_offsets(LOG, T0 + 1002)),
    good("by a time before all", list_offsets(LOG, 1)),
    good("by a time after all", list_offsets(LOG, T0 * 2)),
    good("earliest after deletion", list_offsets(TRUNCATED, -2)),
    Case("an unknown special time", list_offsets(LOG, -9)),
    Case("unknown topic", list_offsets("d-nowhere", -1)),
    Case("unknown partition", list_offsets(LOG, -1, partition=5)),
    Case("an unknown epoch", list_offsets(LOG, -1, epoch=50)),
    Case("twice the same partition", lambda v, ctx: {
        "replica_id": -1,
        "topics": [{"name": LOG, "partitions": [{"partition_index": 0, "current_leader_epoch": -1, "timestamp": -1}] * 2}],
    }),
]


def metadata(*names, ids=None, create=False, everything=False, **more):
    def value(v, ctx):
        topics = [{"topic_id": ctx.id(n) if ids == "known" else uuid.UUID(int=0), "name": n} for n in names]
        if ids == "known":
            topics = [{"topic_id": ctx.id(n), "name": None} for n in names]
        if ids == "unknown":
            topics = [{"topic_id": NOBODY, "name": None}]
        asked = topics
        if everything:
            asked = [] if v == 0 else None
        return {"topics": asked, "allow_auto_topic_creation": create, **more}

    return value


METADATA = [
    good("one topic", metadata(LOG)),
    good("two topics", metadata(LOG, TRUNCATED)),
    good("by id", metadata(LOG, ids="known"), versions=(12, 99)),
    good("no topic", metadata(), versions=(1, 99)),
    good("all", metadata(everything=True)),
    good("authorised operations", metadata(LOG, include_topic_authorized_operations=True, include_cluster_authorized_operations=True)),
    Case("unknown, not made", metadata("d-nowhere"), versions=(4, 99)),
    Case("unknown id", metadata(ids="unknown"), versions=(12, 99)),
    Case("an invalid name", metadata("d nowhere!", create=True)),
    Case("an empty name", metadata("")),
    Case("a name too long", metadata("x" * 250, create=True)),
]


def create(name, partitions=1, factor=1, configs=(), assignments=(), validate=False, twice=False):
    def value(v, ctx):
        topic = {
            "name": name(v) if callable(name) else name, "num_partitions": partitions, "replication_factor": factor,
            "assignments": [{"partition_index": i, "broker_ids": ids} for i, ids in assignments],
            "configs": [{"name": n, "value": x} for n, x in configs],
        }  # fmt: skip
        return {"topics": [topic] * (2 if twice else 1), "timeout_ms": 10000, "validate_only": validate}

    return value


CREATE = [
    good("made", create(lambda v: f"d-made-{v}", 3)),
    good("with configurations", create(lambda v: f"d-set-{v}", configs=[("retention.ms", "1000"), ("segment.bytes", "2097152")])),
    good("only checked", create(lambda v: f"d-checked-{v}", validate=True)),
    good("compacted", create(lambda v: f"d-compact-{v}", configs=[("cleanup.policy", "compact,delete"), ("min.cleanable.dirty.ratio", "0.25"), ("delete.retention.ms", "1000")])),
    good("no policy", create(lambda v: f"d-kept-{v}", configs=[("cleanup.policy", "")])),
    Case("an unknown policy", create("d-bad", configs=[("cleanup.policy", "shrink")])),
    Case("a policy twice", create("d-bad", configs=[("cleanup.policy", "compact,compact")])),
    Case("a ratio above one", create("d-bad", configs=[("min.cleanable.dirty.ratio", "1.5")])),
    Case("a ratio of nothing", create("d-bad", configs=[("min.cleanable.dirty.ratio", "")])),
    Case("lags that conflict", create("d-bad", configs=[("min.compaction.lag.ms", "9"), ("max.compaction.lag.ms", "8")])),
    Case("a lag of zero", create("d-bad", configs=[("max.compaction.lag.ms", "0")])),
    good("broker's defaults", create(lambda v: f"d-default-{v}", -1, -1), versions=(4, 99)),
    good("assigned", create(lambda v: f"d-assigned-{v}", -1, -1, assignments=[(0, [1]), (1, [1])])),
    Case("there already", create(LOG)),
    Case("an invalid name", create("no/slash")),
    Case("an empty name", create("")),
    Case("dot", create(".")),
    Case("a name too long", create("x" * 250)),
    Case("no partitions", create("d-none", 0)),
    Case("too many replicas", create("d-three", 1, 3)),
    Case("no replicas", create("d-zero", 1, 0)),
    Case("twice", create("d-twice", twice=True)),
    Case("an unknown configuration", create("d-bad", configs=[("no.such.thing", "1")])),
    Case("a value that is no number", create("d-bad", configs=[("retention.ms", "soon")])),
    Case("a value out of range", create("d-bad", configs=[("segment.bytes", "1")])),
    Case("assigned and counted", create("d-bad", 2, 1, assignments=[(0, [1])])),
    Case("assigned to nobody", create("d-bad", -1, -1, assignments=[(0, [99])])),
    Case("a gap in the assignment", create("d-bad", -1, -1, assignments=[(0, [1]), (2, [1])])),
]


def delete(name, by_id=False, known=None):
    def value(v, ctx):
        n = name(v) if callable(name) else name
        topic = {"name": None if by_id or known else n, "topic_id": known or (ctx.id(n) if by_id else uuid.UUID(int=0))}
        return {"topics": [topic], "topic_names": [n], "timeout_ms": 10000}

    return value


DELETE = [
    good("gone", delete(lambda v: f"d-made-{v}")),
    good("by id", delete(lambda v: f"d-set-{v}", by_id=True), versions=(6, 99)),
    Case("unknown", delete("d-nowhere")),
    Case("an empty name", delete("")),
    Case("unknown id", delete("d-nowhere", known=NOBODY), versions=(6, 99)),
    Case("an invalid name", delete("no/slash")),
]


def delete_records(topic, offset, partition=0):
    return lambda v, ctx: {
        "topics": [{"name": topic, "partitions": [{"partition_index": partition, "offset": offset}]}], "timeout_ms": 5000,
    }  # fmt: skip


DELETE_RECORDS = [
    good("up to what is gone", delete_records(TRUNCATED, 4)),
    good("nothing", delete_records(LOG, 0)),
    Case("past the end", delete_records(LOG, 99)),
    Case("a negative offset", delete_records(LOG, -7)),
    Case("unknown topic", delete_records("d-nowhere", 1)),
    Case("unknown partition", delete_records(LOG, 1, partition=4)),
]


def partitions(name, count, assignments=None, validate=False, twice=False):
    topic = {"name": name, "count": count, "assignments": assignments and [{"broker_ids": a} for a in assignments]}
    return lambda v, ctx: {"topics": [topic] * (2 if twice else 1), "timeout_ms": 10000, "validate_only": validate}


CREATE_PARTITIONS = [
    good("more", lambda v, ctx: partitions("d-grow", 2 + v)(v, ctx)),
    good("only checked", partitions("d-grow", 90, validate=True)),
    good("assigned", lambda v, ctx: partitions(f"d-default-{4 + v}", 2, [[1]])(v, ctx)),
    Case("as many", partitions(LOG, 1)),
    Case("fewer", partitions("d-two", 1)),
    Case("none", partitions("d-two", 0)),
    Case("unknown", partitions("d-nowhere", 3)),
    Case("assigned to nobody", partitions("d-two", 3, [[99]])),
    Case("assigned too few", partitions("d-two", 5, [[1]])),
    Case("twice", partitions("d-two", 4, twice=True)),
]


def epochs(topic, epoch, current=-1, partition=0):
    part = {"partition": partition, "current_leader_epoch": current, "leader_epoch": epoch}
    return lambda v, ctx: {"replica_id": -2, "topics": [{"topic": topic, "partitions": [part]}]}


EPOCHS = [
    good("the first", epochs(LOG, 0)),
    good("one to come", epochs(LOG, 50)),
    good("none", epochs(LOG, -1)),
    Case("unknown topic", epochs("d-nowhere", 0)),
    Case("unknown partition", epochs(LOG, 0, partition=3)),
    Case("an unknown current epoch", epochs(LOG, 0, current=77)),
]


def describe(kind, name, keys=None, **more):
    resource = {"resource_type": kind, "resource_name": name, "configuration_keys": keys}
    return lambda v, ctx: {"resources": [resource], **more}


COMPACTION = ["cleanup.policy", "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "max.compaction.lag.ms", "delete.retention.ms"]
OF_CLEANER = [
    "log.cleanup.policy", "log.cleaner.min.cleanable.ratio", "log.cleaner.min.compaction.lag.ms",
    "log.cleaner.max.compaction.lag.ms", "log.cleaner.delete.retention.ms", "log.cleaner.enable",
]  # fmt: skip
DESCRIBE_CONFIGS = [
    good("a topic", describe(2, "d-configured")),
    good("one key", describe(2, "d-configured", ["retention.ms"])),
    good("with synonyms and texts", describe(2, "d-configured", ["retention.ms", "max.message.bytes"], include_synonyms=True, include_documentation=True)),
    good("no keys", describe(2, "d-configured", [])),
    good("a compacted topic", describe(2, COMPACTED)),
    good("of compaction", describe(2, COMPACTED, COMPACTION, include_synonyms=True, include_documentation=True)),
    good("the broker's of compaction", describe(4, "1", OF_CLEANER, include_synonyms=True, include_documentation=True)),
    good("the broker's", describe(4, "1", ["message.max.bytes", "num.partitions", "auto.create.topics.enable"])),
    Case("unknown topic", describe(2, "d-nowhere")),
    Case("an invalid name", describe(2, "no/slash")),
    Case("another broker", describe(4, "77")),
    Case("a broker that is no number", describe(4, "me")),
    Case("an unknown kind", describe(99, "x")),
    Case("an unknown key", describe(2, "d-configured", ["no.such.thing"])),
]


def alter(kind, name, *pairs, validate=False):
    configs = [{"name": n, "value": x} for n, x in pairs]
    resource = {"resource_type": kind, "resource_name": name, "configs": configs}
    return lambda v, ctx: {"resources": [resource], "validate_only": validate}


ALTER_CONFIGS = [
    good("set", alter(2, "d-altered", ("retention.ms", "5000"))),
    good("only checked", alter(2, "d-altered", ("retention.ms", "6000"), validate=True)),
    good("none", alter(2, "d-altered")),
    Case("unknown topic", alter(2, "d-nowhere", ("retention.ms", "1"))),
    Case("unknown key", alter(2, "d-altered", ("no.such.thing", "1"))),
    Case("no number", alter(2, "d-altered", ("retention.ms", "x"))),
    Case("null", alter(2, "d-altered", ("retention.ms", None))),
    Case("another broker", alter(4, "77", ("log.retention.ms", "1"))),
    Case("an unknown kind", alter(99, "x", ("a", "b"))),
]


def incremental(kind, name, *changes, validate=False):
    configs = [{"name": n, "config_operation": op, "value": x} for n, op, x in changes]
    resource = {"resource_type": kind, "resource_name": name, "configs": configs}
    return lambda v, ctx: {"resources": [resource], "validate_only": validate}


INCREMENTAL = [
    good("set", incremental(2, "d-altered", ("retention.ms", 0, "7000"))),
    good("deleted", incremental(2, "d-altered", ("retention.ms", 1, None))),
    good("only checked", incremental(2, "d-altered", ("retention.ms", 0, "9"), validate=True)),
    good("compact appended", incremental(2, "d-altered", ("cleanup.policy", 2, "compact"))),
    good("delete subtracted", incremental(2, "d-altered", ("cleanup.policy", 3, "delete"))),
    good("policy deleted", incremental(2, "d-altered", ("cleanup.policy", 1, None))),
    good("the broker's ratio", incremental(4, "1", ("log.cleaner.min.cleanable.ratio", 0, "0.4"))),
    good("the broker's ratio deleted", incremental(4, "1", ("log.cleaner.min.cleanable.ratio", 1, None))),
    Case("an unknown policy appended", incremental(2, "d-altered", ("cleanup.policy", 2, "shrink"))),
    Case("a ratio below zero", incremental(2, "d-altered", ("min.cleanable.dirty.ratio", 0, "-0.1"))),
    Case("lags that conflict", incremental(2, "d-altered", ("min.compaction.lag.ms", 0, "9"), ("max.compaction.lag.ms", 0, "8"))),
    Case("appended to a number", incremental(2, "d-altered", ("retention.ms", 2, "1"))),
    Case("an unknown operation", incremental(2, "d-altered", ("retention.ms", 9, "1"))),
    Case("twice the same key", incremental(2, "d-altered", ("retention.ms", 0, "1"), ("retention.ms", 0, "2"))),
    Case("set to null", incremental(2, "d-altered", ("retention.ms", 0, None))),
    Case("unknown topic", incremental(2, "d-nowhere", ("retention.ms", 0, "1"))),
    Case("unknown key", incremental(2, "d-altered", ("no.such.thing", 0, "1"))),
    Case("no number", incremental(2, "d-altered", ("retention.ms", 0, "x"))),
]


def log_dirs(topics):
    return lambda v, ctx: {"topics": topics and [{"topic": t, "partitions": p} for t, p in topics]}


LOG_DIRS = [
    good("one partition", log_dirs([(LOG, [0])])),
    good("two topics", log_dirs([(LOG, [0]), ("d-two", [0, 1])])),
    Case("unknown topic", log_dirs([("d-nowhere", [0])])),
    Case("unknown partition", log_dirs([(LOG, [7])])),
    Case("an empty list", log_dirs([])),
]


def producer_id(transactional=None, timeout=60000, **more):
    return lambda v, ctx: {"transactional_id": transactional, "transaction_timeout_ms": timeout, "producer_id": -1, "producer_epoch": -1, **more}


PRODUCER_ID = [
    good("idempotent", producer_id()),
    good("a given id without a transactional one", producer_id(producer_id=5, producer_epoch=2), versions=(3, 99)),
    Case("transactional", producer_id("d-tx")),
    Case("an empty transactional id", producer_id("")),
    Case("a given id without its epoch", producer_id(producer_id=5, producer_epoch=-1), versions=(3, 99)),
]


def cluster(**more):
    return lambda v, ctx: {"include_cluster_authorized_operations": False, "endpoint_type": 1, **more}


CLUSTER = [
    good("brokers", cluster()),
    good("authorised operations", cluster(include_cluster_authorized_operations=True)),
    Case("controllers", cluster(endpoint_type=2), versions=(1, 99)),
    Case("an unknown kind of endpoint", cluster(endpoint_type=9), versions=(1, 99)),
]


def topic_partitions(names, limit=2000, cursor=None):
    return lambda v, ctx: {"topics": [{"name": n} for n in names], "response_partition_limit": limit, "cursor": cursor}


TOPIC_PARTITIONS = [
    good("one", topic_partitions([LOG])),
    good("two", topic_partitions([LOG, "d-two"])),
    good("a limit", topic_partitions([LOG, "d-two"], limit=2)),
    good("from a cursor", topic_partitions([LOG, "d-two"], cursor={"topic_name": "d-two", "partition_index": 1})),
    Case("unknown", topic_partitions(["d-nowhere"])),
    Case("a limit of 0", topic_partitions([LOG], limit=0)),
    Case("a negative cursor", topic_partitions([LOG], cursor={"topic_name": LOG, "partition_index": -1})),
    Case("an invalid name", topic_partitions(["no/slash"])),
]

VERSIONS = [
    good("named", lambda v, ctx: {"client_software_name": "diff", "client_software_version": "1.0"}),
    Case("a bad name", lambda v, ctx: {"client_software_name": "a b", "client_software_version": "1"}, versions=(3, 99)),
    Case("an empty name", lambda v, ctx: {"client_software_name": "", "client_software_version": ""}, versions=(3, 99)),
]

CASES = {
    18: VERSIONS, 3: METADATA, 0: PRODUCE, 1: FETCH, 2: LIST_OFFSETS, 23: EPOCHS, 60: CLUSTER, 75: TOPIC_PARTITIONS,
    22: PRODUCER_ID, 32: DESCRIBE_CONFIGS, 33: ALTER_CONFIGS, 44: INCREMENTAL, 35: LOG_DIRS, 21: DELETE_RECORDS,
    19: CREATE, 37: CREATE_PARTITIONS, 20: DELETE,
    **groups.CASES,
}  # fmt: skip


def set_up(ctx):
    """The topics the cases speak of, the same at both brokers."""
    topics = [(LOG, 1), (TRUNCATED, 1), ("d-two", 2), ("d-grow", 1), ("d-altered", 1), ("d-made-1", 1)]
    topics += [(fresh(v), 1) for v in range(3, 14)]
    for name, count in topics:
        ctx.call(19, 5, create(name, count)(5, ctx))
    ctx.call(19, 5, create("d-configured", configs=[("retention.ms", "86400000"), ("max.message.bytes", "500000")])(5, ctx))
    ctx.call(19, 5, create(ZSTD, configs=[("compression.type", "zstd")])(5, ctx))
    ctx.call(19, 5, create(COMPACTED, configs=[("cleanup.policy", "compact"), ("min.compaction.lag.ms", "5")])(5, ctx))
    ctx.settle([name for name, _ in topics] + ["d-configured", ZSTD, COMPACTED])
    ctx.call(0, 9, produce(ZSTD, batch([b"a"], T0, attributes=4, records=NONE_ZSTD))(9, ctx))
    for name in (LOG, TRUNCATED):
        for i, n in enumerate((4, 3, 3)):
            values = [struct.pack(">II", i, j) * 20 for j in range(n)]
            ctx.call(0, 9, produce(name, batch(values, T0 + i * 1000))(9, ctx))
    ctx.call(21, 2, delete_records(TRUNCATED, 4)(2, ctx))

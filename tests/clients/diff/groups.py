"""The requests of groups, at every version: members of the classic protocol, and offsets.

Member ids are chosen by chance: a case that needs one asks for it first, at the broker that it is for.
"""
import struct
import time
import uuid

from case import Case as bad
from case import good

NOBODY = uuid.UUID("11111111-2222-4333-8444-555555555555")
TOPIC = "d-log"
LONG = 1_700_000  # ms: no session ends while the cases run
SETTLED = "d-settled"  # a group of one member, with offsets

# ConsumerProtocolSubscription and ConsumerProtocolAssignment, version 0.
SUBSCRIPTION = struct.pack(">hih", 0, 1, len(TOPIC)) + TOPIC.encode() + struct.pack(">i", -1)
ASSIGNMENT = struct.pack(">hih", 0, 1, len(TOPIC)) + TOPIC.encode() + struct.pack(">iii", 1, 0, -1)


def join_request(group, member="", kind="consumer", protocols=("range",), session=LONG, instance=None):
    return {
        "group_id": group, "session_timeout_ms": session, "rebalance_timeout_ms": LONG, "member_id": member,
        "group_instance_id": instance, "protocol_type": kind, "reason": "cases",
        "protocols": [{"name": name, "metadata": SUBSCRIPTION} for name in protocols],
    }  # fmt: skip


def joined(ctx, group):
    """A member that has joined: (generation, member id). Once a group and broker."""
    members = ctx.__dict__.setdefault("members", {})
    if group not in members:
        answer = ctx.call(11, 3, join_request(group))
        assert answer["error_code"] == 0, answer
        members[group] = (answer["generation_id"], answer["member_id"])
    return members[group]


def synced(ctx, group):
    generation, member = joined(ctx, group)
    done = ctx.__dict__.setdefault("synced", set())
    if group not in done:
        answer = ctx.call(14, 3, sync_request(group, generation, member))
        assert answer["error_code"] == 0, answer
        done.add(group)
    return generation, member


def sync_request(group, generation, member, kind="consumer", name="range"):
    return {
        "group_id": group, "generation_id": generation, "member_id": member, "protocol_type": kind, "protocol_name": name,
        "assignments": [{"member_id": member, "assignment": ASSIGNMENT}],
    }  # fmt: skip


def commit_request(ctx, group, generation=-1, member="", topic=TOPIC, partition=0, offset=3, note="note", known=None):
    part = {"partition_index": partition, "committed_offset": offset, "committed_leader_epoch": 0, "committed_metadata": note}
    return {
        "group_id": group, "generation_id_or_member_epoch": generation, "member_id": member, "retention_time_ms": -1,
        "topics": [{"name": topic, "topic_id": known or ctx.id(topic), "partitions": [part]}],
    }  # fmt: skip


def fetch_request(ctx, group, topics=((TOPIC, (0,)),), known=None, member=None, epoch=-1, stable=False):
    asked = None
    if topics is not None:
        asked = [{"name": t, "topic_id": known or ctx.id(t), "partition_indexes": list(p)} for t, p in topics]
    one = {"group_id": group, "member_id": member, "member_epoch": epoch, "topics": asked}
    return {"group_id": group, "topics": asked, "groups": [one], "require_stable": stable}


def set_up(ctx):
    """Waits until both have coordinators, and makes the group that the cases speak of."""
    until = time.monotonic() + 60
    while True:
        found = ctx.call(10, 3, {"key": SETTLED, "key_type": 0})["error_code"]
        there = found == 0 and ctx.call(12, 3, {"group_id": SETTLED, "generation_id": 1, "member_id": "x"})["error_code"]
        if found == 0 and there not in (14, 15, 16):
            break
        if time.monotonic() > until:
            raise RuntimeError(f"{ctx.name}: no coordinator: {found}, {there}")
        time.sleep(0.1)
    generation, member = synced(ctx, SETTLED)
    ctx.call(8, 9, commit_request(ctx, SETTLED, generation, member))


FIND = [
    good("a group", lambda v, ctx: {"key": "d-any", "key_type": 0, "coordinator_keys": ["d-any"]}),
    good("two groups", lambda v, ctx: {"key_type": 0, "coordinator_keys": ["d-any", "d-other"]}, versions=(4, 99)),
    bad("an empty name", lambda v, ctx: {"key": "", "key_type": 0, "coordinator_keys": [""]}),
    bad("a transaction", lambda v, ctx: {"key": "d-tx", "key_type": 1, "coordinator_keys": ["d-tx"]}, versions=(1, 99)),
    bad("an unknown kind", lambda v, ctx: {"key": "d-any", "key_type": 9, "coordinator_keys": ["d-any"]}, versions=(1, 99)),
]


def again(v, ctx):
    group = f"d-again-{v}"
    answer = ctx.call(11, v, join_request(group))
    return join_request(group, answer["member_id"])


JOIN = [
    good("the first", lambda v, ctx: join_request(f"d-join-{v}")),
    good("again with its id", again, versions=(4, 99)),
    good("static", lambda v, ctx: join_request(f"d-static-{v}", instance="i"), versions=(5, 99)),
    good("of Connect", lambda v, ctx: join_request(f"d-connect-{v}", kind="connect", protocols=("default",)), versions=(0, 3)),
    bad("an unknown member", lambda v, ctx: join_request(SETTLED, "nobody")),
    bad("an unknown member of no group", lambda v, ctx: join_request(f"d-nobody-{v}", "nobody")),
    bad("another protocol type", lambda v, ctx: join_request(SETTLED, kind="connect")),
    bad("another assignor", lambda v, ctx: join_request(SETTLED, protocols=("sticky",))),
    bad("no assignor", lambda v, ctx: join_request(f"d-none-{v}", protocols=())),
    bad("no protocol type", lambda v, ctx: join_request(f"d-typeless-{v}", kind="")),
    bad("a short session", lambda v, ctx: join_request(f"d-short-{v}", session=10)),
    bad("a long session", lambda v, ctx: join_request(f"d-long-{v}", session=2_000_000)),
    bad("an empty group", lambda v, ctx: join_request("")),
]

SYNC = [
    good("the leader", lambda v, ctx: sync_request(f"d-sync-{v}", *joined(ctx, f"d-sync-{v}"))),
    good("once more", lambda v, ctx: sync_request(f"d-sync-{v}", *joined(ctx, f"d-sync-{v}"))),
    bad("an unknown member", lambda v, ctx: sync_request(SETTLED, 1, "nobody")),
    bad("an unknown group", lambda v, ctx: sync_request("d-nowhere", 1, "nobody")),
    bad("a wrong generation", lambda v, ctx: sync_request(SETTLED, 9, joined(ctx, SETTLED)[1])),
    bad("a wrong protocol type", lambda v, ctx: sync_request(SETTLED, *joined(ctx, SETTLED), kind="connect"), versions=(5, 99)),
    bad("a wrong assignor", lambda v, ctx: sync_request(SETTLED, *joined(ctx, SETTLED), name="sticky"), versions=(5, 99)),
    bad("no assignor", lambda v, ctx: sync_request(SETTLED, *joined(ctx, SETTLED), name=None), versions=(5, 99)),
    bad("an empty group", lambda v, ctx: sync_request("", 1, "nobody")),
]


def heartbeat(group, generation=None, member=None, instance=None):
    def value(v, ctx):
        known = synced(ctx, group) if member is None else (1, member)
        return {
            "group_id": group, "generation_id": generation or known[0], "member_id": known[1], "group_instance_id": instance,
        }  # fmt: skip

    return value


HEARTBEAT = [
    good("a member", heartbeat(SETTLED)),
    bad("an unknown member", heartbeat(SETTLED, member="nobody")),
    bad("no member", heartbeat(SETTLED, member="")),
    bad("a wrong generation", heartbeat(SETTLED, generation=7)),
    bad("an unknown group", heartbeat("d-nowhere", member="nobody")),
    bad("an unknown instance", heartbeat(SETTLED, instance="i"), versions=(3, 99)),
    bad("an empty group", heartbeat("", member="nobody")),
]


def leave(group, *members):
    def value(v, ctx):
        ids = [joined(ctx, group(v))[1] if m is None else m for m in members]
        return {"group_id": group(v), "member_id": ids[0], "members": [{"member_id": m} for m in ids]}

    return value


LEAVE = [
    good("a member", leave(lambda v: f"d-leave-{v}", None)),
    good("two, one unknown", leave(lambda v: f"d-leave-two-{v}", None, "nobody"), versions=(3, 99)),
    bad("once more", leave(lambda v: f"d-leave-{v}", None)),
    bad("an unknown member", leave(lambda v: SETTLED, "nobody")),
    bad("an unknown group", leave(lambda v: "d-nowhere", "nobody")),
    bad("an empty group", leave(lambda v: "", "nobody")),
]

COMMIT = [
    good("of no member", lambda v, ctx: commit_request(ctx, "d-simple")),
    good("of a member", lambda v, ctx: commit_request(ctx, SETTLED, *joined(ctx, SETTLED))),
    good("without a note", lambda v, ctx: commit_request(ctx, "d-noteless", note=None)),
    bad("of an unknown member", lambda v, ctx: commit_request(ctx, SETTLED, 1, "nobody")),
    bad("of nobody in a group with members", lambda v, ctx: commit_request(ctx, SETTLED)),
    bad("of a wrong generation", lambda v, ctx: commit_request(ctx, SETTLED, 9, joined(ctx, SETTLED)[1])),
    bad("of a member of no group", lambda v, ctx: commit_request(ctx, "d-nowhere", 1, "nobody")),
    bad("to an unknown topic", lambda v, ctx: commit_request(ctx, "d-simple", topic="d-nowhere", known=NOBODY)),
    bad("to an unknown partition", lambda v, ctx: commit_request(ctx, "d-simple", partition=7)),
    bad("with a long note", lambda v, ctx: commit_request(ctx, "d-simple", note="x" * 4097)),
    good("of the nameless group", lambda v, ctx: commit_request(ctx, "")),
]

FETCH = [
    good("one", lambda v, ctx: fetch_request(ctx, SETTLED)),
    good("all", lambda v, ctx: fetch_request(ctx, SETTLED, None), versions=(2, 99)),
    good("stable", lambda v, ctx: fetch_request(ctx, SETTLED, stable=True)),
    good("none committed", lambda v, ctx: fetch_request(ctx, SETTLED, [("d-two", (0, 1))])),
    good("of no group", lambda v, ctx: fetch_request(ctx, "d-nowhere")),
    good("all of no group", lambda v, ctx: fetch_request(ctx, "d-nowhere", None), versions=(2, 99)),
    bad("an unknown topic", lambda v, ctx: fetch_request(ctx, SETTLED, [("d-nowhere", (0,))], known=NOBODY)),
    bad("an unknown partition", lambda v, ctx: fetch_request(ctx, SETTLED, [(TOPIC, (7,))])),
    bad("as an unknown member", lambda v, ctx: fetch_request(ctx, SETTLED, member="nobody", epoch=3), versions=(9, 99)),
    good("of the nameless group", lambda v, ctx: fetch_request(ctx, "")),
]

DESCRIBE = [
    good("a group", lambda v, ctx: {"groups": [SETTLED]}),
    good("two groups", lambda v, ctx: {"groups": [SETTLED, "d-simple"]}),
    good("authorised operations", lambda v, ctx: {"groups": [SETTLED], "include_authorized_operations": True}),
    bad("an unknown group", lambda v, ctx: {"groups": ["d-nowhere"]}),
    bad("an unknown group's operations", lambda v, ctx: {"groups": ["d-nowhere"], "include_authorized_operations": True}),
    bad("an empty name", lambda v, ctx: {"groups": [""]}),
    bad("none", lambda v, ctx: {"groups": []}),
]

def everything(v, ctx):
    """Without the groups that a refused join leaves behind at Kafka, and nowhere here."""
    names = [f"d-{why}-{version}" for why in ("none", "typeless") for version in range(10)]
    ctx.call(42, 1, {"groups_names": names})
    return {}


LIST = [
    good("all", everything),
    good("the stable ones", lambda v, ctx: {"states_filter": ["Stable"]}, versions=(4, 99)),
    good("by a state in small letters", lambda v, ctx: {"states_filter": ["stable", "EMPTY"]}, versions=(4, 99)),
    good("the classic ones", lambda v, ctx: {"types_filter": ["classic"]}, versions=(5, 99)),
    good("the new ones", lambda v, ctx: {"types_filter": ["Consumer"]}, versions=(5, 99)),
    bad("by an unknown state", lambda v, ctx: {"states_filter": ["Sleepy"]}, versions=(4, 99)),
    bad("by an unknown type", lambda v, ctx: {"types_filter": ["odd"]}, versions=(5, 99)),
]


def empty_group(v, ctx):
    ctx.call(8, 9, commit_request(ctx, f"d-delete-{v}"))
    return {"groups_names": [f"d-delete-{v}"]}


DELETE = [
    good("an empty group", empty_group),
    good("the same twice", lambda v, ctx: {"groups_names": ["d-nowhere", "d-nowhere"]}),
    bad("a group with a member", lambda v, ctx: {"groups_names": [SETTLED]}),
    bad("an unknown group", lambda v, ctx: {"groups_names": ["d-nowhere"]}),
    bad("an empty name", lambda v, ctx: {"groups_names": [""]}),
]


def forget(group, topic=TOPIC, partition=0):
    return lambda v, ctx: {
        "group_id": group, "topics": [{"name": topic, "partitions": [{"partition_index": partition}]}],
    }  # fmt: skip


OFFSET_DELETE = [
    good("of a group without members", forget("d-noteless")),
    bad("of a group that reads it", forget(SETTLED)),
    bad("of an unknown group", forget("d-nowhere")),
    bad("of an unknown topic", forget("d-simple", "d-nowhere")),
    bad("of an unknown partition", forget("d-simple", partition=9)),
    bad("of the nameless group", forget("")),
]

def new_member(group, epoch=0, **more):
    def value(v, ctx):
        name = group(v) if callable(group) else group
        return {
            "group_id": name, "member_id": f"member-{v}" if v else "", "member_epoch": epoch, "rebalance_timeout_ms": 60_000,
            "subscribed_topic_names": [TOPIC], "topic_partitions": [], **more,
        }  # fmt: skip

    return value


NEW_HEARTBEAT = [
    good("joins", new_member(lambda v: f"d-new-{v}")),
    good("joins by an expression", new_member(lambda v: f"d-regex-{v}", subscribed_topic_names=None, subscribed_topic_regex="d-l.g"), versions=(1, 99)),
    bad("an unknown member", new_member(lambda v: f"d-new-{v}", epoch=5, member_id="nobody")),
    bad("of an unknown group", new_member("d-nowhere", epoch=5, member_id="nobody")),
    bad("leaves an unknown group", new_member("d-nowhere", epoch=-1, member_id="nobody")),
    bad("an epoch that cannot be", new_member("d-new-x", epoch=-3)),
    bad("no rebalance timeout", new_member("d-new-x", rebalance_timeout_ms=-1)),
    bad("no subscription", new_member("d-new-x", subscribed_topic_names=None)),
    bad("partitions at a first join", new_member("d-new-x", topic_partitions=[{"topic_id": NOBODY, "partitions": [0]}])),
    bad("an unknown assignor", new_member("d-new-x", server_assignor="odd")),
    bad("an expression that does not compile", new_member("d-new-x", subscribed_topic_names=None, subscribed_topic_regex="a("), versions=(1, 99)),
    bad("no member id", new_member("d-new-x", member_id=""), versions=(1, 99)),
    bad("an empty group", new_member("")),
    bad("a classic group with members", new_member("d-connect-0")),
]

NEW_DESCRIBE = [
    good("a group", lambda v, ctx: {"group_ids": ["d-new-0", "d-new-1"]}),
    good("authorised operations", lambda v, ctx: {"group_ids": ["d-new-1"], "include_authorized_operations": True}),
    bad("an unknown group", lambda v, ctx: {"group_ids": ["d-nowhere"]}),
    bad("a classic group", lambda v, ctx: {"group_ids": [SETTLED]}),
    bad("an empty name", lambda v, ctx: {"group_ids": [""]}),
]

CASES = {
    10: FIND, 11: JOIN, 14: SYNC, 12: HEARTBEAT, 13: LEAVE, 8: COMMIT, 9: FETCH, 15: DESCRIBE, 16: LIST,
    47: OFFSET_DELETE, 42: DELETE, 68: NEW_HEARTBEAT, 69: NEW_DESCRIBE,
}  # fmt: skip

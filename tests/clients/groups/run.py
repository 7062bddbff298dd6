#!/usr/bin/env python3
"""Consumer groups of every client, in each protocol it has, while records are produced.

  groups/run.py WORK CLASSES [NAME...]    in WORK, with the compiled Java member; NAME: only these clients

All groups go through the same steps at the same time; a group that fails one is left behind. One
line a step and group, as the runner counts them.
"""
import sys
import time
from pathlib import Path

from admin import describe, reset
from clients import clients
from lane import Broken, Lane
from world import World

WITHIN_S = 90
PROTOCOLS = {
    "java": ["range", "cooperative", "consumer"],
    "confluent": ["range", "cooperative", "consumer"],
    "kcat": ["range"],
    "aiokafka": ["roundrobin"],
    "franz-go": ["range", "cooperative", "consumer"],
    "kafkajs": ["roundrobin"],
}
STATIC = {"java": ["range", "consumer"], "confluent": ["range", "consumer"], "aiokafka": ["roundrobin"]}
# This version of franz-go never says in the new protocol that a static member goes for a while.
STATIC["franz-go"] = ["range"]
# With the assignor of its classic members. (librdkafka's cooperative one puts data of its own into
# assignments: the coordinator takes it for a custom assignor and does not convert such a group.)
MIGRATING = {"java": "cooperative", "confluent": "range"}


class Steps:
    """Carries the same step out for all lanes that are still in it."""

    def __init__(self, lanes):
        self.lanes = list(lanes)

    def all(self, step, act, until=None):
        mark, began = time.monotonic(), time.monotonic()
        waiting = [lane for lane in list(self.lanes) if self._try(lane, step, lambda lane: act(lane) and False) is not None]
        while waiting:
            for lane in list(waiting):
                done = self._try(lane, step, lambda lane: until is None or until(lane, mark))
                if done is None or done:
                    waiting.remove(lane)
                if done:
                    print(f"PASS groups {lane.label}: {step}, {time.monotonic() - began:.1f} s", flush=True)
                elif done is False and time.monotonic() - began > WITHIN_S:
                    waiting.remove(lane)
                    self._left_behind(lane, step, f"not within {WITHIN_S} s: {lane.state()}")
            time.sleep(0.05)
        print(f"     {step}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)

    def _try(self, lane, step, act):
        """What `act` says, or None if it failed, with which the lane is out."""
        try:
            return bool(act(lane))
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the report
            self._left_behind(lane, step, error)
            return None

    def _left_behind(self, lane, step, why):
        print(f"FAIL groups {lane.label}: {step}: {why}", flush=True)
        self.lanes.remove(lane)
        lane.end()


def expect(lane, *roles):
    """Sets the members that are to share the partitions from now on."""
    lane.expected = [getattr(lane, role) for role in roles]


def shared(lane, mark):
    return lane.share(mark, lane.expected)


def begin(*roles, **more):
    def act(lane):
        for role in roles:
            setattr(lane, role, lane.start(role, **more))
        expect(lane, *(role for role in "abcd" if hasattr(lane, role)))

    return act


def gone(role, how):
    def act(lane):
        how(lane, getattr(lane, role))
        delattr(lane, role)
        expect(lane, *(each for each in "abcd" if hasattr(lane, each)))

    return act


def floors(world, lane):
    """What the broker has committed now: not less than what it had acknowledged."""
    with lane.lock:
        acknowledged = dict(lane.committed)
    has = world.committed(lane.group, lane.topic)
    behind = {each: (offset, has.get(each)) for each, offset in acknowledged.items() if has.get(each, -1) < offset}
    if behind:
        raise Broken(f"commits were lost: {behind}")
    # kcat does not tell of its commits.
    with lane.lock:
        lane.committed.update({each: max(offset, lane.committed.get(each, 0)) for each, offset in has.items()})


def finish(world, steps):
    world.produced()
    steps.all(
        "every acknowledged record was read",
        lambda lane: None,
        lambda lane, _: lane.missing(world.acknowledged[lane.topic]) == 0,
    )

    def leave(lane):
        lane.leave(*list(lane.members))
        ends = {}
        for partition, offset in world.acknowledged[lane.topic]:
            ends[partition] = max(offset + 1, ends.get(partition, 0))
        has = world.committed(lane.group, lane.topic)
        if has != ends:
            raise Broken(f"committed {has}, and the ends are {ends}")

    steps.all("all leave, with everything committed", leave)


def rebalances(world, lanes):
    steps = Steps(lanes)
    world.produce([lane.topic for lane in lanes])
    steps.all("two members share", begin("a", "b"), shared)
    steps.all("a third joins", begin("c"), shared)
    steps.all("one leaves", gone("b", lambda lane, name: lane.leave(name)), shared)

    def kill(lane, name):
        floors(world, lane)
        lane.kill(name)

    steps.all("kill -9 of a member", gone("c", kill), shared)
    steps.all("another comes back", begin("d"), shared)
    for lane in list(steps.lanes):
        floors(world, lane)
    world.kill()
    world.start()
    steps.all("kill -9 of the broker", lambda lane: floors(world, lane), shared)
    finish(world, steps)


def restart(lane, how):
    """The member of an instance comes back at once: the other one must not notice."""
    with lane.lock:
        lane.before = list(lane.moves.get(lane.b, []))
    lane.had = lane.owned(lane.a)
    how(lane, lane.a)
    begin("a", session_ms=30_000, instance="a")(lane)


def unnoticed(lane, mark):
    if not shared(lane, mark):
        return False
    if lane.owned(lane.a) != lane.had:
        raise Broken(f"the instance had {lane.had}, and has {lane.owned(lane.a)}")
    with lane.lock:
        now = lane.moves.get(lane.b, [])
    if now != lane.before:
        raise Broken(f"the other member noticed: {now[len(lane.before):]}")
    return True


def static(world, lanes):
    steps = Steps(lanes)
    world.produce([lane.topic for lane in lanes])

    def both(lane):
        begin("a", session_ms=30_000, instance="a")(lane)
        begin("b", session_ms=30_000, instance="b")(lane)

    steps.all("static members share", both, shared)
    steps.all("a static member comes back", lambda lane: restart(lane, lambda lane, name: lane.leave(name)), unnoticed)
    classic = Steps(lane for lane in steps.lanes if lane.protocol != "consumer")
    # The new protocol does not give an instance to another member until the first has gone.
    classic.all("a killed static member comes back", lambda lane: restart(lane, Lane.kill), unnoticed)
    for lane in set(steps.lanes) - set(classic.lanes):
        classic.lanes.append(lane)
    finish(world, classic)


def migration(world, lanes):
    """Members change the protocol one by one, both ways; offsets nobody reads from stay as they are."""
    untouched = "untouched"
    world.topics([untouched])
    steps = Steps(lanes)
    for lane in lanes:
        reset(world, lane.group, untouched, 7)
    world.produce([lane.topic for lane in lanes])

    def check(kind):
        def act(lane):
            floors(world, lane)
            found = describe(world, lane.group, untouched)
            if found != (kind, {each: 7 for each in range(6)}):
                raise Broken(f"the group is {found}")

        return act

    def instead(role, protocol):
        def act(lane):
            lane.leave(getattr(lane, role))
            begin(role, protocol=protocol)(lane)

        return act

    steps.all("two of the classic protocol share", begin("a", "b"), shared)
    steps.all("it is a classic group", check("Classic"))
    steps.all("one comes back with the new protocol", instead("a", "consumer"), shared)
    steps.all("it is a new group with a classic member", check("Consumer"))
    steps.all("the other comes back with the new protocol", instead("b", "consumer"), shared)
    steps.all("it is a new group", check("Consumer"))
    steps.all("one goes back to the classic protocol", instead("b", None), shared)
    steps.all("it is still a new group", check("Consumer"))
    steps.all("the other goes back, too", instead("a", None), shared)
    steps.all("it is a classic group again", check("Classic"))
    finish(world, steps)


def main():
    work, classes, *names = sys.argv[1:]
    work = Path(work)

    def lanes(world, kind, protocols):
        of = clients(world.address, classes)
        made = [
            Lane(of[name], protocol, f"{kind}-{name}-{protocol}", world.work / "errors")
            for name, several in protocols.items()
            if not names or name in names
            for protocol in several
        ]
        if made:
            world.topics([lane.topic for lane in made])
        return made

    for kind, session_ms, protocols, run in (
        ("share", 6000, PROTOCOLS, rebalances),
        ("static", 30_000, STATIC, static),
        ("migrate", 30_000, {name: [MIGRATING[name]] for name in MIGRATING}, migration),
    ):
        world, made = World(work / kind, session_ms), []
        try:
            made = lanes(world, kind, protocols)
            run(world, made)
        finally:
            for lane in made:
                for process in lane.members.values():
                    process.kill()
            world.close()


if __name__ == "__main__":
    main()

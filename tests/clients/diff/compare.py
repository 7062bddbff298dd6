"""Two brokers, the same requests, what differs: masks, deliberate differences, the matrix."""
import re
import time
import uuid
from pathlib import Path

import cases
from protocol import Closed, Connection, Malformed

HERE = Path(__file__).parent


class Broker:
    """One of the two, and what the cases need to know of it."""

    def __init__(self, name, address, apis):
        self.name, self.address, self.apis = name, address, apis
        self.connection = None
        self.ids = {}

    def call(self, key, version, value, damage=None, patience=20):
        if self.connection is None:
            self.connection = Connection(self.address, self.apis)
        self.connection.socket.settimeout(patience)
        try:
            return self.connection.call(key, version, value, damage)
        except (Closed, Malformed):
            self.connection.close()
            self.connection = None
            raise

    def advertised(self):
        answer = self.call(18, 0, {})
        return {api["api_key"]: (api["min_version"], api["max_version"]) for api in answer["api_keys"]}

    def id(self, topic):
        if topic not in self.ids:
            answer = self.call(3, 12, {"topics": [{"name": topic}], "allow_auto_topic_creation": False})
            found = answer["topics"][0]["topic_id"]
            if found.int == 0:
                return found
            self.ids[topic] = found
        return self.ids[topic]

    def settle(self, topics):
        """Waits until every topic has its leaders; it asks, and waits for the answer."""
        wanted = [{"name": name} for name in topics]
        until = time.monotonic() + 30
        while True:
            answer = self.call(3, 12, {"topics": wanted, "allow_auto_topic_creation": False})
            ready = [t["error_code"] == 0 and all(p["error_code"] == 0 for p in t["partitions"]) for t in answer["topics"]]
            if all(ready):
                return
            if time.monotonic() > until:
                raise RuntimeError(f"{self.name}: topics did not settle: {answer}")

    def name_ids(self):
        """Learns the ids of all topics, so that answers can be compared by name."""
        for topic in self.call(3, 12, {"topics": None})["topics"]:
            self.ids[topic["name"]] = topic["topic_id"]

    def outcome(self, key, version, case):
        try:
            answer = self.call(key, version, case.value(version, self), case.damage, case.patience)
        except Closed:
            return {"closed": True}
        except Malformed as error:
            return {"malformed": str(error)}
        if key == 19 and any(t.get("error_code") == 0 for t in answer["topics"]):
            names = [t["name"] for t in answer["topics"] if t["error_code"] == 0]
            if "checked" not in names[0]:
                self.settle(names)
        return answer


def normal(value, names):
    """Topic ids by their topic's name; lists in an order of their own."""
    if isinstance(value, dict):
        return {k: normal(v, names) for k, v in value.items()}
    if isinstance(value, list):
        return sorted((normal(v, names) for v in value), key=repr)
    if isinstance(value, uuid.UUID):
        known = {0: "none", cases.NOBODY.int: "nobody"}
        return f"id of {names.get(value) or known.get(value.int, 'something')}"
    return value


KEYS = ("name", "topic", "topic_name", "partition_index", "index", "partition", "resource_name", "node_id", "broker_id")


def labels(values):
    """What to call a list's elements: by what names them, else by their place."""
    if all(isinstance(v, dict) for v in values):
        for key in KEYS:
            found = [v.get(key) for v in values]
            if all(f is not None for f in found) and len(set(found)) == len(found):
                return [str(f) for f in found]
    return [str(i) for i in range(len(values))]


def flat(value, path=""):
    """Every leaf with its path; lists are compared in their sorted order."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        yield f"{path}[]#", len(value)
        for label, inner in zip(labels(value), value):
            yield from flat(inner, f"{path}[{label}]")
    else:
        yield path, value


def rules(name):
    """Lines of a list: columns parted by ' | '; '#' begins a comment."""
    for line in (HERE / name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield [column.strip() for column in line.split(" | ")]


def bare(path):
    return re.sub(r"\[[^\]]*\]", "[]", path)


class Judge:
    def __init__(self):
        self.masks = [(api, re.compile(path)) for api, path, _reason in rules("masks.txt")]
        for api, path in self.masks:
            assert not path.search("error_code"), f"{api}: error codes are never masked"
        self.deliberate = [(api, re.compile(case), re.compile(path), reason) for api, case, path, reason in rules("differences.txt")]
        self.used = set()

    def masked(self, api, path):
        return any(a in ("*", api) and p.fullmatch(bare(path)) for a, p in self.masks)

    def explained(self, api, case, path):
        for i, (a, c, p, _) in enumerate(self.deliberate):
            if a in ("*", api) and c.fullmatch(case) and (p.fullmatch(bare(path)) or p.fullmatch(path)):
                self.used.add(i)
                return True
        return False

    def compare(self, api, case, theirs, ours):
        """(unexplained, explained) differences, as lines."""
        leaves = [dict(flat(self.without_masked(api, side, ""))) for side in (theirs, ours)]
        bad, told = [], []
        for path in sorted(set(leaves[0]) | set(leaves[1])):
            a, b = leaves[0].get(path, "absent"), leaves[1].get(path, "absent")
            if a != b:
                line = f"{path}: Kafka {a!r:.120}, here {b!r:.120}"
                (told if self.explained(api, case, path) else bad).append(line)
        return bad, told

    def without_masked(self, api, value, path):
        if isinstance(value, dict):
            inner = {k: (v, f"{path}.{k}" if path else k) for k, v in value.items()}
            return {k: self.without_masked(api, v, p) for k, (v, p) in inner.items() if not self.masked(api, p)}
        if isinstance(value, list):
            return sorted((self.without_masked(api, v, f"{path}[]") for v in value), key=repr)
        return value


def run(kafka, ours, apis, verbose):
    """Every case at every version; prints the matrix and returns the number of unexplained ones."""
    judge = Judge()
    advertised = ours.advertised()
    theirs_advertised = kafka.advertised()
    for broker in (kafka, ours):
        cases.set_up(broker)
    total = {"same": 0, "explained": 0, "different": 0}
    for key in sorted(set(advertised) - set(cases.CASES)):
        print(f"{apis[key]['name']:26} is advertised and has no cases")
        total["different"] += 1
    for key, own in cases.CASES.items():
        name = apis[key]["name"]
        if key == next(iter(cases.groups.CASES)):
            for broker in (kafka, ours):
                cases.groups.set_up(broker)
        if key not in advertised:
            print(f"{name:26} not advertised here")
            total["different"] += 1
            continue
        first = max(advertised[key][0], min(apis[key]["request"]))
        last = min(advertised[key][1], theirs_advertised[key][1])
        for version in range(first, last + 1):
            cell = run_cell(judge, kafka, ours, key, name, version, own, verbose)
            for outcome, count in cell.items():
                total[outcome] += count
    for i, (api, case, path, _) in enumerate(judge.deliberate):
        if i not in judge.used:
            print(f"note: no difference met the rule: {api} | {case} | {path}")
    return total


def run_cell(judge, kafka, ours, key, name, version, own, verbose):
    counts = {"same": 0, "explained": 0, "different": 0}
    asked = [c for c in own if c.versions[0] <= version <= c.versions[1]]
    damaged = [cases.Case(n, own[0].value, d) for n, d in cases.DAMAGED]
    good_cases = sum(case.good for case in asked)
    bad_cases = len(asked) - good_cases + len(damaged)
    for case in asked + damaged:
        outcomes = []
        for broker in (kafka, ours):
            answer = broker.outcome(key, version, case)
            broker.name_ids()
            outcomes.append(normal(answer, {v: k for k, v in broker.ids.items()}))
        bad, told = judge.compare(name, case.name, *outcomes)
        counts["different" if bad else "explained" if told else "same"] += 1
        for line in bad:
            print(f"  {name} v{version}, {case.name}: {line}")
        if verbose:
            for line in told:
                print(f"  explained: {name} v{version}, {case.name}: {line}")
    assert good_cases >= 1 and bad_cases >= 3, f"{name} v{version}: {good_cases} good cases, {bad_cases} bad"
    print(f"{name:26} v{version:<3} {counts['same']:3} same, {counts['explained']:2} explained, {counts['different']:2} different")
    return counts


def changed_error(value):
    """The same answer with its first error code one higher: what the comparison must notice."""
    if isinstance(value, dict):
        out, done = {}, False
        for k, v in value.items():
            out[k] = v + 1 if k == "error_code" and not done else v if done else changed_error(v)
            done = done or out[k] != v
        return out
    if isinstance(value, list) and value:
        return [changed_error(value[0])] + value[1:]
    return value

"""One group of one client: its members' processes, what they tell, and what must hold of it.

A member tells, a line each:

    NAME + P...          these partitions were assigned to it
    NAME - P...          these were taken from it
    NAME R P OFFSET VALUE    it was given a record
    NAME C P:OFFSET...   the broker has acknowledged its commit
    NAME E TEXT          anything else, for whoever looks for a fault

All members of a lane write to one pipe, a line at once, so the lines come in the order in which
things happened and a kill tears none. What must hold: within one assignment offsets go on without a
gap; the first record of an assignment is not from before what had been committed by then; each
record is the one that was acknowledged at its offset.
"""
import os
import signal
import subprocess
import threading
import time

PARTITIONS = 6


class Broken(Exception):
    pass


class Lane:
    def __init__(self, client, protocol, topic, errors):
        self.label = f"{client.name} {protocol}"
        self.client, self.protocol = client, protocol
        self.topic, self.group = topic, f"{topic}-group"
        self.errors = errors
        self.lock = threading.Lock()
        self.members = {}
        self.begun = 0
        self.last = {}  # partition -> (member, when)
        self.seen = {}  # (partition, offset) -> value
        self.committed = {}  # partition -> offset, as acknowledged
        self.stints = {}  # (member, partition) -> [floor, next offset or None]
        self.moves = {}  # member -> its + and - lines
        self.complaints = []
        self.left = []
        self.ends = {}  # (member, partition) -> the offset behind what it was given when it lost it
        self.absent = []  # some acknowledged records that nobody was given
        self.broken = None
        self.reader, self.writer = os.pipe()
        threading.Thread(target=self._read, args=(os.fdopen(self.reader, "rb"),), daemon=True).start()

    # Members.

    def start(self, name, protocol=None, session_ms=6000, instance=None):
        self.begun += 1
        name = f"{name}{self.begun}"
        words = self.client.command(self, protocol or self.protocol, name, session_ms, instance)
        with open(self.errors, "ab") as errors:
            if self.client.translate:
                process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                threading.Thread(target=self._read, args=(process.stdout, name), daemon=True).start()
            else:
                process = subprocess.Popen(words, stdout=self.writer, stderr=errors)
        self.members[name] = process
        return name

    def kill(self, name):
        self.members[name].kill()
        self.members.pop(name).wait()

    def leave(self, *names):
        """SIGTERM: they are to end by themselves, and well."""
        for name in names:
            self.members[name].send_signal(signal.SIGTERM)
        for name in names:
            try:
                status = self.members[name].wait(30)
            except subprocess.TimeoutExpired as late:
                raise Broken(f"{name} did not leave within 30 s") from late
            del self.members[name]
            if status != 0:
                raise Broken(f"{name} left with status {status}")
            self.left.append(name)

    def end(self):
        for name in list(self.members):
            self.kill(name)
        os.close(self.writer)

    # What they tell.

    def _read(self, pipe, name=None):
        with pipe:
            for line in pipe:
                text = line.decode(errors="replace").rstrip("\n")
                text = self.client.translate(name, text) if name else text
                if text:
                    with self.lock:
                        self._tell(text)

    def _tell(self, line):
        member, what, *rest = line.split(" ", 2)
        rest = rest[0] if rest else ""
        if what in "+-":
            self.moves.setdefault(member, []).append(line)
            for partition in map(int, rest.split()):
                if (member, partition) in self.stints:
                    self.ends[member, partition] = self.stints.pop((member, partition))[1]
                if what == "+":
                    self.stints[member, partition] = [self.committed.get(partition, 0), None]
        elif what == "R":
            partition, offset, value = rest.split(" ", 2)
            self._record(member, int(partition), int(offset), value)
        elif what == "C":
            for each in rest.split():
                partition, offset = map(int, each.split(":"))
                self.committed[partition] = max(offset, self.committed.get(partition, 0))
        else:
            self.complaints.append(line)

    def _record(self, member, partition, offset, value):
        stint = self.stints.setdefault((member, partition), [self.committed.get(partition, 0), None])
        floor, following = stint
        if following is None and offset < floor:
            self._break(f"{member} was given {partition}:{offset} again, {floor} had been committed")
        if following is not None and offset != following:
            self._break(f"{member} was given {partition}:{offset} after {following - 1}")
        if self.seen.setdefault((partition, offset), value) != value:
            self._break(f"{partition}:{offset} is {value!r}, and was {self.seen[partition, offset]!r}")
        stint[1] = offset + 1
        self.last[partition] = (member, time.monotonic())

    def _break(self, why):
        self.broken = self.broken or why

    # What is waited for.

    def share(self, mark, names):
        """Whether since `mark` each partition was read, by these members and by each of them."""
        with self.lock:
            if self.broken:
                raise Broken(self.broken)
            for name in names:
                process = self.members.get(name)
                if process is not None and process.poll() is not None:
                    raise Broken(f"{name} ended with status {process.returncode}")
            readers = [self.last.get(partition) for partition in range(PARTITIONS)]
        if any(each is None or each[1] < mark for each in readers):
            return False
        return {member for member, _ in readers} == set(names)

    def owned(self, name):
        """The partitions that `name` was the last to read."""
        with self.lock:
            return {partition for partition, (member, _) in self.last.items() if member == name}

    def missing(self, acknowledged):
        """How many of the acknowledged records, value by (partition, offset), nobody was given."""
        with self.lock:
            if self.broken:
                raise Broken(self.broken)
            for where, value in acknowledged.items():
                if where in self.seen and self.seen[where] != value:
                    raise Broken(f"{where} is {self.seen[where]!r}, not {value!r} as sent")
            gone = {where for where in acknowledged if where not in self.seen}
            for name in self.left if self.client.drops_one else []:
                following = {(partition, after) for (who, partition), after in self.ends.items() if who == name}
                if len(gone & following) == 1:
                    gone -= following
            self.absent = sorted(gone)[:8]
            return len(gone)

    def state(self):
        with self.lock:
            last = {partition: member for partition, (member, _) in sorted(self.last.items())}
            return f"last readers {last}, members {sorted(self.members)}, absent {self.absent}, said {self.complaints[-3:]}"

"""How each client's member is started. A member's words: BOOTSTRAP TOPIC GROUP PROTOCOL NAME
SESSION_MS [INSTANCE]."""
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
SCRATCH = Path(os.environ["SCRATCH"])
# Short-lived ones: they are to start soon.
JAVA = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


class Client:
    translate = None
    drops_one = False

    def __init__(self, name, bootstrap, command):
        self.name, self.bootstrap, self._command = name, bootstrap, command

    def command(self, lane, protocol, name, session_ms, instance):
        words = [self.bootstrap, lane.topic, lane.group, protocol, name, str(session_ms)]
        return [*self._command, *words, *([instance] if instance else [])]


class Kcat(Client):
    """kcat's own output, told as a member tells it. It commits by itself and does not say so. At
    SIGTERM it drops the record that it has just taken, and commits behind it."""

    drops_one = True

    def command(self, lane, protocol, name, session_ms, instance):
        options = {
            "auto.offset.reset": "earliest",
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": 500,
            "auto.commit.interval.ms": 200,
            "reconnect.backoff.max.ms": 500,
            "fetch.wait.max.ms": 100,
            "partition.assignment.strategy": "range",
            # The library's own threads are not to write into a line.
            "log_level": 0,
        }
        words = [word for key, value in options.items() for word in ("-X", f"{key}={value}")]
        return ["kcat", "-b", self.bootstrap, "-E", "-u", "-f", "R %p %o %s\n", *words, "-G", lane.group, lane.topic]

    @staticmethod
    def translate(name, line):
        moved = re.search(r"rebalanced.*: (assigned|revoked): (.*)", line)
        if moved:
            partitions = re.findall(r"\[(\d+)\]", moved[2])
            return " ".join([name, "+" if moved[1] == "assigned" else "-", *partitions])
        return f"{name} {line}" if line.startswith("R ") else f"{name} E {line}"


def clients(bootstrap, classes):
    jars = SCRATCH / "java" / "jars"
    return {
        each.name: each
        for each in (
            Client("java", bootstrap, [*JAVA, "-cp", f"{classes}:{jars}/*", "Member"]),
            Client("confluent", bootstrap, [sys.executable, HERE / "python" / "member_confluent.py"]),
            Client("aiokafka", bootstrap, [sys.executable, HERE / "python" / "member_aio.py"]),
            Client("franz-go", bootstrap, [SCRATCH / "go" / "matrix", "member"]),
            Client(
                "kafkajs",
                bootstrap,
                ["env", f"NODE_PATH={SCRATCH}/node/node_modules", "node", HERE / "node" / "member.js"],
            ),
            Kcat("kcat", bootstrap, []),
        )
    }

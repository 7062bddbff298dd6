"""Kafka's protocol by its own message definitions: encodes any request from a dictionary and
decodes any answer into one. The definitions are read from messages.txt, in the notation its
head explains."""
import re
import socket
import struct
import uuid as uuids
from pathlib import Path

PRIMITIVES = {
    "i8": "b", "i16": "h", "i32": "i", "i64": "q", "u16": "H", "u32": "I", "f64": "d", "bool": "?",
}  # fmt: skip
TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|\d+|[\[\](){}:=?~]")


class Malformed(Exception):
    """An answer that is not what its definition says."""


class Closed(Exception):
    """The connection was closed instead of an answer."""


# A shape is ("struct", fields, tagged | None, nullable), ("array", compact, shape, nullable) or
# (primitive, nullable); fields and tagged are lists of (name or tag, name, shape).
def parse(text):
    tokens = TOKEN.findall(text)
    at = 0

    def peek():
        return tokens[at] if at < len(tokens) else None

    def take(expected=None):
        nonlocal at
        token = tokens[at]
        if expected and token != expected:
            raise ValueError(f"{token} instead of {expected} in {text}")
        at += 1
        return token

    def nullable():
        if peek() == "?":
            take()
            return True
        return False

    def shape():
        if peek() == "(":
            take()
            fields, tagged = [], None
            while peek() != ")":
                if peek() == "~":
                    take()
                    tagged = []
                    if peek() == "{":
                        take()
                        while peek() != "}":
                            tag = int(take())
                            take("=")
                            name = take()
                            take(":")
                            tagged.append((tag, name, shape()))
                        take()
                    continue
                name = take()
                take(":")
                fields.append((name, shape()))
            take(")")
            return ("struct", fields, tagged, nullable())
        compact = False
        if peek() == "c" and tokens[at + 1] == "[":
            take()
            compact = True
        if peek() == "[":
            take()
            inner = shape()
            take("]")
            return ("array", compact, inner, nullable())
        return (take(), nullable())

    return shape()


def definitions(path=Path(__file__).with_name("messages.txt")):
    """{api key: {"name", "advertised", "request": {version: shape}, "response": {...}}}"""
    apis, current = {}, None
    for line in path.read_text(encoding="utf-8").splitlines():
        head = re.match(r"## (\d+) (\w+) · a 4\.3\.0 broker advertises (\d+)-(\d+)", line)
        if head:
            key, name, first, last = head.groups()
            current = {"name": name, "advertised": (int(first), int(last)), "request": {}, "response": {}}
            apis[int(key)] = current
            continue
        body = re.match(r"- (request|response) (\d+)(?:-(\d+))?: `(.*)`", line)
        if body and current:
            kind, first, last, text = body.groups()
            shape = parse(text)
            for version in range(int(first), int(last or first) + 1):
                current[kind][version] = shape
    return apis


def varint(n):
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def encode(shape, value):
    kind = shape[0]
    if kind == "struct":
        return encode_struct(shape, value)
    if kind == "array":
        _, compact, inner, nullable = shape
        if value is None:
            value = None if nullable else []
        if value is None:
            return b"\0" if compact else b"\xff\xff\xff\xff"
        count = varint(len(value) + 1) if compact else struct.pack(">i", len(value))
        return count + b"".join(encode(inner, v) for v in value)
    return encode_primitive(kind, shape[1], value)


def encode_struct(shape, value):
    _, fields, tagged, nullable = shape
    prefix = b"\x01" if nullable else b""
    if value is None and nullable:
        return b"\xff"
    value = value or {}
    out = prefix + b"".join(encode(inner, value.get(name)) for name, inner in fields)
    if tagged is None:
        return out
    given = [(tag, encode(inner, value[name])) for tag, name, inner in tagged if name in value]
    out += varint(len(given))
    return out + b"".join(varint(tag) + varint(len(data)) + data for tag, data in given)


def encode_primitive(kind, nullable, value):
    if kind in PRIMITIVES:
        return struct.pack(">" + PRIMITIVES[kind], value or 0)
    if kind == "uuid":
        return (value or uuids.UUID(int=0)).bytes
    compact = kind.startswith("c")
    if value is None and not nullable:
        value = b""
    if value is None:
        return b"\0" if compact else (b"\xff\xff" if kind == "str" else b"\xff\xff\xff\xff")
    data = value.encode() if isinstance(value, str) else value
    if compact:
        return varint(len(data) + 1) + data
    return struct.pack(">h" if kind == "str" else ">i", len(data)) + data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Malformed(f"{n} bytes wanted at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n : self.at]

    def unpack(self, code):
        return struct.unpack(">" + code, self.take(struct.calcsize(code)))[0]

    def varint(self):
        n = shift = 0
        while True:
            byte = self.take(1)[0]
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    def decode(self, shape):
        kind = shape[0]
        if kind == "struct":
            _, fields, tagged, nullable = shape
            if nullable and self.unpack("b") < 0:
                return None
            value = {name: self.decode(inner) for name, inner in fields}
            if tagged is not None:
                self.tagged(tagged, value)
            return value
        if kind == "array":
            _, compact, inner, _ = shape
            count = self.varint() - 1 if compact else self.unpack("i")
            return None if count < 0 else [self.decode(inner) for _ in range(count)]
        if kind in PRIMITIVES:
            return self.unpack(PRIMITIVES[kind])
        if kind == "uuid":
            return uuids.UUID(bytes=self.take(16))
        compact = kind.startswith("c")
        length = self.varint() - 1 if compact else self.unpack("h" if kind == "str" else "i")
        if length < 0:
            return None
        data = self.take(length)
        return data.decode() if kind.endswith("str") else data

    def tagged(self, known, value):
        for _ in range(self.varint()):
            tag, size = self.varint(), self.varint()
            data = Reader(self.take(size))
            shape = next(((n, s) for t, n, s in known if t == tag), None)
            if shape:
                value[shape[0]] = data.decode(shape[1])


def flexible(shape):
    return shape[2] is not None


class Connection:
    """One connection; requests one after the other."""

    def __init__(self, address, apis, timeout=20):
        host, port = address.rsplit(":", 1)
        self.apis, self.timeout = apis, timeout
        self.socket = socket.create_connection((host, int(port)), timeout)
        self.correlation = 0

    def close(self):
        self.socket.close()

    def frame(self, key, version, body, flexible_header):
        self.correlation += 1
        head = struct.pack(">hhi", key, version, self.correlation) + struct.pack(">h", 4) + b"diff"
        data = head + (b"\0" if flexible_header else b"") + body
        return struct.pack(">i", len(data)) + data

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Closed from error

    def receive(self):
        data = b""
        try:
            while len(data) < 4 or len(data) < 4 + struct.unpack(">i", data[:4])[0]:
                more = self.socket.recv(1 << 20)
                if not more:
                    raise Closed
                data += more
        except (ConnectionError, TimeoutError) as error:
            raise Closed from error
        return data[4:]

    def call(self, key, version, value, damage=None):
        """Sends `value` (its body changed by `damage`) and decodes the answer."""
        request = self.apis[key]["request"][version]
        body = encode(request, value)
        if damage:
            body = damage(body)
        self.send(self.frame(key, version, body, flexible(request)))
        return self.decode(key, version, self.receive())

    def decode(self, key, version, data):
        response = self.apis[key]["response"][version]
        reader = Reader(data)
        if reader.unpack("i") != self.correlation:
            raise Malformed("another request's answer")
        if flexible(response) and key != 18:
            reader.decode(("struct", [], [], False))
        value = reader.decode(response)
        if reader.at != len(data):
            raise Malformed(f"{len(data) - reader.at} bytes left over")
        return value

"""Record batches of version 2, right and wrong ones."""
import struct

TABLE = []
for n in range(256):
    crc = n
    for _ in range(8):
        crc = (crc >> 1) ^ 0x82F63B78 if crc & 1 else crc >> 1
    TABLE.append(crc)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def zigzag(n):
    n = (n << 1) ^ (n >> 63)
    n &= (1 << 64) - 1
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def record(i, timestamp_delta, key, value, headers=()):
    def data(x):
        return zigzag(-1) if x is None else zigzag(len(x)) + x

    body = b"\0" + zigzag(timestamp_delta) + zigzag(i) + data(key) + data(value) + zigzag(len(headers))
    body += b"".join(zigzag(len(k)) + k + data(v) for k, v in headers)
    return zigzag(len(body)) + body


def zstd(data):
    """A zstd frame of one block that is stored, not compressed: at most 255 bytes."""
    header = struct.pack("<IBB", 0xFD2FB528, 0x20, len(data))
    return header + (len(data) << 3 | 1).to_bytes(3, "little") + data


def batch(
    values,
    timestamp,
    *,
    attributes=0,
    magic=2,
    producer=(-1, -1, -1),
    records=None,
    count=None,
    last_delta=None,
    crc_xor=0,
    step=1,
    base_offset=0,
):
    """One batch holding `values`, a millisecond apart; the keywords make it a wrong one."""
    if records is None:
        records = b"".join(record(i, i * step, b"k%d" % i, v) for i, v in enumerate(values))
    n = len(values)
    tail = struct.pack(
        ">hiqqqhii",
        attributes,
        n - 1 if last_delta is None else last_delta,
        timestamp,
        timestamp + max(n - 1, 0) * step,
        producer[0],
        producer[1],
        producer[2],
        n if count is None else count,
    )
    tail += records
    head = struct.pack(">ibI", -1, magic, crc32c(tail) ^ crc_xor)
    return struct.pack(">qi", base_offset, len(head) + len(tail)) + head + tail

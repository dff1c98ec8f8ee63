"""aiokafka prints one JSON line per partition, byte for byte as Dump.java does with --typeless.

It reads from the starts to the last records that --until names (an output of Dump), waits a little
for what should not come, joins no group and commits nothing.

    aio.py --bootstrap B --until FILE [--isolation read_committed]
"""

import argparse
import asyncio
import hashlib
import json
import struct
import time

from aiokafka import AIOKafkaConsumer, TopicPartition

# How long nothing may come before all that was asked has come, and how long to wait behind the
# last record for one too many.
QUIET_SECONDS_MAX = 60
LINGER_SECONDS = 2


def sized(data):
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def canonical(record):
    """offset, timestamp, no type, key, value, headers: lengths before bytes, big-endian."""
    moment = -1 if record.timestamp is None else record.timestamp
    out = struct.pack(">qqb", record.offset, moment, 0) + sized(record.key) + sized(record.value)
    out += struct.pack(">i", len(record.headers))
    for name, value in record.headers:
        out += sized(name.encode()) + sized(value)
    return out


def load(path):
    """What to read, by partition."""
    every = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            one = json.loads(line)
            one.update(wanted=one["last"], records=0, first=-1, last=-1, sha256=hashlib.sha256())
            every[TopicPartition(one["topic"], one["partition"])] = one
    return every


async def read(consumer, every):
    consumer.assign(list(every))
    for place, one in every.items():
        consumer.seek(place, one["start"])
    moved = time.monotonic()
    while True:
        found = await consumer.getmany(timeout_ms=200)
        for place, records in found.items():
            one = every[place]
            for record in (record for record in records if record.offset < one["end"]):
                one["sha256"].update(canonical(record))
                one["first"] = record.offset if one["first"] < 0 else one["first"]
                one["last"] = record.offset
                one["records"] += 1
                moved = time.monotonic()
        complete = all(one["last"] >= one["wanted"] for one in every.values())
        quiet = time.monotonic() - moved
        if quiet > QUIET_SECONDS_MAX or (complete and quiet > LINGER_SECONDS):
            return


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--until", required=True)
    parser.add_argument("--isolation", default="read_uncommitted")
    args = parser.parse_args()
    every = load(args.until)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=args.bootstrap,
        isolation_level=args.isolation,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=4 << 20,
    )
    await consumer.start()
    try:
        await read(consumer, every)
    finally:
        await consumer.stop()
    for one in every.values():
        del one["wanted"]
        one["sha256"] = one["sha256"].hexdigest()
        print(json.dumps(one, separators=(",", ":")))


asyncio.run(main())

"""aiokafka reads so many records as a member of a group, prints partition and offset of each,
commits exactly these and leaves the group.

    aio_member.py --bootstrap B --topic T --group G --count N
"""

import argparse
import asyncio

from aiokafka import AIOKafkaConsumer

SECONDS_MAX = 60


async def take(consumer, left):
    while left > 0:
        found = await consumer.getmany(timeout_ms=500, max_records=left)
        for place, records in found.items():
            for record in records:
                print(place.partition, record.offset)
            left -= len(records)
            await consumer.commit({place: records[-1].offset + 1})


async def main():
    parser = argparse.ArgumentParser()
    for word in ("bootstrap", "topic", "group"):
        parser.add_argument("--" + word, required=True)
    parser.add_argument("--count", type=int, required=True)
    args = parser.parse_args()
    consumer = AIOKafkaConsumer(
        args.topic,
        bootstrap_servers=args.bootstrap,
        group_id=args.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        await asyncio.wait_for(take(consumer, args.count), SECONDS_MAX)
    finally:
        await consumer.stop()


asyncio.run(main())

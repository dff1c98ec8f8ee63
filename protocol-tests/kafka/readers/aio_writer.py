"""An aiokafka producer that writes when it is told to and else only stays connected.

It never writes by itself. A line of stdin: topic and value. A line of stdout for each: "ok
PARTITION OFFSET", or what it is refused for. It ends when its stdin is closed.

    aio_writer.py --bootstrap B
"""

import argparse
import asyncio
import sys

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError


async def obey(bootstrap):
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, metadata_max_age_ms=500, request_timeout_ms=10_000
    )
    await producer.start()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        topic, value = line.rstrip("\n").split(" ", 1)
        try:
            at = await producer.send_and_wait(topic, value.encode())
            print("ok", at.partition, at.offset, flush=True)
        except KafkaError as why:
            print("refused", repr(why), flush=True)
    await producer.stop()


if __name__ == "__main__":
    words = argparse.ArgumentParser()
    words.add_argument("--bootstrap", required=True)
    asyncio.run(obey(words.parse_args().bootstrap))

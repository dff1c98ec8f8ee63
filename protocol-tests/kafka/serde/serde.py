"""Writes records by Confluent's serializers, or reads them by its deserializers (see run)."""

import json
import struct
import sys

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

WAIT_S = 120


def avro(version):
    """A record that gets a field more with each version."""
    fields = [{"name": "n", "type": "long"}]
    fields += [{"name": f"f{v}", "type": "string", "default": ""} for v in range(version)]
    return json.dumps({"type": "record", "name": "Order", "namespace": "t", "fields": fields})


OBJECT = json.dumps({
    "title": "Order",
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
})


def schema_id(value):
    """The number behind the magic byte."""
    magic, number = struct.unpack(">bI", value[:5])
    assert magic == 0, value
    return number


def write(bootstrap, url, topic, count):
    registry = SchemaRegistryClient({"url": url})
    context = SerializationContext(topic, MessageField.VALUE)
    if topic.startswith("json"):
        serializers = [JSONSerializer(OBJECT, registry)]
    else:
        serializers = [AvroSerializer(registry, avro(version)) for version in range(3)]
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    lines = []

    def told(error, message):
        assert error is None, error
        number = schema_id(message.value())
        lines.append((message.partition(), message.offset(), number, message.key().decode()))

    for n in range(count):
        value = serializers[n % len(serializers)]({"n": n}, context)
        producer.produce(topic, value=value, key=str(n), on_delivery=told)
    assert producer.flush(WAIT_S) == 0, "not all were written"
    return lines


def read(bootstrap, url, topic, count):
    registry = SchemaRegistryClient({"url": url})
    context = SerializationContext(topic, MessageField.VALUE)
    if topic.startswith("json"):
        deserializer = JSONDeserializer(OBJECT, schema_registry_client=registry)
    else:
        deserializer = AvroDeserializer(registry)
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "serde"})
    partitions = consumer.list_topics(topic, WAIT_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, one, 0) for one in partitions])
    lines = []
    while len(lines) < count:
        message = consumer.poll(WAIT_S)
        assert message is not None, f"{len(lines)} of {count} records came"
        assert message.error() is None or message.error().code() == KafkaError._PARTITION_EOF
        value = deserializer(message.value(), context)
        number = schema_id(message.value())
        lines.append((message.partition(), message.offset(), number, str(value["n"])))
    consumer.close()
    return lines


def main(verb, bootstrap, url, topic, count):
    lines = {"write": write, "read": read}[verb](bootstrap, url, topic, int(count))
    for line in sorted(lines):
        print(*line)


main(*sys.argv[1:])

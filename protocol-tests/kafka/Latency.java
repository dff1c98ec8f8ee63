// How long a record takes from its producer's timestamp until a consumer has it, at both ends of a
// mirror at the same time, in one process with one clock. Prints one JSON line. The source's own
// figure is the base line: it holds the producer's linger, the broker's write and the consumer.
// It joins no group and writes nothing.
//
//   Latency --source B --destination B --topics a,b [--seconds 20] [--warm-seconds 5]
//
// Records whose timestamp is older than the end of the warm-up are not counted.

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Latency {
    private static final int MS_MAX = 120_000;

    /** One end: how many records had which latency. */
    private static final class Ear extends Thread {
        final KafkaConsumer<byte[], byte[]> consumer;
        final long from;
        final long until;
        final long[] counts = new long[MS_MAX + 1];
        long records;
        long bytes;
        Exception error;

        Ear(String bootstrap, String topics, long from, long until) {
            consumer = consumer(bootstrap);
            this.from = from;
            this.until = until;
            List<TopicPartition> all = new ArrayList<>();
            for (String topic : topics.split(",")) {
                for (PartitionInfo info : consumer.partitionsFor(topic)) {
                    all.add(new TopicPartition(topic, info.partition()));
                }
            }
            consumer.assign(all);
            consumer.seekToEnd(all);
        }

        @Override
        public void run() {
            try (consumer) {
                while (System.currentTimeMillis() < until) {
                    var got = consumer.poll(Duration.ofMillis(100));
                    long now = System.currentTimeMillis();
                    for (ConsumerRecord<byte[], byte[]> record : got) add(record, now);
                }
            } catch (Exception e) {
                error = e;
            }
        }

        void add(ConsumerRecord<byte[], byte[]> record, long now) {
            if (record.timestamp() < from) return;
            counts[(int) Math.max(0, Math.min(MS_MAX, now - record.timestamp()))]++;
            records++;
            bytes += Math.max(0, record.serializedValueSize());
        }

        /** The smallest latency that this share of the records does not exceed. */
        long quantile(double share) {
            long left = (long) Math.ceil(records * share);
            for (int ms = 0; ms < counts.length; ms++) {
                left -= counts[ms];
                if (left <= 0) return ms;
            }
            return MS_MAX;
        }

        String json(String side) {
            return String.format(Locale.ROOT, "\"%s\":{\"records\":%d,\"bytes\":%d,\"p50_ms\":%d,"
                + "\"p99_ms\":%d,\"p999_ms\":%d,\"max_ms\":%d}", side, records, bytes,
                quantile(0.5), quantile(0.99), quantile(0.999), quantile(1));
        }
    }

    public static void main(String[] argv) throws Exception {
        Args args = new Args(argv,
            Set.of("source", "destination", "topics", "seconds", "warm-seconds"), Set.of());
        long from = System.currentTimeMillis() + args.number("warm-seconds", 5) * 1000;
        long until = from + args.number("seconds", 20) * 1000;
        Ear source = new Ear(args.need("source"), args.need("topics"), from, until);
        Ear destination = new Ear(args.need("destination"), args.need("topics"), from, until);
        source.start();
        destination.start();
        source.join();
        destination.join();
        for (Ear ear : List.of(source, destination)) {
            if (ear.error != null) throw ear.error;
            if (ear.records == 0) throw new Exception("nothing was heard");
        }
        System.out.printf("{%s,%s}%n", source.json("source"), destination.json("destination"));
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap) {
        String bytes = ByteArrayDeserializer.class.getName();
        return new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap,
            "key.deserializer", bytes, "value.deserializer", bytes, "max.poll.records", "5000",
            "enable.auto.commit", "false", "auto.offset.reset", "latest"));
    }
}

// One member of a consumer group with the Java consumer: prints a line for each record that it takes,
// as rk-group (benches/peers) does, and commits what it has printed.
// It never commits a record before its line is out, and produces nothing.
//
//   Member --bootstrap B --topics a,b --group G [--commit-ms 500] [--prop k=v]…
//
// A line: topic, partition, offset, SHA-256 as of `Dump --lines`, milliseconds since 1970. It ends
// when its stdin is closed: commits, leaves the group, exit code 0.

import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Member {
    private static final Duration POLL_MAX = Duration.ofMillis(100);

    public static void main(String[] argv) throws Exception {
        Args args = new Args(argv,
            Set.of("bootstrap", "topics", "group", "commit-ms", "prop"), Set.of());
        Thread watcher = stdinWatcher();
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config(args))) {
            consumer.subscribe(List.of(args.need("topics").split(",")), handing(consumer));
            take(consumer, watcher, args.number("commit-ms", 500));
        }
    }

    private static Map<String, Object> config(Args args) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args.need("bootstrap"));
        config.put("group.id", args.need("group"));
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        config.put("enable.auto.commit", "false");
        config.put("auto.offset.reset", "earliest");
        config.put("check.crcs", "true");
        config.put("fetch.max.wait.ms", "100");
        args.propsInto(config);
        return config;
    }

    private static void take(KafkaConsumer<byte[], byte[]> consumer, Thread watcher, long everyMs) {
        long committed = System.nanoTime();
        while (watcher.isAlive()) {
            print(consumer.poll(POLL_MAX));
            if (System.nanoTime() - committed >= everyMs * 1_000_000L) {
                consumer.commitSync();
                committed = System.nanoTime();
            }
        }
        consumer.commitSync();
    }

    /** All lines of a poll are with the kernel before its offsets can be committed. */
    private static void print(ConsumerRecords<byte[], byte[]> records) {
        long ms = System.currentTimeMillis();
        StringBuilder lines = new StringBuilder();
        for (ConsumerRecord<byte[], byte[]> record : records) {
            lines.append(record.topic()).append(' ').append(record.partition()).append(' ')
                .append(record.offset()).append(' ').append(Dump.digest(record)).append(' ')
                .append(ms).append('\n');
        }
        System.out.print(lines);
        System.out.flush();
    }

    /** What was taken is committed before partitions go to another member. */
    private static ConsumerRebalanceListener handing(KafkaConsumer<byte[], byte[]> consumer) {
        return new ConsumerRebalanceListener() {
            @Override public void onPartitionsRevoked(Collection<TopicPartition> gone) {
                consumer.commitSync();
            }

            @Override public void onPartitionsAssigned(Collection<TopicPartition> got) { }
        };
    }

    /** Lives as long as somebody holds the other end of stdin. */
    private static Thread stdinWatcher() {
        Thread watcher = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (java.io.IOException e) {
                // A broken stdin is a closed one.
            }
        });
        watcher.setDaemon(true);
        watcher.start();
        return watcher;
    }
}

// Watches a mirror catch up, from outside: the destination's end offsets and the CPU ticks of the
// mirror's process, from the first copied record to the last. Prints one JSON line. The same
// yardstick for every peer: start-up (a JVM's, a group's first rebalance) is left out.
// It never asks the mirror itself, and writes nothing.
//
//   Watch --source B --destination B --topics a,b --pid PID --bytes PAYLOAD_BYTES
//         [--skip-percent 0] [--every-ms 200] [--seconds-max 600] [--thaw]
//
// --thaw: the process was started stopped (SIGSTOP); it gets SIGCONT once the watch is ready.
// --bytes: payload of all the records; what was copied between the first and the last sample is
//   taken as its share. --skip-percent: the part of the records that is warm-up.

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Watch {
    private static final double TICKS_PER_SECOND = 100.0; // USER_HZ

    private record Sample(long nanos, double cpuSeconds, long records) { }

    public static void main(String[] argv) throws Exception {
        Args args = new Args(argv, Set.of("source", "destination", "topics", "pid", "bytes",
            "skip-percent", "every-ms", "seconds-max"), Set.of("thaw"));
        long total = sum(args.need("source"), args.need("topics"));
        try (var consumer = consumer(args.need("destination"))) {
            sample(args, consumer); // dials and warms up before there is anything to miss
            if (args.has("thaw")) thaw(args.need("pid"));
            watch(args, total, consumer);
        }
    }

    private static void thaw(String pid) throws Exception {
        int status = new ProcessBuilder("kill", "-CONT", pid).start().waitFor();
        if (status != 0) throw new Exception("process " + pid + " cannot be thawed");
    }

    private static void watch(Args args, long total, KafkaConsumer<byte[], byte[]> consumer)
            throws Exception {
        long skip = Math.max(1, total * args.number("skip-percent", 0) / 100);
        long deadline = System.nanoTime() + args.number("seconds-max", 600) * 1_000_000_000L;
        Sample first = null;
        while (true) {
            Sample now = sample(args, consumer);
            if (first == null && now.records >= skip) first = now;
            if (now.records >= total) {
                print(args, first, now, total);
                return;
            }
            if (System.nanoTime() > deadline) {
                throw new Exception("only " + now.records + " of " + total + " came");
            }
            Thread.sleep(args.number("every-ms", 200));
        }
    }

    private static void print(Args args, Sample first, Sample last, long total) throws Exception {
        long records = last.records - first.records;
        double gb = args.number("bytes", 0) / 1e9 * records / total;
        double seconds = (last.nanos - first.nanos) / 1e9;
        double cpu = last.cpuSeconds - first.cpuSeconds;
        System.out.printf(Locale.ROOT, "{\"records\":%d,\"records_total\":%d,\"bytes\":%.0f,"
                + "\"seconds\":%.3f,\"cpu_seconds\":%.2f,\"cpu_seconds_per_gb\":%.3f,"
                + "\"mb_per_second\":%.1f,\"rss_bytes_max\":%d}%n",
            records, total, gb * 1e9, seconds, cpu, cpu / gb, gb * 1e3 / seconds,
            rss(args.need("pid")));
    }

    private static Sample sample(Args args, KafkaConsumer<byte[], byte[]> consumer)
            throws Exception {
        long records = sum(consumer, args.need("topics"));
        return new Sample(System.nanoTime(), cpu(args.need("pid")), records);
    }

    private static double cpu(String pid) throws Exception {
        String stat = Files.readString(Path.of("/proc/" + pid + "/stat"));
        String[] fields = stat.substring(stat.lastIndexOf(')') + 2).split(" ");
        return (Long.parseLong(fields[11]) + Long.parseLong(fields[12])) / TICKS_PER_SECOND;
    }

    private static long rss(String pid) throws Exception {
        for (String line : Files.readAllLines(Path.of("/proc/" + pid + "/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) * 1024;
            }
        }
        return 0;
    }

    private static long sum(String bootstrap, String topics) {
        try (var consumer = consumer(bootstrap)) {
            return sum(consumer, topics);
        }
    }

    /** End offsets minus start offsets of all the topics that exist. */
    private static long sum(KafkaConsumer<byte[], byte[]> consumer, String topics) {
        List<TopicPartition> all = new ArrayList<>();
        Map<String, List<PartitionInfo>> known = consumer.listTopics(Duration.ofSeconds(30));
        for (String topic : topics.split(",")) {
            for (PartitionInfo info : known.getOrDefault(topic, List.of())) {
                if (info.leader() != null) all.add(new TopicPartition(topic, info.partition()));
            }
        }
        long ends = total(consumer.endOffsets(all));
        return ends - total(consumer.beginningOffsets(all));
    }

    private static long total(Map<TopicPartition, Long> offsets) {
        return offsets.values().stream().mapToLong(Long::longValue).sum();
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap) {
        String bytes = ByteArrayDeserializer.class.getName();
        return new KafkaConsumer<>(Map.of("bootstrap.servers", bootstrap,
            "key.deserializer", bytes, "value.deserializer", bytes,
            "enable.auto.commit", "false", "metadata.max.age.ms", "1000"));
    }
}

// Reads topics with the Java consumer and prints one JSON line per partition: the range read, how
// many records, and a SHA-256 over every field of every record that a client can see.
// rk-dump (benches/peers) prints the same bytes for the same records: plain `diff` compares them.
// It never commits, joins no group, and writes nothing.
//
//   Dump --bootstrap B --topics a,b [--isolation read_committed] [--ends FILE] [--lines]
//        [--quiet-seconds 60] [--typeless] [--group NAME] [--prop k=v]…
//
// --ends FILE: read up to the ends that an earlier output names, not to the log's own end.
// --typeless: as if every timestamp were the producer's: what a mirror of a LogAppendTime topic shows.
// --group: as a member of this group, from the earliest offsets; it still commits nothing.
// --lines: before each partition's line, one line per record: offset and digest of it alone.

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class Dump {
    private static final Pattern END_LINE = Pattern.compile(
        "\\{\"topic\":\"([^\"]+)\",\"partition\":(\\d+),\"start\":\\d+,\"end\":(\\d+),.*");

    /** What was seen of one partition. */
    private static final class Seen {
        final long start;
        final long end;
        final MessageDigest digest = sha256();
        final List<String> lines = new ArrayList<>();
        long records;
        long first = -1;
        long last = -1;
        boolean done;

        Seen(long start, long end) {
            this.start = start;
            this.end = end;
            this.done = start >= end;
        }

        void add(ConsumerRecord<byte[], byte[]> record, Args args) {
            byte[] bytes = canonical(record, args.has("typeless"));
            digest.update(bytes);
            if (args.has("lines")) lines.add(record.offset() + " " + hex(sha256().digest(bytes)));
            if (first < 0) first = record.offset();
            last = record.offset();
            records++;
        }
    }

    public static void main(String[] argv) throws Exception {
        Args args = new Args(argv,
            Set.of("bootstrap", "topics", "isolation", "ends", "quiet-seconds", "group",
                "prop"),
            Set.of("lines", "typeless"));
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(config(args))) {
            TreeMap<String, Seen> all = plan(consumer, args);
            read(consumer, all, args, args.number("quiet-seconds", 60));
            all.forEach(Dump::print);
        }
    }

    private static Map<String, Object> config(Args args) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args.need("bootstrap"));
        config.put("isolation.level", args.text("isolation", "read_uncommitted"));
        config.put("key.deserializer", ByteArrayDeserializer.class.getName());
        config.put("value.deserializer", ByteArrayDeserializer.class.getName());
        config.put("enable.auto.commit", "false");
        config.put("auto.offset.reset", args.has("group") ? "earliest" : "none");
        if (args.has("group")) config.put("group.id", args.text("group", null));
        config.put("check.crcs", "true");
        config.put("max.poll.records", "5000");
        config.put("max.partition.fetch.bytes", "4194304");
        args.propsInto(config);
        return config;
    }

    /** The ranges to read, by a key that sorts topics by name and partitions by number. */
    private static TreeMap<String, Seen> plan(KafkaConsumer<?, ?> consumer, Args args)
            throws Exception {
        List<TopicPartition> partitions = new ArrayList<>();
        for (String topic : args.need("topics").split(",")) {
            List<PartitionInfo> infos = consumer.partitionsFor(topic);
            if (infos == null || infos.isEmpty()) throw new Exception("no topic " + topic);
            for (PartitionInfo info : infos) {
                partitions.add(new TopicPartition(topic, info.partition()));
            }
        }
        if (!args.has("group")) consumer.assign(partitions);
        Map<TopicPartition, Long> starts = consumer.beginningOffsets(partitions);
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        Map<String, Long> asked = asked(args);
        TreeMap<String, Seen> all = new TreeMap<>();
        for (TopicPartition at : partitions) {
            long end = Math.min(ends.get(at), asked.getOrDefault(key(at), Long.MAX_VALUE));
            all.put(key(at), new Seen(starts.get(at), end));
            if (!args.has("group")) consumer.seek(at, starts.get(at));
        }
        if (args.has("group")) join(consumer, args, partitions.size());
        return all;
    }

    /** Subscribes and waits until it has everything, then starts from the beginning. */
    private static void join(KafkaConsumer<?, ?> consumer, Args args, int partitions)
            throws Exception {
        consumer.subscribe(List.of(args.need("topics").split(",")));
        long until = System.nanoTime() + 60_000_000_000L;
        while (consumer.assignment().size() < partitions) {
            if (System.nanoTime() > until) throw new Exception("the group gave not everything");
            consumer.poll(Duration.ofMillis(100));
        }
        consumer.seekToBeginning(consumer.assignment());
    }

    private static Map<String, Long> asked(Args args) throws Exception {
        Map<String, Long> ends = new HashMap<>();
        if (!args.has("ends")) return ends;
        for (String line : Files.readAllLines(Path.of(args.text("ends", null)))) {
            Matcher match = END_LINE.matcher(line);
            if (match.matches()) {
                var at = new TopicPartition(match.group(1), Integer.parseInt(match.group(2)));
                ends.put(key(at), Long.parseLong(match.group(3)));
            }
        }
        return ends;
    }

    private static String key(TopicPartition at) {
        return String.format("%s %010d", at.topic(), at.partition());
    }

    private static void read(KafkaConsumer<byte[], byte[]> consumer, TreeMap<String, Seen> all,
            Args args, long quietSeconds) throws Exception {
        settle(consumer, all);
        long quietSince = System.nanoTime();
        while (all.values().stream().anyMatch(seen -> !seen.done)) {
            int got = 0;
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                got++;
                Seen seen = all.get(key(new TopicPartition(record.topic(), record.partition())));
                if (record.offset() < seen.end) seen.add(record, args);
            }
            boolean moved = settle(consumer, all) || got > 0;
            if (moved) quietSince = System.nanoTime();
            if (System.nanoTime() - quietSince > quietSeconds * 1_000_000_000L) {
                throw new Exception("nothing more comes; unfinished: " + unfinished(consumer, all));
            }
        }
    }

    /** Marks and pauses what has been read to its end; position also steps over hidden records. */
    private static boolean settle(KafkaConsumer<?, ?> consumer, TreeMap<String, Seen> all) {
        boolean moved = false;
        for (TopicPartition at : consumer.assignment()) {
            Seen seen = all.get(key(at));
            if (consumer.paused().contains(at)) continue;
            if (seen.done || consumer.position(at) >= seen.end) {
                seen.done = true;
                consumer.pause(List.of(at));
                moved = true;
            }
        }
        return moved;
    }

    private static String unfinished(KafkaConsumer<?, ?> consumer, TreeMap<String, Seen> all) {
        StringBuilder text = new StringBuilder();
        for (TopicPartition at : consumer.assignment()) {
            Seen seen = all.get(key(at));
            if (!seen.done) {
                text.append(at).append(" at ").append(consumer.position(at)).append(" of ")
                    .append(seen.end).append("; ");
            }
        }
        return text.toString();
    }

    /** What `--lines` shows of a record beside its offset. */
    static String digest(ConsumerRecord<byte[], byte[]> record) {
        return hex(sha256().digest(canonical(record, false)));
    }

    /** offset, timestamp, its type, key, value, headers: lengths before bytes, big-endian. */
    private static byte[] canonical(ConsumerRecord<byte[], byte[]> record, boolean typeless) {
        int size = 8 + 8 + 1 + sized(record.key()) + sized(record.value()) + 4;
        for (Header header : record.headers()) {
            size += sized(utf8(header.key())) + sized(header.value());
        }
        ByteBuffer to = ByteBuffer.allocate(size);
        to.putLong(record.offset()).putLong(record.timestamp());
        to.put((byte) (typeless ? 0 : record.timestampType().id));
        put(to, record.key());
        put(to, record.value());
        to.putInt(record.headers().toArray().length);
        for (Header header : record.headers()) {
            put(to, utf8(header.key()));
            put(to, header.value());
        }
        return to.array();
    }

    private static int sized(byte[] bytes) {
        return 4 + (bytes == null ? 0 : bytes.length);
    }

    private static void put(ByteBuffer to, byte[] bytes) {
        to.putInt(bytes == null ? -1 : bytes.length);
        if (bytes != null) to.put(bytes);
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static MessageDigest sha256() {
        try {
            return MessageDigest.getInstance("SHA-256");
        } catch (java.security.NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }

    private static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    private static void print(String key, Seen seen) {
        String topic = key.substring(0, key.lastIndexOf(' '));
        int partition = Integer.parseInt(key.substring(key.lastIndexOf(' ') + 1));
        for (String line : seen.lines) System.out.println(topic + " " + partition + " " + line);
        System.out.printf(java.util.Locale.ROOT, "{\"topic\":\"%s\",\"partition\":%d,\"start\":%d,\"end\":%d,"
                + "\"records\":%d,\"first\":%d,\"last\":%d,\"sha256\":\"%s\"}%n",
            topic, partition, seen.start, seen.end, seen.records, seen.first, seen.last,
            hex(seen.digest.digest()));
    }
}

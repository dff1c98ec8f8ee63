// Writes records with the Java producer over all partitions of some topics, one codec per topic,
// and prints what it wrote as one JSON line. It outlives broker kills: it retries until its
// delivery timeout (ten minutes). It never reads, and never deletes a topic.
//
//   Load --bootstrap B --topics a=none,b=gzip,c=snappy,d=lz4,e=zstd
//        [--create PARTITIONS:REPLICAS] [--topic-config k=v]…
//        [--records N] [--until-stdin] [--rate RECORDS/S] [--size BYTES] [--plain] [--lossy]
//        [--keys N] [--tombstone-percent P] [--age MS]
//        [--txn RECORDS] [--txn-id PREFIX] [--abort-percent P] [--seed N] [--linger MS] [--batch BYTES]
//        [--acks all] [--idempotent true] [--acked FILE] [--prop k=v]…
//
// --records: in all; without it, it writes until stdin closes (which --until-stdin also asks for).
// --plain: no key, no header, a value of exactly --size bytes (half of them random, as the
//   OpenMessaging benchmark does). Else a mixture: null keys, null and empty values, 0-3 headers
//   with null values and doubled names, sizes from 0 to twice --size.
// --keys: every record has one of N keys, as a compacted topic wants it; then values are null only
//   by --tombstone-percent. --age: timestamps lie so far back.
// --headerless: no headers, which old message formats do not know.
// --txn: every so many records of a topic are one transaction, --abort-percent of them aborted.
// --acked: a line for each record that was acknowledged, as it comes: topic, partition, offset,
//   milliseconds since 1970. It is with the kernel at once, so that a kill loses none.
// --lossy: goes on after a record that could not be delivered, and counts it. For tests that kill
//   brokers: an idempotent producer whose first batch was lost with its leader can be refused for
//   ever, because the next leader takes the second batch for the beginning.

import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.errors.ProducerFencedException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.TransactionAbortedException;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.Exit;

public final class Load {
    private static final int POOL = 512; // ready-made plain values

    private final Args args;
    private final Random random;
    private final int size;
    private final boolean plain;
    private final byte[][] pool;
    private final List<Lane> lanes = new ArrayList<>();
    private final AtomicReference<Exception> firstError = new AtomicReference<>();
    private final AtomicLong errors = new AtomicLong();
    private FileOutputStream ackLog; // no buffer: a record's line is out before its callback ends
    private volatile boolean stopped;

    /** One topic with its own producer, so that its codec is its own. */
    private static final class Lane {
        final String topic;
        final String codec;
        KafkaProducer<byte[], byte[]> producer;
        final AtomicLong acked = new AtomicLong();
        final AtomicLong bytes = new AtomicLong();
        int partitions;
        long sent;
        long inTransaction;

        Lane(String topic, String codec, KafkaProducer<byte[], byte[]> producer) {
            this.topic = topic;
            this.codec = codec;
            this.producer = producer;
        }
    }

    public static void main(String[] argv) throws Exception {
        new Load(new Args(argv,
            Set.of("bootstrap", "topics", "create", "topic-config", "records", "rate", "size",
                "keys", "tombstone-percent", "age", "txn", "txn-id", "abort-percent", "seed", "linger", "batch", "acks", "idempotent", "acked", "prop"),
            Set.of("until-stdin", "plain", "headerless", "lossy"))).run();
    }

    private Load(Args args) {
        this.args = args;
        random = new Random(args.number("seed", 1));
        size = (int) args.number("size", 256);
        plain = args.has("plain");
        pool = new byte[POOL][];
        for (int i = 0; i < POOL; i++) pool[i] = value(size);
    }

    private void run() throws Exception {
        create();
        open();
        if (args.has("acked")) ackLog = new FileOutputStream(args.text("acked", null), true);
        long records = args.number("records", Long.MAX_VALUE);
        if (args.has("until-stdin") || !args.has("records")) watchStdin();
        long start = System.nanoTime();
        write(records, start);
        for (Lane lane : lanes) close(lane);
        report((System.nanoTime() - start) / 1e9);
        if (errors.get() > 0 && !args.has("lossy")) Exit.exit(1);
    }

    private void create() throws Exception {
        if (!args.has("create")) return;
        String[] shape = args.text("create", null).split(":");
        Map<String, String> configs = new HashMap<>();
        for (String config : args.all("topic-config")) {
            configs.put(config.split("=", 2)[0], config.split("=", 2)[1]);
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args.need("bootstrap")))) {
            for (String topic : args.need("topics").split(",")) {
                var wanted = new NewTopic(topic.split("=")[0], Integer.parseInt(shape[0]),
                    Short.parseShort(shape[1])).configs(configs);
                try {
                    admin.createTopics(List.of(wanted)).all().get();
                } catch (ExecutionException e) {
                    if (!(e.getCause() instanceof TopicExistsException)) throw e;
                }
            }
        }
    }

    private void open() {
        for (String topic : args.need("topics").split(",")) {
            String[] parts = topic.split("=");
            String codec = parts.length > 1 ? parts[1] : "none";
            Lane lane = new Lane(parts[0], codec, new KafkaProducer<>(config(parts[0], codec)));
            if (args.has("txn")) lane.producer.initTransactions();
            lane.partitions = partitions(lane);
            lanes.add(lane);
        }
    }

    /** A topic just created may not be known to every broker for some milliseconds. */
    private static int partitions(Lane lane) {
        return lane.producer.partitionsFor(lane.topic).size();
    }

    private Map<String, Object> config(String topic, String codec) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args.need("bootstrap"));
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        config.put("compression.type", codec);
        config.put("acks", args.text("acks", "all"));
        config.put("enable.idempotence", args.text("idempotent", "true"));
        config.put("linger.ms", args.text("linger", "5"));
        config.put("batch.size", args.text("batch", "65536"));
        config.put("delivery.timeout.ms", "600000");
        config.put("request.timeout.ms", "10000");
        config.put("max.block.ms", "600000");
        config.put("max.request.size", "8388608");
        if (args.has("txn")) config.put("transactional.id", args.text("txn-id", "load") + "-" + topic);
        args.propsInto(config);
        return config;
    }

    private void watchStdin() {
        Thread watcher = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (IOException e) {
                // A broken stdin is a closed one.
            }
            stopped = true;
        });
        watcher.setDaemon(true);
        watcher.start();
    }

    private void write(long records, long start) throws InterruptedException {
        long rate = args.number("rate", 0);
        long firsts = firsts();
        for (long n = 0; n < records && !stopped && (errors.get() == 0 || args.has("lossy")); n++) {
            if (rate > 0) {
                long due = start + n * 1_000_000_000L / rate;
                long early = due - System.nanoTime();
                if (early > 1_000_000) Thread.sleep(early / 1_000_000);
            }
            send(lanes.get((int) (n % lanes.size())));
            if (n + 1 == firsts) lanes.forEach(lane -> lane.producer.flush());
        }
    }

    /**
     * Each partition's first record is acked before its next is sent: of several first batches in
     * flight to a leader that is not ready the first may be refused and the second taken, which a
     * broker lets begin a log at any sequence; then the first is refused for ever.
     */
    private long firsts() {
        return (long) lanes.size() * lanes.stream().mapToInt(lane -> lane.partitions).max().orElse(0);
    }

    private void send(Lane lane) {
        try {
            sendOne(lane);
        } catch (InvalidTxnStateException | ProducerFencedException e) {
            reopen(lane, e);
        }
    }

    private void sendOne(Lane lane) {
        begin(lane);
        int partition = (int) (lane.sent++ % lane.partitions);
        var record = plain ? plainRecord(lane, partition) : mixedRecord(lane, partition);
        int bytes = (record.key() == null ? 0 : record.key().length)
            + (record.value() == null ? 0 : record.value().length);
        lane.producer.send(record, (metadata, error) -> {
            if (error == null) {
                lane.acked.incrementAndGet();
                lane.bytes.addAndGet(bytes);
                logAck(metadata);
            } else if (!(error instanceof TransactionAbortedException
                || error instanceof InvalidTxnStateException
                || error instanceof ProducerFencedException)) {
                errors.incrementAndGet();
                firstError.compareAndSet(null, error);
            }
        });
        end(lane, args.number("txn", 0));
    }

    /** One write of a whole line: those of several producers do not mix. */
    private void logAck(RecordMetadata record) {
        if (ackLog == null) return;
        String line = record.topic() + ' ' + record.partition() + ' ' + record.offset() + ' '
            + System.currentTimeMillis() + '\n';
        try {
            ackLog.write(utf8(line));
        } catch (IOException e) {
            errors.incrementAndGet();
            firstError.compareAndSet(null, e);
        }
    }

    private void begin(Lane lane) {
        if (args.has("txn") && lane.inTransaction++ == 0) lane.producer.beginTransaction();
    }

    private void end(Lane lane, long records) {
        if (records == 0 || lane.inTransaction < records) return;
        lane.inTransaction = 0;
        try {
            if (random.nextInt(100) < args.number("abort-percent", 0)) {
                lane.producer.flush(); // aborted records must reach the log to be worth a test
                lane.producer.abortTransaction();
            } else {
                lane.producer.commitTransaction();
            }
        } catch (InvalidTxnStateException | ProducerFencedException e) {
            reopen(lane, e);
        }
    }

    /**
     * Transactions of version 2 end so now and then on a slow machine, or fenced by themselves after
     * their coordinator was killed, and the producer is of no use any more (seen on 4.3.1;
     * KAFKA-20785 is one way): the next one aborts what it left open. Nobody else has its id.
     */
    private void reopen(Lane lane, RuntimeException why) {
        System.err.println(lane.topic + ": a new producer, for its transaction ended so: " + why);
        lane.inTransaction = 0;
        lane.producer.close(Duration.ZERO);
        lane.producer = new KafkaProducer<>(config(lane.topic, lane.codec));
        lane.producer.initTransactions();
    }

    private void close(Lane lane) {
        end(lane, lane.inTransaction);
        lane.producer.flush();
        lane.producer.close();
    }

    private ProducerRecord<byte[], byte[]> plainRecord(Lane lane, int partition) {
        return new ProducerRecord<>(lane.topic, partition, null, pool[random.nextInt(POOL)]);
    }

    private ProducerRecord<byte[], byte[]> mixedRecord(Lane lane, int partition) {
        long keys = args.number("keys", 0);
        byte[] key = keys > 0 ? utf8("key-" + random.nextInt((int) keys))
            : random.nextInt(8) == 0 ? null : utf8("key-" + random.nextInt(10_000));
        byte[] value = switch (random.nextInt(32)) {
            case 0 -> keys > 0 ? new byte[0] : null;
            case 1 -> new byte[0];
            default -> value(random.nextInt(2 * size + 1));
        };
        if (random.nextInt(100) < args.number("tombstone-percent", 0)) value = null;
        Long time = args.has("age") ? System.currentTimeMillis() - args.number("age", 0) : null;
        var record = new ProducerRecord<>(lane.topic, partition, time, key, value);
        if (!args.has("headerless")) addHeaders(record.headers());
        return record;
    }

    private void addHeaders(Headers headers) {
        for (int n = random.nextInt(4); n > 0; n--) {
            String name = random.nextInt(4) == 0 ? "doubled" : "header-é-" + n;
            headers.add(name, random.nextInt(4) == 0 ? null : utf8("v" + random.nextInt()));
        }
    }

    /** Half random, half constant: compresses about two to one. */
    private byte[] value(int length) {
        byte[] bytes = new byte[length];
        byte[] noise = new byte[length / 2];
        random.nextBytes(noise);
        System.arraycopy(noise, 0, bytes, 0, noise.length);
        return bytes;
    }

    private static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private void report(double seconds) {
        long records = lanes.stream().mapToLong(lane -> lane.acked.get()).sum();
        long bytes = lanes.stream().mapToLong(lane -> lane.bytes.get()).sum();
        String topics = lanes.stream().map(lane -> String.format(
                "{\"topic\":\"%s\",\"codec\":\"%s\",\"partitions\":%d,\"records\":%d}",
                lane.topic, lane.codec, lane.partitions, lane.acked.get()))
            .collect(Collectors.joining(","));
        String error = firstError.get() == null ? "null"
            : '"' + firstError.get().toString().replaceAll("[\"\\\\\n]", " ") + '"';
        System.out.printf(java.util.Locale.ROOT, "{\"records\":%d,\"bytes\":%d,\"seconds\":%.3f,\"errors\":%d,"
            + "\"error\":%s,\"topics\":[%s]}%n", records, bytes, seconds, errors.get(), error, topics);
    }
}

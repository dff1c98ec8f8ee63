// A Kafka Streams application: it counts the records of a topic by key, in a store that has a
// changelog, and prints its counts as one JSON line whenever it has counted so many in all.
//
//   Standby BOOTSTRAP APPLICATION TOPIC STATE_DIR
//
// stdin: a number of records in each line; the line `{"key":count,…}` comes on stdout once that
// many are counted. It ends when stdin does. Its store is kept in memory: what it has after a start
// comes from its changelog.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StoreQueryParameters;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.InvalidStateStoreException;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.state.QueryableStoreTypes;
import org.apache.kafka.streams.state.Stores;

public final class Standby {
    private static final String STORE = "counts";
    private static final long COUNTED_WITHIN_MS = 120_000;

    public static void main(String[] words) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        builder.stream(words[2], Consumed.with(Serdes.String(), Serdes.ByteArray()))
            .groupByKey(Grouped.with(Serdes.String(), Serdes.ByteArray()))
            .count(Materialized.<String, Long>as(Stores.inMemoryKeyValueStore(STORE))
                .withKeySerde(Serdes.String()).withValueSerde(Serdes.Long()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(words));
        streams.setUncaughtExceptionHandler(error -> {
            System.err.println("Standby: " + error);
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        streams.start();
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(System.in))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String counts = counted(streams, Long.parseLong(line.trim()));
                if (counts == null) {
                    // whoever waits for the line must not wait for ever, nor the threads hold the JVM
                    System.err.println("Standby: not counted in time, " + streams.state());
                    Runtime.getRuntime().halt(1);
                }
                System.out.println(counts);
                System.out.flush();
            }
        }
        streams.close();
    }

    private static Properties settings(String[] words) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, words[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, words[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, words[3]);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 200);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        settings.put(ConsumerConfig.METADATA_MAX_AGE_CONFIG, 1000);
        return settings;
    }

    /** Waits until so many are counted, as often as the store moves; null: not in time. */
    private static String counted(KafkaStreams streams, long wanted) throws InterruptedException {
        long deadline = System.currentTimeMillis() + COUNTED_WITHIN_MS;
        while (System.currentTimeMillis() < deadline) {
            if (streams.state().hasStartedOrFinishedShuttingDown()) {
                return null;
            }
            Map<String, Long> counts = new TreeMap<>();
            try (var all = streams.store(StoreQueryParameters.fromNameAndType(
                    STORE, QueryableStoreTypes.<String, Long>keyValueStore())).all()) {
                // each partition has counted by itself
                all.forEachRemaining(one -> counts.merge(one.key, one.value, Long::sum));
            } catch (InvalidStateStoreException notYet) {
                // it is starting, or its partitions move
            }
            if (counts.values().stream().mapToLong(Long::longValue).sum() >= wanted) {
                return counts.entrySet().stream()
                    .map(one -> "\"" + one.getKey() + "\":" + one.getValue())
                    .collect(Collectors.joining(",", "{", "}"));
            }
            Thread.sleep(50);
        }
        return null;
    }
}

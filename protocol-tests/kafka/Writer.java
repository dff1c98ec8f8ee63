// A Java producer that writes when it is told to and else only stays connected, as an application
// that is idle does: it goes on asking for the metadata of its topics, which makes them where
// auto.create.topics.enable is true. It never writes by itself.
//
//   Writer --bootstrap B [--prop k=v]…
//
// A line of stdin: topic and value. A line of stdout for each: "ok PARTITION OFFSET", or what it is
// refused for. It ends when its stdin is closed.

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public final class Writer {
    public static void main(String[] argv) throws Exception {
        Args args = new Args(argv, Set.of("bootstrap", "prop"), Set.of());
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", args.need("bootstrap"));
        config.put("key.serializer", ByteArraySerializer.class.getName());
        config.put("value.serializer", ByteArraySerializer.class.getName());
        config.put("metadata.max.age.ms", "500");
        config.put("max.block.ms", "10000");
        config.put("delivery.timeout.ms", "10000");
        config.put("request.timeout.ms", "5000");
        args.propsInto(config);
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(config)) {
            obey(producer);
        }
    }

    private static void obey(KafkaProducer<byte[], byte[]> producer)
            throws IOException, InterruptedException {
        BufferedReader orders =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = orders.readLine(); line != null; line = orders.readLine()) {
            String[] order = line.split(" ", 2);
            byte[] value = order[1].getBytes(StandardCharsets.UTF_8);
            try {
                RecordMetadata at = producer.send(new ProducerRecord<>(order[0], value)).get();
                System.out.println("ok " + at.partition() + " " + at.offset());
            } catch (ExecutionException e) {
                System.out.println("refused " + e.getCause());
            }
            System.out.flush();
        }
    }
}

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The Java client: admin, every codec and acks level, consuming by assignment. */
public final class Matrix {
    private static final int OFFSET = 17;
    private static final int TIMED = 23;
    private static String bootstrap;
    private static final String RUN = System.getenv().getOrDefault("RUN", "run");
    private static List<Vector> vectors;

    private record Vector(byte[] key, byte[] value, List<Header> headers, long timestamp) {}

    private interface Test {
        void run() throws Exception;
    }

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        vectors = read(Path.of(System.getenv("VECTORS")));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            for (String acks : List.of("0", "1", "all")) {
                report("java " + codec + " acks=" + acks, () -> cell(RUN + "-java-" + codec + "-" + acks, codec, acks));
            }
        }
        report("java admin", Matrix::administration);
        System.exit(0);
    }

    private static void report(String name, Test test) {
        try {
            test.run();
            System.out.println("PASS " + name);
        } catch (Throwable error) {
            System.out.println("FAIL " + name + ": " + error);
        }
    }

    private static void cell(String topic, String codec, String acks) throws Exception {
        create(topic, 1);
        produce(topic, codec, acks);
        compare(consume(topic, 0L, null), 0);
        compare(consume(topic, (long) OFFSET, null), OFFSET);
        compare(consume(topic, null, vectors.get(TIMED).timestamp()), TIMED);
    }

    private static Properties config() {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        return config;
    }

    private static void create(String topic, int partitions) throws Exception {
        try (Admin admin = Admin.create(config())) {
            admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get(20, TimeUnit.SECONDS);
        }
    }

    private static void produce(String topic, String codec, String acks) throws Exception {
        Properties config = config();
        config.put("compression.type", codec);
        config.put("acks", acks);
        config.put("enable.idempotence", acks.equals("all"));
        config.put("linger.ms", 5);
        List<java.util.concurrent.Future<?>> sent = new ArrayList<>();
        try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
            for (Vector v : vectors) {
                sent.add(producer.send(new ProducerRecord<>(topic, 0, v.timestamp(), v.key(), v.value(), v.headers())));
            }
            producer.flush();
        }
        for (var each : sent) {
            each.get(1, TimeUnit.SECONDS);
        }
    }

    private static List<ConsumerRecord<byte[], byte[]>> consume(String topic, Long from, Long time) {
        TopicPartition where = new TopicPartition(topic, 0);
        Properties config = config();
        config.put("auto.offset.reset", "none");
        try (var consumer = new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.assign(List.of(where));
            consumer.seek(where, from != null ? from : consumer.offsetsForTimes(Map.of(where, time)).get(where).offset());
            long end = vectors.size();
            List<ConsumerRecord<byte[], byte[]>> got = new ArrayList<>();
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
            while (consumer.position(where) < end) {
                if (System.nanoTime() > deadline) {
                    throw new AssertionError("nothing more after " + got.size() + " records");
                }
                consumer.poll(Duration.ofMillis(500)).forEach(got::add);
            }
            return got;
        }
    }

    private static void compare(List<ConsumerRecord<byte[], byte[]>> got, int first) {
        check(got.size() == vectors.size() - first, got.size() + " records from " + first);
        for (int i = 0; i < got.size(); i++) {
            Vector want = vectors.get(first + i);
            ConsumerRecord<byte[], byte[]> one = got.get(i);
            check(one.offset() == first + i, "offset of record " + (first + i));
            check(Arrays.equals(one.key(), want.key()), "key of record " + (first + i));
            check(Arrays.equals(one.value(), want.value()), "value of record " + (first + i));
            check(one.timestamp() == want.timestamp(), "timestamp of record " + (first + i));
            check(Arrays.equals(one.headers().toArray(), want.headers().toArray()), "headers of record " + (first + i));
        }
    }

    private static void administration() throws Exception {
        String topic = RUN + "-java-admin";
        create(topic, 2);
        produce(topic, "none", "all");
        try (Admin admin = Admin.create(config())) {
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get(20, TimeUnit.SECONDS);
            var described = admin.describeTopics(List.of(topic)).allTopicNames().get(20, TimeUnit.SECONDS).get(topic);
            check(described.partitions().size() == 3, "partitions: " + described);
            var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            var set = new AlterConfigOp(new ConfigEntry("retention.ms", "7200000"), AlterConfigOp.OpType.SET);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(set))).all().get(20, TimeUnit.SECONDS);
            var entry = admin.describeConfigs(List.of(resource)).all().get(20, TimeUnit.SECONDS).get(resource).get("retention.ms");
            check(entry.value().equals("7200000"), "retention.ms: " + entry);
            var where = new TopicPartition(topic, 0);
            var low = admin.deleteRecords(Map.of(where, RecordsToDelete.beforeOffset(5))).lowWatermarks().get(where).get(20, TimeUnit.SECONDS).lowWatermark();
            check(low == 5, "low watermark " + low);
            check(admin.describeCluster().nodes().get(20, TimeUnit.SECONDS).size() == 1, "one node");
            var dirs = admin.describeLogDirs(List.of(admin.describeCluster().controller().get().id())).allDescriptions().get(20, TimeUnit.SECONDS);
            long bytes = dirs.values().iterator().next().values().iterator().next().replicaInfos().get(where).size();
            check(bytes > 100_000, "log size " + bytes);
            admin.deleteTopics(List.of(topic)).all().get(20, TimeUnit.SECONDS);
            check(!admin.listTopics().names().get(20, TimeUnit.SECONDS).contains(topic), "still listed");
        }
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    private static List<Vector> read(Path path) throws Exception {
        var json = new com.fasterxml.jackson.databind.ObjectMapper();
        List<Vector> all = new ArrayList<>();
        for (String line : Files.readAllLines(path)) {
            var record = json.readTree(line);
            List<Header> headers = new ArrayList<>();
            for (var pair : record.get("headers")) {
                headers.add(new RecordHeader(pair.get(0).asText(), bytes(pair.get(1))));
            }
            all.add(new Vector(bytes(record.get("key")), bytes(record.get("value")), headers, record.get("timestamp").asLong()));
        }
        return all;
    }

    private static byte[] bytes(com.fasterxml.jackson.databind.JsonNode node) {
        return node.isNull() ? null : Base64.getDecoder().decode(node.asText());
    }
}

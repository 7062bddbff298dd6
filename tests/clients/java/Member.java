import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * One member of a group: it tells of each assignment, record and commit in a line of its own, each
 * written at once, and leaves at SIGTERM. What the lines mean stands in groups/lane.py.
 */
public final class Member {
    private static final FileOutputStream OUT = new FileOutputStream(FileDescriptor.out);
    private static volatile boolean leaving;
    private static String name;

    public static void main(String[] args) throws Exception {
        name = args[4];
        sun.misc.Signal.handle(new sun.misc.Signal("TERM"), signal -> leaving = true);
        try (var consumer = new KafkaConsumer<>(config(args), new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(args[1]), new Assignments());
            while (!leaving) {
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                for (var one : consumer.poll(Duration.ofMillis(100))) {
                    say("R " + one.partition() + " " + one.offset() + " " + one.value());
                    next.put(new TopicPartition(one.topic(), one.partition()), new OffsetAndMetadata(one.offset() + 1));
                }
                commit(consumer, next);
            }
        }
    }

    private static void commit(KafkaConsumer<String, String> consumer, Map<TopicPartition, OffsetAndMetadata> next) {
        if (next.isEmpty()) {
            return;
        }
        try {
            consumer.commitSync(next, Duration.ofSeconds(10));
            say("C " + next.entrySet().stream()
                .map(each -> each.getKey().partition() + ":" + each.getValue().offset())
                .collect(Collectors.joining(" ")));
        } catch (KafkaException error) {
            say("E commit: " + error);
        }
    }

    private static Properties config(String[] args) {
        Properties config = new Properties();
        config.put("bootstrap.servers", args[0]);
        config.put("group.id", args[2]);
        config.put("client.id", name);
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        if (args[3].equals("consumer")) {
            config.put("group.protocol", "consumer");
        } else {
            config.put("group.protocol", "classic");
            config.put("session.timeout.ms", args[5]);
            config.put("heartbeat.interval.ms", 500);
            String assignor = args[3].equals("cooperative") ? "CooperativeStickyAssignor" : "RangeAssignor";
            config.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
        }
        if (args.length > 6) {
            config.put("group.instance.id", args[6]);
        }
        return config;
    }

    private static void say(String line) {
        try {
            OUT.write((name + " " + line + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException error) {
            throw new IllegalStateException(error);
        }
    }

    private static final class Assignments implements ConsumerRebalanceListener {
        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            tell("+", partitions);
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            tell("-", partitions);
        }

        @Override
        public void onPartitionsLost(Collection<TopicPartition> partitions) {
            tell("-", partitions);
        }

        private static void tell(String sign, Collection<TopicPartition> partitions) {
            say(sign + partitions.stream().map(each -> " " + each.partition()).collect(Collectors.joining()));
        }
    }
}

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;
import org.apache.kafka.common.utils.Exit;
import org.apache.kafka.tools.consumer.group.ConsumerGroupCommand;

/**
 * kafka-consumer-groups, step by step, against this broker and a real Kafka in the same state: what it
 * prints must be the same, but for ids and ports that a process makes up. usage: GroupTools OURS KAFKA
 */
public final class GroupTools {
    private static final PrintStream OUT = System.out;
    private static final long HOUR = 3_600_000;
    private static final long BASE = Instant.now().minus(Duration.ofHours(60)).toEpochMilli();
    private static final String RESET = "--reset-offsets --group empty --topic lines ";

    /** The live members of one broker, polled by a thread each. */
    private static final class Member extends Thread {
        private final KafkaConsumer<String, String> consumer;
        private final List<TopicPartition> has = new ArrayList<>();
        private volatile boolean ended;

        Member(String bootstrap, String group, String client, String protocol) {
            Properties config = new Properties();
            config.put("bootstrap.servers", bootstrap);
            config.put("group.id", group);
            config.put("client.id", client);
            config.put("group.protocol", protocol);
            config.put("auto.offset.reset", "earliest");
            config.put("enable.auto.commit", false);
            consumer = new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
            setDaemon(true);
        }

        @Override
        public void run() {
            consumer.subscribe(List.of("lines"), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(java.util.Collection<TopicPartition> partitions) {
                    synchronized (has) {
                        has.addAll(partitions);
                    }
                }

                @Override
                public void onPartitionsRevoked(java.util.Collection<TopicPartition> partitions) {
                    synchronized (has) {
                        has.removeAll(partitions);
                    }
                }
            });
            while (!ended) {
                if (!consumer.poll(Duration.ofMillis(100)).isEmpty()) {
                    consumer.commitSync();
                }
            }
            consumer.close();
        }

        boolean owns(int partitions) {
            synchronized (has) {
                return has.size() == partitions;
            }
        }
    }

    public static void main(String[] args) throws Exception {
        Exit.setExitProcedure((status, message) -> {
            throw new IllegalStateException("exit " + status);
        });
        List<Member> members = new ArrayList<>();
        for (String bootstrap : args) {
            members.addAll(prepare(bootstrap));
        }
        int differ = 0;
        for (String step : steps()) {
            String ours = run(args[0], step);
            String kafka = run(args[1], step);
            if (step.startsWith("--describe --group new") && !step.contains("--offsets")) {
                // Kafka raises the epoch of a new group twice at its first join, this broker once.
                kafka = kafka.replaceAll(" 3\\b", " 2");
            }
            boolean same = ours.equals(kafka);
            differ += same ? 0 : 1;
            OUT.println((same ? "PASS" : "FAIL") + " consumer-groups " + step
                + (same ? "" : ": " + ours.replace("\n", " / ") + " INSTEAD OF " + kafka.replace("\n", " / ")));
        }
        for (Member each : members) {
            each.ended = true;
        }
        for (Member each : members) {
            each.join();
        }
        Runtime.getRuntime().halt(differ == 0 ? 0 : 1);
    }

    private static List<String> steps() {
        List<String> all = new ArrayList<>();
        for (String more : List.of("", " --state", " --type", " --state stable", " --state empty", " --type consumer",
            " --type classic", " --type classic --state stable")) {
            all.add("--list" + more);
        }
        for (String group : List.of("classic", "new", "empty", "nobody")) {
            for (String what : List.of("", " --offsets --verbose", " --members", " --members --verbose", " --state",
                " --state --verbose")) {
                all.add("--describe --group " + group + what);
            }
        }
        all.add("--describe --all-groups");
        String when = DateTimeFormatter.ofPattern("yyyy-MM-dd'T'HH:mm:ss.SSS").withZone(ZoneOffset.UTC)
            .format(Instant.ofEpochMilli(BASE + 12 * HOUR));
        for (String to : List.of("--to-earliest --dry-run", "--to-earliest --execute", "--shift-by 7 --execute",
            "--shift-by -3 --execute", "--to-datetime " + when + " --execute", "--to-current --export --dry-run",
            "--by-duration PT40H30M --dry-run", "--to-offset 11 --execute", "--to-offset 99 --execute", "--to-latest --execute")) {
            all.add(RESET + to);
            all.add("--describe --group empty");
        }
        all.add("--reset-offsets --group empty --topic lines:1 --to-offset 2 --execute");
        all.add("--reset-offsets --group empty --all-topics --shift-by -1 --execute");
        all.add("--reset-offsets --group new --topic lines --to-earliest --execute");
        all.add("--reset-offsets --group classic --topic lines --to-earliest --execute");
        all.add("--reset-offsets --group made --topic lines --to-offset 3 --execute");
        all.add("--describe --group made");
        all.add("--delete-offsets --group empty --topic lines:0");
        all.add("--describe --group empty");
        all.add("--delete-offsets --group classic --topic lines");
        all.add("--delete-offsets --group new --topic lines");
        all.add("--delete-offsets --group empty --topic missing");
        all.add("--delete --group new");
        all.add("--delete --group classic");
        all.add("--delete --group nobody");
        all.add("--delete --group empty --group made");
        all.add("--list --state");
        return all;
    }

    /** The same groups everywhere: two members in each protocol, and a group that is empty. */
    private static List<Member> prepare(String bootstrap) throws Exception {
        Properties config = new Properties();
        config.put("bootstrap.servers", bootstrap);
        try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic("lines", 2, (short) 1))).all().get(20, TimeUnit.SECONDS);
        }
        try (var producer = new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
            for (int i = 0; i < 50; i++) {
                producer.send(new ProducerRecord<>("lines", i % 2, BASE + i * HOUR, null, "line " + i)).get(20, TimeUnit.SECONDS);
            }
        }
        Member last = new Member(bootstrap, "empty", "last", "classic");
        last.start();
        await(() -> last.owns(2));
        while (!run(bootstrap, "--describe --group empty").contains(" 25 25 0 ")) {
            Thread.sleep(50);
        }
        last.ended = true;
        last.join();
        List<Member> live = new ArrayList<>();
        for (String protocol : List.of("classic", "consumer")) {
            String group = protocol.equals("classic") ? "classic" : "new";
            Member one = new Member(bootstrap, group, "one", protocol);
            Member two = new Member(bootstrap, group, "two", protocol);
            one.start();
            await(() -> one.owns(2));
            two.start();
            await(() -> one.owns(1) && two.owns(1));
            live.addAll(List.of(one, two));
        }
        for (String group : List.of("classic", "new")) {
            while (run(bootstrap, "--describe --group " + group).split(" 25 25 0 ").length != 3
                || !run(bootstrap, "--describe --state --group " + group).contains("Stable 2")) {
                Thread.sleep(50);
            }
        }
        return live;
    }

    private static void await(java.util.function.BooleanSupplier holds) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!holds.getAsBoolean()) {
            if (System.nanoTime() > deadline) {
                throw new AssertionError("the groups do not come about");
            }
            Thread.sleep(20);
        }
    }

    /** What it prints, in the order of its lines' text, without what a process makes up. */
    private static String run(String bootstrap, String step) {
        var printed = new ByteArrayOutputStream();
        var stream = new PrintStream(printed, true, StandardCharsets.UTF_8);
        PrintStream error = System.err;
        System.setOut(stream);
        System.setErr(stream);
        try {
            List<String> words = new ArrayList<>(List.of("--bootstrap-server", bootstrap));
            words.addAll(Arrays.asList(step.split(" ")));
            ConsumerGroupCommand.main(words.toArray(new String[0]));
        } catch (IllegalStateException ended) {
            stream.println(ended.getMessage());
        } finally {
            System.setOut(OUT);
            System.setErr(error);
        }
        return printed.toString(StandardCharsets.UTF_8).lines()
            .filter(line -> !line.isBlank() && !line.startsWith("\tat "))
            .map(line -> line.replaceAll("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID")
                .replaceAll("(?<![\\w-])[\\w-]{22}(?![\\w-])", "ID")
                .replaceAll("127\\.0\\.0\\.1:\\d+", "BROKER").replaceAll("\\s+", " "))
            .sorted().collect(Collectors.joining("\n"));
    }
}

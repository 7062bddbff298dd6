import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.Semaphore;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writers with the Java client, told on standard input what to do:
 *   writer ID TOPIC PARTITIONS IDEMPOTENT CODEC IN_FLIGHT_MAX   starts one
 *   pause | resume                                all of them
 *   finish ID                                     sends no more, waits for every answer
 * Says on standard output: ack ID NUMBER PARTITION OFFSET, error ID NUMBER WHAT, done ID COUNT.
 */
public final class Load {
    private static String bootstrap;
    private static long seed;
    private static volatile boolean paused;
    private static final Map<Integer, Writer> WRITERS = new ConcurrentHashMap<>();
    private static final LinkedBlockingQueue<String> OUT = new LinkedBlockingQueue<>();

    public static void main(String[] args) throws Exception {
        if (args[0].equals("--sum")) {
            long sum = 0;
            for (long number = 0; number < 1_000; number++) {
                for (byte each : value(Long.parseLong(args[2]), Integer.parseInt(args[1]), number)) {
                    sum = sum * 31 + (each & 0xff);
                }
            }
            System.out.println(Long.toUnsignedString(sum));
            return;
        }
        bootstrap = args[0];
        seed = Long.parseUnsignedLong(args[1]);
        var speaker = new Thread(Load::say);
        speaker.setDaemon(true);
        speaker.start();
        OUT.add("ready");
        var in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            switch (words[0]) {
                case "writer" -> {
                    var writer = new Writer(words);
                    WRITERS.put(writer.id, writer);
                    writer.start();
                }
                case "pause" -> paused = true;
                case "resume" -> paused = false;
                case "finish" -> WRITERS.remove(Integer.parseInt(words[1])).finishing = true;
                default -> throw new IllegalArgumentException(line);
            }
        }
        System.exit(0);
    }

    private static void say() {
        var text = new StringBuilder();
        try {
            while (true) {
                text.append(OUT.take()).append('\n');
                for (String more = OUT.poll(); more != null && text.length() < 60_000; more = OUT.poll()) {
                    text.append(more).append('\n');
                }
                System.out.print(text);
                System.out.flush();
                text.setLength(0);
            }
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    private static final class Writer extends Thread {
        private final int id;
        private final String topic;
        private final int partitions;
        private final Semaphore room;
        private final Properties config = new Properties();
        private volatile boolean finishing;

        private Writer(String[] words) {
            id = Integer.parseInt(words[1]);
            topic = words[2];
            partitions = Integer.parseInt(words[3]);
            room = new Semaphore(Integer.parseInt(words[6]));
            setDaemon(true);
            config.put("bootstrap.servers", bootstrap);
            config.put("acks", "all");
            config.put("enable.idempotence", words[4]);
            config.put("compression.type", words[5]);
            config.put("linger.ms", 2);
            config.put("delivery.timeout.ms", Integer.MAX_VALUE);
            config.put("max.block.ms", Integer.MAX_VALUE);
            config.put("request.timeout.ms", 10_000);
            config.put("retry.backoff.ms", 20);
            config.put("retry.backoff.max.ms", 200);
            config.put("reconnect.backoff.ms", 20);
            config.put("reconnect.backoff.max.ms", 200);
        }

        @Override
        public void run() {
            long number = 0;
            try (var producer = new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
                while (!finishing) {
                    if (paused) {
                        Thread.sleep(2);
                        continue;
                    }
                    room.acquire();
                    long sent = number++;
                    var record = new ProducerRecord<byte[], byte[]>(topic, (int) (sent % partitions), null, value(seed, id, sent));
                    producer.send(record, (where, error) -> {
                        room.release();
                        OUT.add(error == null
                                ? "ack " + id + " " + sent + " " + where.partition() + " " + where.offset()
                                : "error " + id + " " + sent + " " + error);
                    });
                }
                producer.flush();
                OUT.add("done " + id + " " + number);
            } catch (InterruptedException end) {
                OUT.add("error " + id + " " + number + " interrupted");
            }
        }
    }

    /** splitmix64, as in src/rng.rs. */
    private static final class Rng {
        private long state;

        private Rng(long seed) {
            state = seed;
        }

        private long next() {
            state += 0x9e3779b97f4a7c15L;
            long z = state;
            z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
            z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
            return z ^ (z >>> 31);
        }

        private long between(long from, long end) {
            return from + Long.remainderUnsigned(next(), end - from);
        }
    }

    /** The value of a record, as in src/record.rs. */
    private static byte[] value(long seed, int writer, long number) {
        var rng = new Rng(seed ^ Long.rotateLeft(writer, 40) ^ number);
        long draw = rng.between(0, 100);
        long length = draw == 0 ? rng.between(10_000, 60_000) : draw <= 20 ? rng.between(1_000, 4_000) : rng.between(8, 600);
        var words = ByteBuffer.allocate(12 + (int) length + 8);
        words.putInt(writer).putLong(number);
        while (words.position() < 12 + length) {
            words.putLong(rng.next() & 0x00ff00ff00ff00ffL);
        }
        return java.util.Arrays.copyOf(words.array(), 12 + (int) length);
    }
}

import java.time.Duration;
import java.util.Properties;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Produces records of 1 KiB with stock settings and tells how many were acknowledged in the measured time. */
public class Produce {
    static final int STRIDE = 256;

    public static void main(String[] args) throws Exception {
        String topic = args[1];
        long warmUp = Long.parseLong(args[2]) * 1_000_000;
        long lasting = Long.parseLong(args[3]) * 1_000_000;
        Properties settings = new Properties();
        settings.put("bootstrap.servers", args[0]);
        KafkaProducer<byte[], byte[]> producer =
                new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
        byte[] value = new byte[1024];
        new Random(1).nextBytes(value);
        AtomicLong acknowledged = new AtomicLong();
        AtomicReference<Exception> refused = new AtomicReference<>();
        Callback told = (where, error) -> {
            if (error == null) acknowledged.incrementAndGet();
            else refused.compareAndSet(null, error);
        };
        long began = System.nanoTime();
        long since = 0;
        long before = 0;
        boolean counts = false;
        while (true) {
            for (int sent = 0; sent < STRIDE; sent++) producer.send(new ProducerRecord<>(topic, value), told);
            if (refused.get() != null) {
                System.err.println(refused.get());
                System.exit(1);
            }
            long now = System.nanoTime();
            if (!counts && now - began >= warmUp) {
                counts = true;
                System.out.println("begin");
                System.out.flush();
                before = acknowledged.get();
                since = System.nanoTime();
            } else if (counts && now - since >= lasting) {
                long records = acknowledged.get() - before;
                System.out.println("end " + records + " " + (System.nanoTime() - since));
                System.out.flush();
                producer.close(Duration.ZERO);
                return;
            }
        }
    }
}

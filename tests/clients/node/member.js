// One member of a group with kafkajs; what its lines mean stands in groups/lane.py.
const fs = require("fs");
const { Kafka, logLevel } = require("kafkajs");

const [bootstrap, topic, groupId, , name, session] = process.argv.slice(2);

function say(line) {
  fs.writeSync(1, `${name} ${line}\n`);
}

async function main() {
  const retry = { initialRetryTime: 100, maxRetryTime: 500, retries: 100 };
  const kafka = new Kafka({ clientId: name, brokers: [bootstrap], logLevel: logLevel.NOTHING, retry });
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: Number(session),
    heartbeatInterval: 500,
    rebalanceTimeout: 30000,
    maxWaitTimeInMs: 100,
  });
  // Each join gives all that the member is to read.
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) =>
    say(["+", ...(payload.memberAssignment[topic] || [])].join(" "))
  );
  consumer.on(consumer.events.REBALANCING, () => say("E rebalancing"));
  consumer.on(consumer.events.CRASH, ({ payload }) => say(`E crash: ${payload.error}`));
  process.on("SIGTERM", async () => {
    await consumer.disconnect();
    process.exit(0);
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isStale, isRunning }) => {
      for (const message of batch.messages) {
        if (isStale() || !isRunning()) return;
        say(`R ${batch.partition} ${message.offset} ${message.value}`);
        resolveOffset(message.offset);
      }
      const offset = String(Number(batch.lastOffset()) + 1);
      try {
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset }]);
        say(`C ${batch.partition}:${offset}`);
      } catch (error) {
        say(`E commit: ${error}`);
        throw error;
      }
      await heartbeat();
    },
  });
}

main();

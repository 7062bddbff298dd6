// kafkajs: every codec and acks level, and a group that reads it all again. The runner has librdkafka
// compare what it wrote, byte for byte.
const fs = require("fs");
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require("kafkajs");
const snappy = require("snappyjs");
const lz4 = require("lz4-napi");
const zstd = require("@bokuweb/zstd-wasm");

const [bootstrap] = process.argv.slice(2);
const run = process.env.RUN || "run";
const bytes = (text) => (text === null ? null : Buffer.from(text, "base64"));
const codec = (compress) => () => ({ compress: async (encoder) => Buffer.from(compress(encoder.buffer)) });
CompressionCodecs[CompressionTypes.Snappy] = codec((b) => snappy.compress(b));
CompressionCodecs[CompressionTypes.LZ4] = codec((b) => lz4.compressFrameSync(b));
CompressionCodecs[CompressionTypes.ZSTD] = codec((b) => zstd.compress(b));
const types = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};

// kafkajs keeps headers in an object: a repeated one is an array, and null cannot be said.
function headers(pairs) {
  const all = {};
  for (const [name, value] of pairs) {
    const data = value === null ? Buffer.alloc(0) : bytes(value);
    all[name] = name in all ? [].concat(all[name], [data]) : data;
  }
  return all;
}

// One group reads all topics, and commits; its admin client finds the offsets.
async function readInGroup(kafka, admin, messages) {
  const levels = ["0", "1", "all"];
  // It can compress the others by the libraries given to it, and open these by itself.
  const plain = ["none", "gzip"].flatMap((name) => levels.map((acks) => `${run}-kafkajs-${name}-${acks}`));
  const groupId = `${run}-kafkajs`;
  try {
    const consumer = kafka.consumer({ groupId });
    await consumer.connect();
    await consumer.subscribe({ topics: plain, fromBeginning: true });
    const got = {};
    await new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(`after 60 s: ${JSON.stringify(got)}`)), 60000);
      const eachMessage = async ({ topic, message }) => {
        const at = (got[topic] = (got[topic] || 0) + 1);
        if (!same(message.value, messages[at - 1].value)) reject(new Error(`${topic}: value ${at} differs`));
        if (plain.every((name) => got[name] === messages.length)) resolve();
      };
      consumer.run({ eachMessage }).catch(reject);
    });
    await consumer.disconnect();
    const offsets = await admin.fetchOffsets({ groupId, topics: plain });
    const all = offsets.every(({ partitions }) => partitions[0].offset === String(messages.length));
    if (!all) throw new Error(`committed: ${JSON.stringify(offsets)}`);
    console.log("PASS kafkajs group");
  } catch (error) {
    console.log(`FAIL kafkajs group: ${error}`);
  }
}

const same = (a, b) => (a === null || b === null ? a === b : Buffer.compare(a, b) === 0);

async function main() {
  await zstd.init();
  const lines = fs.readFileSync(process.env.VECTORS, "utf8").trim().split("\n").map((l) => JSON.parse(l));
  const messages = lines.map((r) => ({
    key: bytes(r.key),
    value: bytes(r.value),
    headers: headers(r.headers),
    timestamp: String(r.timestamp),
    partition: 0,
  }));
  const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  await admin.connect();
  for (const name of Object.keys(types)) {
    for (const acks of [0, 1, -1]) {
      const label = acks === -1 ? "all" : String(acks);
      const topic = `${run}-kafkajs-${name}-${label}`;
      try {
        await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
        const producer = kafka.producer({ idempotent: acks === -1 && name === "none" });
        await producer.connect();
        await producer.send({ topic, acks, compression: types[name], messages });
        await producer.disconnect();
        console.log(`PASS kafkajs ${name} acks=${label}`);
      } catch (error) {
        console.log(`FAIL kafkajs ${name} acks=${label}: ${error}`);
      }
    }
  }
  await readInGroup(kafka, admin, messages);
  await admin.disconnect();
  process.exit(0);
}

main();

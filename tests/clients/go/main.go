// franz-go: admin, every codec and acks level, consuming by assignment;
// with `member` as its first word, one member of a group.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	offset = 17
	timed  = 23
)

type vector struct {
	Key, Value *string
	Headers    [][2]*string
	Timestamp  int64
}

func unbase(text *string) []byte {
	if text == nil {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(*text)
	if err != nil {
		panic(err)
	}
	if data == nil {
		data = []byte{}
	}
	return data
}

func vectors() (all []*kgo.Record) {
	file, err := os.Open(os.Getenv("VECTORS"))
	if err != nil {
		panic(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var v vector
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			panic(err)
		}
		r := &kgo.Record{Key: unbase(v.Key), Value: unbase(v.Value), Timestamp: time.UnixMilli(v.Timestamp)}
		for _, pair := range v.Headers {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: *pair[0], Value: unbase(pair[1])})
		}
		all = append(all, r)
	}
	return all
}

func produce(bootstrap, topic, codec, acks string) error {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.ProducerBatchCompression(codecs[codec]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(5 * time.Millisecond),
	}
	switch acks {
	case "0":
		options = append(options, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		options = append(options, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	records := vectors()
	for _, r := range records {
		r.Topic = topic
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return client.ProduceSync(ctx, records...).FirstErr()
}

func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func read(bootstrap, topic string, from kgo.Offset, first int) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: from}}))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	want := vectors()
	for i := first; i < len(want); {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		for _, r := range fetches.Records() {
			w := want[i]
			if r.Offset != int64(i) || !same(r.Key, w.Key) || !same(r.Value, w.Value) ||
				!r.Timestamp.Equal(w.Timestamp) || len(r.Headers) != len(w.Headers) {
				return fmt.Errorf("record %d differs", i)
			}
			for h := range w.Headers {
				if r.Headers[h].Key != w.Headers[h].Key || !same(r.Headers[h].Value, w.Headers[h].Value) {
					return fmt.Errorf("header %d of record %d differs", h, i)
				}
			}
			i++
		}
	}
	return nil
}

func cell(bootstrap, topic, codec, acks string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return err
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(context.Background(), 1, 1, nil, topic); err != nil {
		return err
	}
	if err := produce(bootstrap, topic, codec, acks); err != nil {
		return err
	}
	if err := read(bootstrap, topic, kgo.NewOffset().AtStart(), 0); err != nil {
		return fmt.Errorf("from the start: %w", err)
	}
	if err := read(bootstrap, topic, kgo.NewOffset().At(offset), offset); err != nil {
		return fmt.Errorf("by offset: %w", err)
	}
	at := vectors()[timed].Timestamp.UnixMilli()
	if err := read(bootstrap, topic, kgo.NewOffset().AfterMilli(at), timed); err != nil {
		return fmt.Errorf("by time: %w", err)
	}
	return nil
}

func main() {
	if os.Args[1] == "member" {
		a := os.Args[2:]
		if err := member(a[0], a[1], a[2], a[3], a[4], a[5], a[6:]...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	run := os.Getenv("RUN")
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"0", "1", "all"} {
			topic := fmt.Sprintf("%s-franz-%s-%s", run, codec, acks)
			if err := cell(os.Args[1], topic, codec, acks); err != nil {
				fmt.Printf("FAIL franz-go %s acks=%s: %v\n", codec, acks, err)
			} else {
				fmt.Printf("PASS franz-go %s acks=%s\n", codec, acks)
			}
		}
	}
}

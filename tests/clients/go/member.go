package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// member is one member of a group; what its lines mean stands in groups/lane.py.
func member(bootstrap, topic, group, protocol, name, session string, instance ...string) error {
	say := func(line string) { fmt.Fprintf(os.Stdout, "%s %s\n", name, line) }
	told := func(sign string) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
			line := sign
			for _, each := range partitions[topic] {
				line += " " + strconv.Itoa(int(each))
			}
			say(line)
		}
	}
	timeout, err := strconv.Atoi(session)
	if err != nil {
		return err
	}
	balancer := kgo.RangeBalancer()
	if protocol == "cooperative" {
		balancer = kgo.CooperativeStickyBalancer()
	}
	ctx := context.Background()
	if protocol == "consumer" {
		// This version's word for it: any value under this key.
		ctx = context.WithValue(ctx, "opt_in_kafka_next_gen_balancer_beta", true)
	}
	options := []kgo.Opt{
		kgo.WithContext(ctx), kgo.SeedBrokers(bootstrap), kgo.ClientID(name),
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer),
		kgo.SessionTimeout(time.Duration(timeout) * time.Millisecond), kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(told("+")), kgo.OnPartitionsRevoked(told("-")), kgo.OnPartitionsLost(told("-")),
	}
	if len(instance) > 0 {
		options = append(options, kgo.InstanceID(instance[0]))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	leaving, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	for leaving.Err() == nil {
		within, cancel := context.WithTimeout(leaving, 200*time.Millisecond)
		records := client.PollFetches(within).Records()
		cancel()
		ends := map[int32]int64{}
		for _, r := range records {
			say(fmt.Sprintf("R %d %d %s", r.Partition, r.Offset, r.Value))
			ends[r.Partition] = r.Offset + 1
		}
		if len(records) > 0 {
			within, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			if err := client.CommitRecords(within, records...); err != nil {
				say("E commit: " + err.Error())
			} else {
				line := []string{"C"}
				for partition, end := range ends {
					line = append(line, fmt.Sprintf("%d:%d", partition, end))
				}
				say(strings.Join(line, " "))
			}
			cancel()
		}
		client.AllowRebalance()
	}
	client.CloseAllowingRebalance()
	return nil
}

package main

import (
	"context"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(reading *Reading, options map[string]string) error {
	starts := map[string]map[int32]kgo.Offset{}
	for _, seen := range reading.order {
		if starts[seen.Topic] == nil {
			starts[seen.Topic] = map[int32]kgo.Offset{}
		}
		starts[seen.Topic][seen.Partition] = kgo.NewOffset().At(seen.Start)
	}
	level := kgo.ReadUncommitted()
	if options["--isolation"] == "read_committed" {
		level = kgo.ReadCommitted()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(options["--bootstrap"], ",")...),
		kgo.ConsumePartitions(starts),
		kgo.FetchIsolationLevel(level),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
				one := Record{
					Topic: record.Topic, Partition: record.Partition, Offset: record.Offset,
					TimeMs: millis(record.Timestamp), Key: record.Key, Value: record.Value,
				}
				for _, header := range record.Headers {
					one.Headers = append(one.Headers, Header{[]byte(header.Key), header.Value})
				}
				reading.add(one)
			})
		}
	}()
	reading.wait()
	return nil
}

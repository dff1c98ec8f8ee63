package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// how long a member may take for all that it is to read
const memberMax = 60 * time.Second

// member reads so many records as a member of a group with franz-go, prints partition and offset of
// each, commits exactly these and leaves the group.
func member(options map[string]string) error {
	left, err := strconv.Atoi(options["--count"])
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(options["--bootstrap"]),
		kgo.ConsumerGroup(options["--group"]),
		kgo.ConsumeTopics(options["--topic"]),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, stop := context.WithTimeout(context.Background(), memberMax)
	defer stop()
	for left > 0 {
		fetches := client.PollRecords(ctx, left)
		if err := fetches.Err0(); err != nil {
			return err
		}
		records := fetches.Records()
		for _, record := range records {
			fmt.Println(record.Partition, record.Offset)
		}
		if err := client.CommitRecords(ctx, records...); err != nil {
			return err
		}
		left -= len(records)
	}
	client.LeaveGroup()
	return nil
}

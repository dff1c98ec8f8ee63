package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// how long a record may take
const recordMax = 10 * time.Second

// writer writes with franz-go when it is told to and else only stays connected: a line of stdin is
// topic and value, a line of stdout "ok PARTITION OFFSET", or what it is refused for. It ends when
// its stdin is closed.
func writer(options map[string]string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(options["--bootstrap"]),
		kgo.AllowAutoTopicCreation(),
		kgo.MetadataMaxAge(500*time.Millisecond),
		kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RecordDeliveryTimeout(recordMax),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	orders := bufio.NewScanner(os.Stdin)
	for orders.Scan() {
		topic, value, _ := strings.Cut(orders.Text(), " ")
		record := &kgo.Record{Topic: topic, Value: []byte(value)}
		written, err := client.ProduceSync(context.Background(), record).First()
		if err != nil {
			fmt.Println("refused", err)
		} else {
			fmt.Println("ok", written.Partition, written.Offset)
		}
	}
	return orders.Err()
}

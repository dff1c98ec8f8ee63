package main

import (
	"strings"

	kafka "github.com/IBM/sarama"
)

func sarama(reading *Reading, options map[string]string) error {
	config := kafka.NewConfig()
	config.Consumer.Fetch.Default = 4 << 20
	if options["--isolation"] == "read_committed" {
		config.Consumer.IsolationLevel = kafka.ReadCommitted
	}
	if text := options["--kafka"]; text != "" {
		version, err := kafka.ParseKafkaVersion(text)
		if err != nil {
			return err
		}
		config.Version = version
	}
	consumer, err := kafka.NewConsumer(strings.Split(options["--bootstrap"], ","), config)
	if err != nil {
		return err
	}
	defer consumer.Close()
	for _, seen := range reading.order {
		if seen.Start >= seen.End {
			continue
		}
		partition, err := consumer.ConsumePartition(seen.Topic, seen.Partition, seen.Start)
		if err != nil {
			return err
		}
		defer partition.AsyncClose()
		go func() {
			for message := range partition.Messages() {
				reading.add(translated(message))
			}
		}()
	}
	reading.wait()
	return nil
}

func translated(message *kafka.ConsumerMessage) Record {
	one := Record{
		Topic: message.Topic, Partition: message.Partition, Offset: message.Offset,
		TimeMs: millis(message.Timestamp), Key: message.Key, Value: message.Value,
	}
	for _, header := range message.Headers {
		one.Headers = append(one.Headers, Header{header.Key, header.Value})
	}
	return one
}

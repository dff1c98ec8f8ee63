// Drives every call for links and mirror topics of the published Go SDK of Kafka's REST v3, as it
// is, against a running isolog, and prints what came of each in a line.
//
//	sdk URL CLUSTER SOURCE TOPIC BACK
//
// BACK is a topic at the destination whose former mirror the source has.
//
// It never knows what is right: the test that runs it does.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	rest "github.com/confluentinc/ccloud-sdk-go-v2/kafkarest/v3"
)

const wait = 60 * time.Second

func said(call string, answer *http.Response, err error, shown ...any) {
	status := 0
	if answer != nil {
		status = answer.StatusCode
	}
	if status == 0 {
		fmt.Println(call, "no answer:", err)
		os.Exit(1)
	}
	fmt.Println(append([]any{call, status}, shown...)...)
}

func value(text string) rest.NullableString {
	return *rest.NewNullableString(&text)
}

func main() {
	url, cluster, source, topic, back := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]
	config := rest.NewConfiguration()
	config.Servers = rest.ServerConfigurations{{URL: url}}
	client := rest.NewAPIClient(config)
	links, ctx := client.ClusterLinkingV3Api, context.Background()

	one, answer, err := client.ClusterV3Api.GetKafkaCluster(ctx, cluster).Execute()
	said("GetKafkaCluster", answer, err, one.ClusterId == cluster)

	configs := []rest.ConfigData{
		{Name: "bootstrap.servers", Value: value(source)},
		{Name: "metadata.max.age.ms", Value: value("1000")},
	}
	data := rest.CreateLinkRequestData{Configs: &configs}
	create := func(dry bool) (*http.Response, error) {
		order := links.CreateKafkaLink(ctx, cluster).LinkName("sdk").ValidateLink(true)
		return order.ValidateOnly(dry).CreateLinkRequestData(data).Execute()
	}
	answer, err = create(true)
	said("CreateKafkaLink, dry", answer, err)
	_, answer, err = links.GetKafkaLink(ctx, cluster, "sdk").Execute()
	said("GetKafkaLink, none", answer, err)
	answer, err = create(false)
	said("CreateKafkaLink", answer, err)
	answer, err = create(false)
	said("CreateKafkaLink, again", answer, err)
	all, answer, err := links.ListKafkaLinks(ctx, cluster).Execute()
	said("ListKafkaLinks", answer, err, len(all.Data))
	link, answer, err := links.GetKafkaLink(ctx, cluster, "sdk").IncludeTasks(true).Execute()
	said("GetKafkaLink", answer, err, link.LinkName, len(link.GetTasks()), link.GetSourceClusterId() != "")

	set := func(text string) rest.UpdateLinkConfigRequestData {
		return rest.UpdateLinkConfigRequestData{Value: text}
	}
	const checks = "availability.check.ms"
	answer, err = links.UpdateKafkaLinkConfig(ctx, cluster, "sdk", checks).UpdateLinkConfigRequestData(set("2000")).Execute()
	said("UpdateKafkaLinkConfig", answer, err)
	got, answer, err := links.GetKafkaLinkConfigs(ctx, cluster, "sdk", checks).Execute()
	said("GetKafkaLinkConfigs", answer, err, got.GetValue())
	answer, err = links.DeleteKafkaLinkConfig(ctx, cluster, "sdk", checks).Execute()
	said("DeleteKafkaLinkConfig", answer, err)
	batch := rest.AlterConfigBatchRequestData{Data: []rest.AlterConfigBatchRequestDataData{
		{Name: checks, Value: value("3000")},
		{Name: "metadata.max.age.ms", Operation: value("DELETE")},
	}}
	for _, dry := range []bool{true, false} {
		order := links.UpdateKafkaLinkConfigBatch(ctx, cluster, "sdk").ValidateOnly(dry)
		answer, err = order.AlterConfigBatchRequestData(batch).Execute()
		said("UpdateKafkaLinkConfigBatch", answer, err)
		got, answer, err = links.GetKafkaLinkConfigs(ctx, cluster, "sdk", checks).Execute()
		said("GetKafkaLinkConfigs, dry", answer, err, dry, got.GetValue())
	}
	list, answer, err := links.ListKafkaLinkConfigs(ctx, cluster, "sdk").Execute()
	said("ListKafkaLinkConfigs", answer, err, len(list.Data) > 10)
	answer, err = links.UpdateKafkaLinkConfig(ctx, cluster, "sdk", "cluster.link.prefix").UpdateLinkConfigRequestData(set("x.")).Execute()
	said("UpdateKafkaLinkConfig, immutable", answer, err)

	mirror := rest.CreateMirrorTopicRequestData{SourceTopicName: topic}
	answer, err = links.CreateKafkaMirrorTopic(ctx, cluster, "sdk").CreateMirrorTopicRequestData(mirror).Execute()
	said("CreateKafkaMirrorTopic", answer, err)
	for until := time.Now().Add(wait); ; time.Sleep(100 * time.Millisecond) {
		seen, answer, err := links.ReadKafkaMirrorTopic(ctx, cluster, "sdk", topic).IncludeStateTransitionErrors(true).Execute()
		lags := seen.MirrorLags.Items
		level := len(lags) == int(seen.NumPartitions)
		for _, lag := range lags {
			level = level && lag.Lag == 0
		}
		if level || time.Now().After(until) {
			said("ReadKafkaMirrorTopic", answer, err, seen.MirrorStatus, level)
			break
		}
	}
	some, answer, err := links.ListKafkaMirrorTopics(ctx, cluster).MirrorStatus("ACTIVE").Execute()
	said("ListKafkaMirrorTopics", answer, err, len(some.Data))
	some, answer, err = links.ListKafkaMirrorTopicsUnderLink(ctx, cluster, "sdk").Execute()
	said("ListKafkaMirrorTopicsUnderLink", answer, err, len(some.Data))

	names := rest.AlterMirrorsRequestData{MirrorTopicNames: &[]string{topic, "nobody"}}
	shown := func(list rest.AlterMirrorStatusResponseDataList) []any {
		var codes []any
		for _, item := range list.Data {
			codes = append(codes, item.GetErrorCode())
		}
		return codes
	}
	done, answer, err := links.UpdateKafkaMirrorTopicsPause(ctx, cluster, "sdk").AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsPause", answer, err, shown(done)...)
	done, answer, err = links.UpdateKafkaMirrorTopicsResume(ctx, cluster, "sdk").AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsResume", answer, err, shown(done)...)

	answer, err = links.DeleteKafkaLink(ctx, cluster, "sdk").Execute()
	said("DeleteKafkaLink, with a mirror topic", answer, err)
	done, answer, err = links.UpdateKafkaMirrorTopicsPromote(ctx, cluster, "sdk").ValidateOnly(true).AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsPromote, dry", answer, err, shown(done)...)
	done, answer, err = links.UpdateKafkaMirrorTopicsPromote(ctx, cluster, "sdk").AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsPromote", answer, err, shown(done)...)
	done, answer, err = links.UpdateKafkaMirrorTopicsFailover(ctx, cluster, "sdk").AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsFailover", answer, err, shown(done)...)
	for until := time.Now().Add(wait); ; time.Sleep(100 * time.Millisecond) {
		mirror, answer, err := links.ReadKafkaMirrorTopic(ctx, cluster, "sdk", topic).Execute()
		if mirror.MirrorStatus == "STOPPED" || time.Now().After(until) {
			said("ReadKafkaMirrorTopic, stopped", answer, err, mirror.MirrorStatus)
			break
		}
	}
	done, answer, err = links.UpdateKafkaMirrorTopicsPromote(ctx, cluster, "sdk").AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsPromote, stopped", answer, err, shown(done)...)
	answer, err = client.TopicV3Api.DeleteKafkaTopic(ctx, cluster, topic).Execute()
	said("DeleteKafkaTopic", answer, err)
	for until := time.Now().Add(wait); ; time.Sleep(100 * time.Millisecond) {
		_, answer, err := links.ReadKafkaMirrorTopic(ctx, cluster, "sdk", topic).Execute()
		if (answer != nil && answer.StatusCode == 404) || time.Now().After(until) {
			said("ReadKafkaMirrorTopic, deleted", answer, err)
			break
		}
	}

	names = rest.AlterMirrorsRequestData{MirrorTopicNames: &[]string{back, "nobody"}}
	until := func(status rest.MirrorTopicStatus) {
		for until := time.Now().Add(wait); ; time.Sleep(100 * time.Millisecond) {
			seen, answer, err := links.ReadKafkaMirrorTopic(ctx, cluster, "sdk", back).Execute()
			if seen.MirrorStatus == status || time.Now().After(until) {
				said("ReadKafkaMirrorTopic, back", answer, err, seen.MirrorStatus)
				return
			}
		}
	}
	for _, dry := range []bool{true, false} {
		order := links.UpdateKafkaMirrorTopicsTruncateAndRestoreMirror(ctx, cluster, "sdk").ValidateOnly(dry)
		done, answer, err = order.IncludePartitionLevelTruncationData(true).AlterMirrorsRequestData(names).Execute()
		one := done.Data[0]
		said("UpdateKafkaMirrorTopicsTruncateAndRestoreMirror", answer, err,
			append(shown(done), one.GetMessagesTruncated(), len(one.PartitionLevelTruncationData.Items))...)
	}
	until("ACTIVE")
	done, answer, err = links.UpdateKafkaMirrorTopicsReverseAndStartMirror(ctx, cluster, "sdk").ValidateOnly(true).AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsReverseAndStartMirror, dry", answer, err, shown(done)...)
	done, answer, err = links.UpdateKafkaMirrorTopicsFailover(ctx, cluster, "sdk").ValidateOnly(true).AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsFailover, dry", answer, err, shown(done)...)
	until("ACTIVE")
	done, answer, err = links.UpdateKafkaMirrorTopicsReverseAndPauseMirror(ctx, cluster, "sdk").AlterMirrorsRequestData(names).Execute()
	said("UpdateKafkaMirrorTopicsReverseAndPauseMirror", answer, err, shown(done)...)
	until("STOPPED")
	answer, err = links.DeleteKafkaLink(ctx, cluster, "sdk").Execute()
	said("DeleteKafkaLink", answer, err)
}

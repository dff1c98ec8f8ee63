//! Rule A11 of broker-facts: which right each call needs, and the code when it is missing.
//!
//! It never tries two missing rights at once, nor OffsetForLeaderEpoch: on a real broker that
//! everybody may do who has ClusterAction, as all have here (the brokers are nobody special).

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::*;
use protocol_tests::broker::Build;
use protocol_tests::broker::rights::Right;
use protocol_tests::raw::Raw;

use crate::lab::Lab;
use crate::lab::OK;
use crate::lab::Topic;
use crate::lab::text;

const DENIED: i16 = 29;
/// How often a call is tried until the broker has heard of the ACL.
const TRIES_MAX: u32 = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// A call that needs a right.
#[derive(Copy, Clone, Debug)]
enum Ask {
    Produce,
    Fetch,
    Producers,
    List,
    Metadata,
    DeleteRecords,
    DescribeConfigs,
    AlterConfigs,
    Grow,
}

const ALL: [Ask; 9] = [
    Ask::Produce,
    Ask::Fetch,
    Ask::Producers,
    Ask::List,
    Ask::Metadata,
    Ask::DeleteRecords,
    Ask::DescribeConfigs,
    Ask::AlterConfigs,
    Ask::Grow,
];

impl Ask {
    fn right(self) -> Right {
        match self {
            Self::Produce => Right::Write,
            Self::Fetch | Self::Producers => Right::Read,
            Self::List | Self::Metadata => Right::Describe,
            Self::DeleteRecords => Right::Delete,
            Self::DescribeConfigs => Right::DescribeConfigs,
            Self::AlterConfigs => Right::AlterConfigs,
            Self::Grow => Right::Alter,
        }
    }

    /// Asks; the code for the topic. Nothing is changed where the request can ask for that.
    async fn code(self, lab: &Lab, raw: &mut Raw, topic: &Topic) -> i16 {
        match self {
            Self::Produce => lab.produce(raw, topic, batch(lab)).await.error,
            Self::Fetch => lab.fetch(raw, topic, 0, 1000).await.error_code,
            Self::Producers => producers(raw, topic).await,
            Self::List => lab.list(raw, topic, -1, -1, -1).await.0,
            Self::Metadata => metadata(raw, topic).await,
            Self::DeleteRecords => lab.delete_records(raw, topic, 0).await.0,
            Self::DescribeConfigs => describe_configs(raw, topic).await,
            Self::AlterConfigs => alter_configs(raw, topic).await,
            Self::Grow => grow(raw, topic).await,
        }
    }
}

/// A11: each call gets 29 when the one right that it needs is missing, and all others pass.
/// Takes the right to create topics last: from then on the real broker lets nobody.
pub async fn a11_codes_of_missing_rights(lab: &Lab) {
    let mut raw = lab.connect().await;
    for missing in [
        Right::Read,
        Right::Write,
        Right::Describe,
        Right::Delete,
        Right::Alter,
        Right::DescribeConfigs,
        Right::AlterConfigs,
    ] {
        let topic = lab.topic(&[]).await;
        assert_eq!(lab.produce(&mut raw, &topic, batch(lab)).await.error, OK);
        lab.deny(&topic.name, missing).await;
        let needs = |ask: &&Ask| ask.right() == missing;
        for ask in ALL.iter().filter(needs) {
            refused(lab, &mut raw, &topic, *ask).await;
        }
        for ask in ALL.iter().filter(|ask| !needs(ask)) {
            let code = ask.code(lab, &mut raw, &topic).await;
            assert_eq!(code, OK, "{ask:?} without {missing:?}");
        }
    }
    assert_eq!(create(&mut raw, "rights-none").await, OK);
    lab.deny("rights-none", Right::Create).await;
    for _ in 0..TRIES_MAX {
        if create(&mut raw, "rights-none").await == DENIED {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("CreateTopics without Create");
}

async fn refused(lab: &Lab, raw: &mut Raw, topic: &Topic, ask: Ask) {
    for _ in 0..TRIES_MAX {
        match ask.code(lab, raw, topic).await {
            DENIED => return,
            code => assert_eq!(code, OK, "{ask:?}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{ask:?} passes without {:?}", ask.right());
}

fn batch(lab: &Lab) -> Bytes {
    Build::plain(lab.now_ms(), "r", 1).bytes()
}

async fn producers(raw: &mut Raw, topic: &Topic) -> i16 {
    let asked = describe_producers_request::TopicRequest::default()
        .with_name(TopicName(text(&topic.name)))
        .with_partition_indexes(vec![0]);
    let request = DescribeProducersRequest::default().with_topics(vec![asked]);
    raw.call(0, &request).await.unwrap().topics[0].partitions[0].error_code
}

async fn metadata(raw: &mut Raw, topic: &Topic) -> i16 {
    let asked = metadata_request::MetadataRequestTopic::default()
        .with_name(Some(TopicName(text(&topic.name))));
    let request = MetadataRequest::default()
        .with_allow_auto_topic_creation(false)
        .with_topics(Some(vec![asked]));
    raw.call(10, &request).await.unwrap().topics[0].error_code
}

async fn describe_configs(raw: &mut Raw, topic: &Topic) -> i16 {
    let asked = describe_configs_request::DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(&topic.name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![asked]);
    raw.call(4, &request).await.unwrap().results[0].error_code
}

async fn alter_configs(raw: &mut Raw, topic: &Topic) -> i16 {
    let config = incremental_alter_configs_request::AlterableConfig::default()
        .with_name(text("retention.ms"))
        .with_config_operation(0)
        .with_value(Some(text("123456789")));
    let asked = incremental_alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text(&topic.name))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default()
        .with_validate_only(true)
        .with_resources(vec![asked]);
    raw.call(1, &request).await.unwrap().responses[0].error_code
}

async fn grow(raw: &mut Raw, topic: &Topic) -> i16 {
    let asked = create_partitions_request::CreatePartitionsTopic::default()
        .with_name(TopicName(text(&topic.name)))
        .with_count(2)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_timeout_ms(10_000)
        .with_validate_only(true)
        .with_topics(vec![asked]);
    raw.call(2, &request).await.unwrap().results[0].error_code
}

async fn create(raw: &mut Raw, name: &str) -> i16 {
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(TopicName(text(name)))
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_validate_only(true)
        .with_topics(vec![topic]);
    raw.call(5, &request).await.unwrap().topics[0].error_code
}

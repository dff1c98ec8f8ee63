//! A member's questions to the coordinator of its group, over a connection of its own.
//!
//! It never decides what is asked next, and never shares its connection: a coordinator answers a
//! join only when all have joined, and nothing behind it on the connection before.

pub mod lease;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::HeartbeatRequest;
use kafka_protocol::messages::JoinGroupRequest;
use kafka_protocol::messages::LeaveGroupRequest;
use kafka_protocol::messages::SyncGroupRequest;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::protocol::Request;
use kafka_protocol::protocol::StrBytes;

use crate::cluster::Cluster;
use crate::cluster::Wanted;
use crate::cluster::call::text;
use crate::cluster::conn::Conn;
use crate::cluster::error::ClusterError;
use crate::cluster::error::KafkaCode;
use crate::cluster::error::Kind;
use crate::cluster::error::Result;
use crate::ids::BrokerId;
use crate::ids::GroupName;

/// What a join may take beside the time that members have for it, as Kafka's clients have it.
const JOIN_WAIT_MORE: Duration = Duration::from_secs(5);

/// Of which group, and as whom.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The group.
    pub group: GroupName,
    /// `group.instance.id`.
    pub instance: String,
    /// `protocol_type`.
    pub protocol_type: &'static str,
    /// The one protocol of it that is spoken.
    pub protocol: &'static str,
    /// After so long without a heartbeat the coordinator takes us out.
    pub session: Duration,
}

/// What a coordinator answers to a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The id that the coordinator gave us.
    pub member: String,
    /// The leader's.
    pub leader: String,
    /// Of the group.
    pub generation: i32,
    /// The leader need not give anything anew (KIP-814).
    pub skips_assignment: bool,
    /// To the leader, what each member told; to others nothing.
    pub members: Vec<(String, Vec<u8>)>,
}

/// A member's line to its coordinator.
pub struct Membership {
    cluster: Arc<Cluster>,
    terms: Terms,
    coordinator: Option<BrokerId>,
    conn: Option<Conn>,
}

impl Membership {
    /// Nothing is asked yet.
    pub fn new(cluster: Arc<Cluster>, terms: Terms) -> Membership {
        Membership { cluster, terms, coordinator: None, conn: None }
    }

    /// Finds the coordinator, and opens a connection to it.
    pub async fn find(&mut self) -> Result<()> {
        (self.coordinator, self.conn) = (None, None);
        let group = &self.terms.group;
        let mut found = self.cluster.find_coordinators(std::slice::from_ref(group)).await?;
        let id = match found.remove(group) {
            Some(Ok(id)) => id,
            Some(Err(code)) => return Err(self.refused("FindCoordinator", code)),
            None => return Err(self.refused("FindCoordinator", KafkaCode::UNKNOWN)),
        };
        if self.cluster.look(|metadata| metadata.broker(id).is_none()) {
            self.cluster.refresh(Wanted::Topics(&[])).await?;
        }
        self.conn = Some(self.cluster.open_control(Some(id)).await?);
        self.coordinator = Some(id);
        Ok(())
    }

    /// Asks to be taken in, as the member of that id, or as a new one. Answered when all have
    /// joined, which the coordinator waits for as long as a session lasts.
    pub async fn join(&mut self, member: &str, told: Vec<u8>) -> Result<Joined> {
        let session_ms = i32::try_from(self.terms.session.as_millis()).unwrap_or(i32::MAX);
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text(self.terms.protocol))
            .with_metadata(told.into());
        let request = JoinGroupRequest::default()
            .with_group_id(text(self.terms.group.as_str()).into())
            .with_session_timeout_ms(session_ms)
            .with_rebalance_timeout_ms(session_ms)
            .with_member_id(text(member))
            .with_group_instance_id(self.instance())
            .with_protocol_type(text(self.terms.protocol_type))
            .with_protocols(vec![protocol]);
        let within = self.within().max(self.terms.session + JOIN_WAIT_MORE);
        let answer = self.ask(&request, within).await?;
        // a static member is never told MEMBER_ID_REQUIRED
        self.check("JoinGroup", answer.error_code)?;
        let members = answer.members.into_iter();
        let members = members.map(|one| (one.member_id.to_string(), one.metadata.to_vec()));
        Ok(Joined {
            member: answer.member_id.to_string(),
            leader: answer.leader.to_string(),
            generation: answer.generation_id,
            skips_assignment: answer.skip_assignment,
            members: members.collect(),
        })
    }

    /// What the leader gives us; from the leader itself, what it gives to whom.
    pub async fn sync(
        &mut self,
        (member, generation): (&str, i32),
        given: Vec<(String, Vec<u8>)>,
    ) -> Result<Bytes> {
        let given = given.into_iter().map(|(id, bytes)| {
            let one = SyncGroupRequestAssignment::default().with_member_id(text(&id));
            one.with_assignment(bytes.into())
        });
        let request = SyncGroupRequest::default()
            .with_group_id(text(self.terms.group.as_str()).into())
            .with_generation_id(generation)
            .with_member_id(text(member))
            .with_group_instance_id(self.instance())
            .with_protocol_type(Some(text(self.terms.protocol_type)))
            .with_protocol_name(Some(text(self.terms.protocol)))
            .with_assignments(given.collect());
        let within = self.within().max(self.terms.session + JOIN_WAIT_MORE);
        let answer = self.ask(&request, within).await?;
        self.check("SyncGroup", answer.error_code)?;
        Ok(answer.assignment)
    }

    /// We are still here.
    pub async fn heartbeat(&mut self, member: &str, generation: i32) -> Result<()> {
        let request = HeartbeatRequest::default()
            .with_group_id(text(self.terms.group.as_str()).into())
            .with_generation_id(generation)
            .with_member_id(text(member))
            .with_group_instance_id(self.instance());
        // later than that its answer is of no use
        let within = self.within().min(self.terms.session);
        let answer = self.ask(&request, within).await?;
        self.check("Heartbeat", answer.error_code)
    }

    /// Leaves the group, so that nobody waits for us; over a connection that is opened for it where
    /// the one that there was waits for an answer.
    pub async fn leave(&mut self, member: &str) -> Result<()> {
        if self.conn.is_none() {
            self.find().await?;
        }
        let one = MemberIdentity::default()
            .with_member_id(text(member))
            .with_group_instance_id(self.instance())
            .with_reason(Some(text("isolog stops")));
        let request = LeaveGroupRequest::default()
            .with_group_id(text(self.terms.group.as_str()).into())
            .with_members(vec![one]);
        let answer = self.ask(&request, self.within()).await?;
        self.check("LeaveGroup", answer.error_code)?;
        let codes = answer.members.iter().map(|one| one.error_code);
        codes.into_iter().try_for_each(|code| self.check("LeaveGroup", code))
    }

    fn instance(&self) -> Option<StrBytes> {
        Some(text(&self.terms.instance))
    }

    fn within(&self) -> Duration {
        self.cluster.options().request_timeout
    }

    /// One question; a connection whose question was not answered is of no more use.
    async fn ask<R: Request>(&mut self, request: &R, within: Duration) -> Result<R::Response> {
        let Some(mut conn) = self.conn.take() else {
            return Err(self.refused("connect", KafkaCode::COORDINATOR_NOT_AVAILABLE));
        };
        let answer = self.cluster.exchange_on(&mut conn, request, within).await?;
        self.conn = Some(conn);
        Ok(answer)
    }

    fn check(&self, asked: &'static str, code: i16) -> Result<()> {
        let code = KafkaCode(code);
        if code.is_none() { Ok(()) } else { Err(self.refused(asked, code)) }
    }

    fn refused(&self, asked: &'static str, code: KafkaCode) -> ClusterError {
        let peer = self.cluster.peer(self.coordinator, "the coordinator of its group".into());
        ClusterError::new(&peer, asked, Kind::Refused { code, message: None })
    }
}

//! `postino.cluster.v1`.

use std::collections::HashSet;
use std::time::Duration;

use postino_proto::cluster::v1 as proto;
use postino_proto::cluster::v1::cluster_server::{Cluster as ClusterApi, ClusterServer};
use postino_proto::{Fault, FaultKind};
use postino_types::{NodeId, ShardId};
use tonic::{Request, Response, Status};

use super::{Cluster, ClusterError};
use crate::db::DbError;
use crate::identity::{Identity, IdentityError};
use crate::levels;
use crate::model::spool::is_remote_held;
use crate::raft::{GroupStatus, MembershipError, NodeAddress, RaftNode};
use crate::shards::{broken, internal};

/// How long a node may take to catch up with one group.
const ENLIST: Duration = Duration::from_secs(300);

impl Cluster {
    /// The service, ready to be added to a server.
    pub fn into_server(self) -> ClusterServer<Self> {
        ClusterServer::new(self)
    }
}

#[tonic::async_trait]
impl ClusterApi for Cluster {
    async fn status(
        &self,
        _request: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        let levels = self.levels();
        let mut answer = proto::StatusResponse {
            lowest_level: levels.lowest,
            highest_level: levels.highest,
            ..proto::StatusResponse::default()
        };
        let Some(node) = self.node() else {
            return Ok(Response::new(answer));
        };
        let groups = node.groups().into_iter().map(|group| {
            let mut told = group_out(group.status());
            told.level = self.level(group.shard());
            // Of a shard that this node holds no replica of, it has heard who leads it.
            if let Some((term, leader)) = group.known_leader() {
                told.term = told.term.max(term);
                told.leader = Some(node_out(leader));
            }
            told
        });
        let mut groups: Vec<proto::Group> = groups.collect();
        let held = held_shards(&node).await?;
        for group in &mut groups {
            let mut members = group.voters.iter().chain(&group.learners);
            // Rows of a replica that moved away stay on the disk until it is let go.
            let here = members.any(|member| member.id == node.identity().node.get());
            group.remote_held = here && held.contains(&group.shard);
        }
        answer.groups = groups;
        answer.identity = Some((*node.identity()).into());
        Ok(Response::new(answer))
    }

    async fn init(
        &self,
        request: Request<proto::InitRequest>,
    ) -> Result<Response<proto::InitResponse>, Status> {
        let identity = Cluster::init(self, request.into_inner().shard_count).await?;
        Ok(Response::new(proto::InitResponse {
            identity: Some(identity.into()),
        }))
    }

    async fn add_member(
        &self,
        request: Request<proto::AddMemberRequest>,
    ) -> Result<Response<proto::AddMemberResponse>, Status> {
        let node = self.admit(request.into_inner().endpoint).await?;
        Ok(Response::new(proto::AddMemberResponse {
            node: Some(node_out(node)),
        }))
    }

    async fn adopt(
        &self,
        request: Request<proto::AdoptRequest>,
    ) -> Result<Response<proto::AdoptResponse>, Status> {
        let request = request.into_inner();
        let identity = request.identity.as_ref();
        let identity = identity.ok_or_else(|| Status::invalid_argument("no identity"))?;
        let identity = Identity::try_from(identity)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let peers = request.peers.into_iter().map(node_in).collect();
        Cluster::adopt(self, identity, peers).await?;
        Ok(Response::new(proto::AdoptResponse {}))
    }

    async fn enlist(
        &self,
        request: Request<proto::EnlistRequest>,
    ) -> Result<Response<proto::EnlistResponse>, Status> {
        let request = request.into_inner();
        let group = self
            .running_in(&request.cluster_id)?
            .group(ShardId::new(request.shard))
            .ok_or_else(|| Status::not_found("no such shard"))?;
        let member = request
            .node
            .ok_or_else(|| Status::invalid_argument("no node"))?;
        group
            .enlist(node_in(member), ENLIST)
            .await
            .map_err(membership_status)?;
        Ok(Response::new(proto::EnlistResponse {}))
    }
}

/// The shards that send nothing to other servers since they were restored, as far as this node has
/// their rows.
async fn held_shards(node: &RaftNode) -> Result<HashSet<u32>, Status> {
    let (db, shards) = (node.db().clone(), node.identity().mail_shards());
    let look = move || {
        let mut held = HashSet::new();
        for shard in shards {
            if is_remote_held(&db, db.space(shard)?)? {
                held.insert(shard.get());
            }
        }
        Ok::<_, DbError>(held)
    };
    let held = tokio::task::spawn_blocking(look).await;
    held.map_err(internal)?.map_err(broken)
}

impl Cluster {
    /// The feature level of a shard, as far as this node has applied its log; 0: nothing is known.
    pub(crate) fn level(&self, shard: ShardId) -> u32 {
        let level = levels::of_shard(&self.inner.parts.db, shard);
        level.unwrap_or_else(|error| {
            tracing::error!(%shard, %error, "the feature level cannot be read");
            0
        })
    }

    /// The node, or the status that says that it belongs to no cluster.
    pub(crate) fn running(&self) -> Result<RaftNode, Status> {
        self.node().ok_or_else(|| {
            Fault::new(
                FaultKind::Uninitialised,
                "this node belongs to no cluster yet",
            )
            .into()
        })
    }

    /// The node, or the status that says that it does not belong to the cluster with this id.
    pub(crate) fn running_in(&self, id: &[u8]) -> Result<RaftNode, Status> {
        let node = self.running()?;
        match node.identity().cluster.to_bytes() == id {
            true => Ok(node),
            false => Err(Fault::new(FaultKind::WrongCluster, "another cluster").into()),
        }
    }
}

pub(crate) fn membership_status(error: MembershipError) -> Status {
    match error {
        MembershipError::NotLeader { leader } => {
            Fault::not_leader(leader.map(|leader| leader.endpoint)).into()
        }
        MembershipError::Stopped => Fault::not_leader(None).into(),
        MembershipError::Timeout => Status::deadline_exceeded(error.to_string()),
        MembershipError::Refused(_) => Status::aborted(error.to_string()),
        MembershipError::Senseless(_) => Status::failed_precondition(error.to_string()),
    }
}

impl From<ClusterError> for Status {
    fn from(error: ClusterError) -> Self {
        match &error {
            ClusterError::Identity(IdentityError::Exists(_)) => {
                Self::already_exists(error.to_string())
            }
            ClusterError::Identity(IdentityError::ShardCount(_)) => {
                Self::invalid_argument(error.to_string())
            }
            ClusterError::Restoring => Self::failed_precondition(error.to_string()),
            ClusterError::Identity(IdentityError::StateLost { .. }) => {
                Self::failed_precondition(error.to_string())
            }
            _ => {
                tracing::error!(%error, "the node could not change its cluster");
                Self::internal("the node could not change its cluster; see its log")
            }
        }
    }
}

pub(crate) fn group_out(status: GroupStatus) -> proto::Group {
    let progress = status.progress.into_iter();
    let progress = progress.map(|member| proto::Progress {
        node: member.node.get(),
        matched: member.matched,
        snapshot_bytes: member.snapshot_bytes,
    });
    proto::Group {
        shard: status.shard.get(),
        term: status.leadership.term,
        leader: status.leadership.leader.map(node_out),
        voters: status.voters.into_iter().map(node_out).collect(),
        learners: status.learners.into_iter().map(node_out).collect(),
        last_index: status.last_index,
        applied_index: status.applied_index,
        halted: status.halted.unwrap_or_default(),
        progress: progress.collect(),
        membership_index: status.membership_index,
        changing: status.changing,
        level: 0,
        remote_held: false,
    }
}

pub(crate) fn node_out(node: NodeAddress) -> proto::Node {
    proto::Node {
        id: node.id.get(),
        endpoint: node.endpoint,
    }
}

pub(crate) fn node_in(node: proto::Node) -> NodeAddress {
    NodeAddress {
        id: NodeId::new(node.id),
        endpoint: node.endpoint,
    }
}

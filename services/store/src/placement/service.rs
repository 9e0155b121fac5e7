//! `Placement`: reports, commands of operators, and what leaders of shards do for it.

use postino_client::Channel;
use postino_proto::cluster::v1::placement_client::PlacementClient;
use postino_proto::cluster::v1::placement_server::Placement;
use postino_proto::cluster::v1::*;
use postino_proto::store::v1::command::Kind;
use postino_proto::store::v1::command_answer::Result as Answer;
use postino_proto::store::v1::{
    BeginMoveCommand, MoveCause, NodeState, RecordNodeCommand, RecordReplicasCommand,
};
use postino_proto::{Fault, FaultKind};
use postino_types::{NodeId, ShardId};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::conductor::GIVE_LEAD;
use super::driver::WORK;
use super::facts::Facts;
use super::overview::overview;
use crate::cluster::{membership_status, node_in, node_out};
use crate::raft::{Exchange, Exchanged, Group};
use crate::service::{Context, control_or_forward};
use crate::shards::{elsewhere, unexpected};

/// Takes a report in. Only on the leader of the control group.
pub(super) fn hear(context: &Context, report: ReportRequest) -> Result<ReportResponse, Status> {
    context.check_cluster(&report.cluster_id)?;
    context.shards.led(ShardId::CONTROL)?;
    let id = report.node.as_ref().map(|node| NodeId::new(node.id));
    context.placement.reports.take(report, Instant::now());
    let heard = context.heard();
    let facts = context.placement.facts();
    let left = id.map_or_else(Vec::new, |id| facts.left(id, &heard));
    let nodes = facts.nodes.iter();
    let nodes = nodes.filter(|(_, row)| row.standing() != NodeState::Removed);
    let nodes = nodes.map(|(id, row)| {
        let report = heard.nodes.get(id);
        let told = report.and_then(|report| report.node.clone());
        told.unwrap_or_else(|| Node {
            id: id.get(),
            endpoint: row.endpoint.clone(),
        })
    });
    Ok(ReportResponse {
        leaders: heard.leaders(),
        nodes: nodes.collect(),
        left: left.into_iter().map(ShardId::get).collect(),
    })
}

impl Context {
    /// A client for the node at `endpoint`.
    pub(super) fn placement_at(&self, endpoint: &str) -> Result<PlacementClient<Channel>, Status> {
        let max = self.shards.max_message();
        Ok(PlacementClient::new(self.shards.channel_to(endpoint)?)
            .max_decoding_message_size(max)
            .max_encoding_message_size(max))
    }

    /// The term in which this node leads the control group, as it believes.
    pub(super) fn control_term(&self) -> Result<u64, Status> {
        let control = self.shards.group(ShardId::CONTROL)?;
        let now = control.leadership().borrow().clone();
        match now.is_leader {
            true => Ok(now.term),
            false => Err(elsewhere(&control)),
        }
    }

    fn check_term(&self, term: u64) -> Result<(), Status> {
        match self.placement.is_latest(term) {
            true => Ok(()),
            false => Err(Fault::new(FaultKind::NotLeader, "an order of an earlier term").into()),
        }
    }

    /// The rows as they are after everything that was acknowledged.
    async fn facts_now(&self, control: &Group) -> Result<Facts, Status> {
        control.read_barrier().await.map_err(Fault::from)?;
        Facts::look(self).await
    }

    async fn set_state(&self, control: &Group, node: u64, state: NodeState) -> Result<(), Status> {
        let command = RecordNodeCommand {
            node,
            state: state.into(),
            ..RecordNodeCommand::default()
        };
        let kind = Kind::RecordNode(command);
        self.shards.propose(control, kind, None).await?;
        self.placement.plan_now.notify_one();
        Ok(())
    }
}

/// The state of a node, which must be one of the cluster.
fn known(facts: &Facts, node: u64) -> Result<NodeState, Status> {
    match facts.state(NodeId::new(node)) {
        NodeState::Unspecified => Err(Status::not_found(format!(
            "there is no node {node}; see postino cluster status"
        ))),
        NodeState::Removed => Err(Status::failed_precondition(format!(
            "node {node} was removed"
        ))),
        state => Ok(state),
    }
}

#[tonic::async_trait]
impl Placement for Context {
    async fn report(
        &self,
        request: Request<ReportRequest>,
    ) -> Result<Response<ReportResponse>, Status> {
        hear(self, request.into_inner()).map(Response::new)
    }

    async fn get_overview(
        &self,
        request: Request<GetOverviewRequest>,
    ) -> Result<Response<Overview>, Status> {
        let (group, _) = control_or_forward!(self, request, placement_at.get_overview);
        let facts = self.facts_now(&group).await?;
        let me = self.shards.node()?.identity().node;
        Ok(Response::new(overview(me, &facts, &self.heard())))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let (_, request) = control_or_forward!(self, request, placement_at.join);
        let node = self.shards.cluster().take_in(&request.endpoint).await?;
        self.placement.plan_now.notify_one();
        Ok(Response::new(JoinResponse {
            node: Some(node_out(node)),
        }))
    }

    async fn drain(
        &self,
        request: Request<DrainRequest>,
    ) -> Result<Response<DrainResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, placement_at.drain);
        let facts = self.facts_now(&group).await?;
        let state = known(&facts, request.node)?;
        let wanted = match request.undo {
            true => NodeState::Active,
            false => NodeState::Draining,
        };
        let another =
            |id: &&NodeId| id.get() != request.node && facts.state(**id) == NodeState::Active;
        let others = facts.nodes.keys().filter(another).count();
        let replicas = self.config.placement.replicas as usize;
        if !request.undo && others == 0 {
            return Err(Status::failed_precondition(
                "no other node could take its replicas: join one first",
            ));
        }
        if !request.undo && !request.force && others < replicas {
            return Err(Status::failed_precondition(format!(
                "{others} other nodes would remain for {replicas} replicas of each shard: join \
                 another one first, or say --force"
            )));
        }
        let changes = match request.undo {
            true => state == NodeState::Draining,
            false => state != wanted,
        };
        if changes {
            self.set_state(&group, request.node, wanted).await?;
        }
        Ok(Response::new(DrainResponse {}))
    }

    async fn remove(
        &self,
        request: Request<RemoveRequest>,
    ) -> Result<Response<RemoveResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, placement_at.remove);
        let facts = self.facts_now(&group).await?;
        if facts.state(NodeId::new(request.node)) == NodeState::Removed {
            return Ok(Response::new(RemoveResponse {}));
        }
        known(&facts, request.node)?;
        // The rows lag behind what the shards decided; nothing may be known of none.
        let picture = facts.picture(&self.heard());
        let node = NodeId::new(request.node);
        for shard in self.shards.node()?.identity().shards() {
            let seen = picture.shards.get(&shard);
            let Some(seen) = seen.filter(|seen| seen.leader.is_some()) else {
                return Err(Status::failed_precondition(format!(
                    "shard {shard} has no leader, so nobody knows whether it needs the node: try again \
                     when it has one (postino cluster status)"
                )));
            };
            if seen.replicas.contains_key(&node) {
                return Err(Status::failed_precondition(format!(
                    "node {node} still holds a replica of shard {shard}: drain it first, and wait \
                     until it holds none (postino cluster status)"
                )));
            }
        }
        self.set_state(&group, request.node, NodeState::Removed)
            .await?;
        Ok(Response::new(RemoveResponse {}))
    }

    async fn move_replica(
        &self,
        request: Request<MoveReplicaRequest>,
    ) -> Result<Response<MoveReplicaResponse>, Status> {
        let (group, request) = control_or_forward!(self, request, placement_at.move_replica);
        let MoveReplicaRequest { shard, from, to } = request;
        self.shards.group(ShardId::new(shard))?;
        let facts = self.facts_now(&group).await?;
        for node in [from, to].into_iter().filter(|node| *node != 0) {
            known(&facts, node)?;
        }
        if to != 0 && !self.heard().is_alive(NodeId::new(to)) {
            return Err(Status::failed_precondition(format!(
                "node {to} is down: start it, or name another one"
            )));
        }
        let kind = Kind::BeginMove(BeginMoveCommand {
            shard,
            from,
            to,
            cause: MoveCause::Command.into(),
            limit: self.config.placement.moves_at_once,
        });
        let committed = self.shards.propose(&group, kind, None).await?;
        self.placement.plan_now.notify_one();
        match committed.answer {
            Answer::Move(begun) => Ok(Response::new(MoveReplicaResponse {
                r#move: begun.r#move,
            })),
            answer => unexpected(&answer),
        }
    }

    async fn rebalance(
        &self,
        request: Request<RebalanceRequest>,
    ) -> Result<Response<RebalanceResponse>, Status> {
        let (group, _) = control_or_forward!(self, request, placement_at.rebalance);
        self.placement.rebalance();
        let facts = self.facts_now(&group).await?;
        let steps = self.next_steps(&facts, &self.heard(), 0).len();
        self.placement.plan_now.notify_one();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Ok(Response::new(RebalanceResponse {
            moves: count(facts.moves.len()),
            steps: count(steps),
        }))
    }

    async fn give_lead(
        &self,
        request: Request<GiveLeadRequest>,
    ) -> Result<Response<GiveLeadResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        self.check_term(request.control_term)?;
        let group = self.shards.led(ShardId::new(request.shard))?;
        let given = group.give_lead(NodeId::new(request.to), GIVE_LEAD / 2);
        given.await.map_err(membership_status)?;
        Ok(Response::new(GiveLeadResponse {}))
    }

    async fn confirm_left(
        &self,
        request: Request<ConfirmLeftRequest>,
    ) -> Result<Response<ConfirmLeftResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        let group = self.shards.led(ShardId::new(request.shard))?;
        let place = group.without(NodeId::new(request.node)).await;
        let place = place.map_err(membership_status)?;
        let place = place.ok_or_else(|| Status::failed_precondition("the node is a member"))?;
        Ok(Response::new(ConfirmLeftResponse {
            term: place.term,
            index: place.index,
        }))
    }

    async fn advance_move(
        &self,
        request: Request<AdvanceMoveRequest>,
    ) -> Result<Response<AdvanceMoveResponse>, Status> {
        let request = request.into_inner();
        self.check_cluster(&request.cluster_id)?;
        self.check_term(request.control_term)?;
        let group = self.shards.led(ShardId::new(request.shard))?;
        let exchange = Exchange {
            coming: request.to.map(node_in),
            leaving: Some(NodeId::new(request.from)).filter(|node| node.get() != 0),
        };
        let exchanged = match request.give_up {
            true => call_off(&group, &exchange).await,
            false => group.exchange(&exchange, WORK).await,
        };
        let exchanged = exchanged.map_err(membership_status)?;
        Ok(Response::new(AdvanceMoveResponse {
            done: exchanged == Exchanged::Done,
            replicas: Some(members(&group)),
        }))
    }
}

async fn call_off(
    group: &Group,
    exchange: &Exchange,
) -> Result<Exchanged, crate::raft::MembershipError> {
    let limited = tokio::time::timeout(WORK, group.call_off(exchange));
    let outcome = limited.await;
    outcome.unwrap_or(Err(crate::raft::MembershipError::Timeout))?;
    Ok(Exchanged::Done)
}

fn members(group: &Group) -> RecordReplicasCommand {
    let status = group.status();
    let ids = |nodes: Vec<crate::raft::NodeAddress>| {
        nodes.into_iter().map(|node| node.id.get()).collect()
    };
    RecordReplicasCommand {
        shard: status.shard.get(),
        membership_index: status.membership_index,
        voters: ids(status.voters),
        learners: ids(status.learners),
    }
}

//! What this node tells the leader of the control group, and what it learns from the answer.

use std::collections::VecDeque;
use std::time::Duration;

use postino_proto::cluster::v1 as proto;
use postino_proto::cluster::v1::{ReportRequest, ReportResponse};
use postino_proto::{Fault, FaultKind};
use postino_types::ShardId;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::service::hear;
use crate::cluster::{group_out, node_in, node_out};
use crate::raft::{Group, NodeAddress, Place, RaftNode};
use crate::service::Context;

/// How long one node may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Nodes that are asked before the next report is due.
const TRIES: usize = 6;

/// Reports at every interval, and at once when there is news, until the node stops.
pub(crate) async fn run(context: Context, node: RaftNode, stop: CancellationToken) {
    let interval = context.config.placement.interval.get();
    loop {
        if let Err(status) = tell(&context, &node).await {
            tracing::debug!(%status, "nobody took the report");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
            () = context.placement.report_now.notified() => {}
        }
    }
}

async fn tell(context: &Context, node: &RaftNode) -> Result<(), Status> {
    let control = node.group(ShardId::CONTROL);
    let control = control.ok_or_else(|| Status::internal("there is no control group"))?;
    let report = report(context, node);
    let answer = match control.is_leader() {
        true => hear(context, report)?,
        false => tell_leader(context, node, &control, report).await?,
    };
    for leader in answer.leaders {
        let group = node.group(ShardId::new(leader.shard));
        if let (Some(group), Some(leading)) = (group, leader.node) {
            group.hear(leader.term, node_in(leading));
        }
    }
    let nodes = answer.nodes.into_iter().map(node_in).collect();
    context.shards.cluster().peers().learn(nodes);
    if let Some(shard) = answer.left.first() {
        let release = release(context.clone(), node.clone(), ShardId::new(*shard));
        // Beside the reports, which others wait for.
        tokio::spawn(release);
    }
    Ok(())
}

/// Lets go of what is left of a replica that this node holds no longer. What is not begun is asked for
/// again by the next report.
async fn release(context: Context, node: RaftNode, shard: ShardId) {
    let confirm = || async {
        let confirmed = confirm_left(&context, &node, shard).await;
        let refused = |status: &Status| tracing::debug!(%shard, %status, "a replica stays for now");
        confirmed.inspect_err(refused).ok()
    };
    if let Err(error) = node.release(shard, confirm).await {
        tracing::error!(%shard, %error, "a replica is neither let go nor kept");
    }
}

/// Asks the leader of a shard whether this node is no member.
async fn confirm_left(context: &Context, node: &RaftNode, shard: ShardId) -> Result<Place, Status> {
    let group = context.shards.group(shard)?;
    let mut request = Request::new(proto::ConfirmLeftRequest {
        cluster_id: node.identity().cluster.to_bytes(),
        shard: shard.get(),
        node: node.identity().node.get(),
    });
    request.set_timeout(ANSWER);
    let endpoint = context.shards.leader_endpoint(&group)?;
    let answer = context
        .placement_at(&endpoint)?
        .confirm_left(request)
        .await?;
    let proto::ConfirmLeftResponse { term, index } = answer.into_inner();
    Ok(Place { term, index })
}

fn report(context: &Context, node: &RaftNode) -> ReportRequest {
    let cluster = context.shards.cluster();
    let levels = cluster.levels();
    let groups = node.groups().into_iter().map(|group| proto::Group {
        level: cluster.level(group.shard()),
        ..group_out(group.status())
    });
    ReportRequest {
        cluster_id: node.identity().cluster.to_bytes(),
        node: Some(node_out(node.address())),
        zone: context.config.zone.clone(),
        stopping: context.placement.is_stopping(),
        groups: groups.collect(),
        full: node.groups().iter().any(|group| !group.has_room()),
        lowest_level: levels.lowest,
        highest_level: levels.highest,
    }
}

/// Asks who is likely to lead, and then everybody that is known, for a while.
async fn tell_leader(
    context: &Context,
    node: &RaftNode,
    control: &Group,
    report: ReportRequest,
) -> Result<ReportResponse, Status> {
    let mut candidates: VecDeque<String> = candidates(context, node, control).into();
    let mut asked = vec![node.address().endpoint];
    let mut outcome = Status::unavailable("no other node is known");
    while let Some(endpoint) = candidates.pop_front() {
        if asked.contains(&endpoint) || asked.len() > TRIES {
            continue;
        }
        let mut request = Request::new(report.clone());
        request.set_timeout(ANSWER);
        let answer = context.placement_at(&endpoint)?.report(request).await;
        asked.push(endpoint);
        outcome = match answer {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        if let Some(Fault {
            kind: FaultKind::NotLeader,
            leader: Some(leader),
            ..
        }) = Fault::of(&outcome)
        {
            candidates.push_front(leader);
        }
    }
    Err(outcome)
}

/// The control group's leader as far as this node knows, its members, and all nodes it heard of.
fn candidates(context: &Context, node: &RaftNode, control: &Group) -> Vec<String> {
    let mut others: Vec<NodeAddress> = context.shards.cluster().peers().all();
    for group in node.groups() {
        let status = group.status();
        others.extend(status.voters);
        others.extend(status.learners);
    }
    // Not always the same one first: it may be down.
    fastrand::shuffle(&mut others);
    let first = control.leader().into_iter();
    first.chain(others).map(|node| node.endpoint).collect()
}

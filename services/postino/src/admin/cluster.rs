//! `postino cluster`.

use std::time::{Duration, Instant};

use postino_proto::cluster::v1::placement_client::PlacementClient;
use postino_proto::cluster::v1::{
    DrainRequest, JoinRequest, MoveReplicaRequest, RebalanceRequest, RebalanceResponse,
    RemoveRequest,
};
use serde_json::json;
use tonic::{Request, Response, Status};

use super::target::{ANSWER, patiently, placement};
use super::{AdminError, cluster_status, cluster_verify, output};
use crate::cli::{ClusterAction, Target};

/// How often something is looked at that changes.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// How long nothing may change before nobody waits any longer.
pub(super) const STANDSTILL: Duration = Duration::from_mins(15);

pub(crate) async fn run(action: ClusterAction, target: Target) -> Result<(), AdminError> {
    match action {
        ClusterAction::Status { watch: false } => cluster_status::show(&target).await,
        ClusterAction::Status { watch: true } => loop {
            cluster_status::show(&target).await?;
            tokio::time::sleep(LOOK).await;
        },
        ClusterAction::Init { nodes, shards } => init(nodes, shards, &target).await,
        ClusterAction::Join { cluster } => join(&cluster, &target).await,
        ClusterAction::Drain { node, undo, force } => {
            drain(DrainRequest { node, undo, force }, &target).await
        }
        ClusterAction::Remove { node } => remove(node, &target).await,
        ClusterAction::Move { shard, from, to } => {
            let request = MoveReplicaRequest { shard, from, to };
            move_replica(request, &target).await
        }
        ClusterAction::Rebalance { wait } => rebalance(wait, &target).await,
        ClusterAction::Verify { shard, patience } => {
            cluster_verify::run(shard, Duration::from_secs(patience), &target).await
        }
    }
}

async fn init(nodes: Vec<String>, shards: u32, target: &Target) -> Result<(), AdminError> {
    let mut members = vec![target.endpoint()?];
    members.extend(nodes);
    let identity = postino_store::cluster::form(&members, shards).await?;
    let id = cluster_status::hexadecimal(&identity.cluster_id);
    let sentence = format!(
        "cluster {id}: {} nodes, {} mail shards",
        members.len(),
        identity.shard_count
    );
    output::done(
        target.json,
        &sentence,
        &json!({ "cluster": id, "nodes": members }),
    );
    Ok(())
}

/// A call of placement, made at the endpoint of a node until it is answered.
macro_rules! ask {
    ($endpoint:expr, $method:ident, $request:expr) => {{
        let client = placement($endpoint)?;
        let answer = patiently(ANSWER, async |limit: Duration| {
            let mut request = Request::new($request);
            request.set_timeout(limit);
            let mut client: PlacementClient<_> = client.clone();
            let answer: Result<Response<_>, Status> = client.$method(request).await;
            answer.map(Response::into_inner)
        });
        answer.await?
    }};
}

async fn join(cluster: &str, target: &Target) -> Result<(), AdminError> {
    let newcomer = target.endpoint()?;
    let request = || JoinRequest {
        endpoint: newcomer.clone(),
    };
    let answer = ask!(cluster, join, request());
    let node = answer.node.map_or(0, |node| node.id);
    let sentence = format!("{newcomer} is node {node}; replicas move to it as far as it needs any");
    let result = json!({ "node": node, "endpoint": newcomer });
    output::done(target.json, &sentence, &result);
    Ok(())
}

async fn drain(request: DrainRequest, target: &Target) -> Result<(), AdminError> {
    ask!(&target.endpoint()?, drain, request);
    let DrainRequest { node, undo, .. } = request;
    let sentence = match undo {
        true => format!("node {node} keeps its replicas"),
        false => format!("the replicas of node {node} move away; then: cluster remove {node}"),
    };
    output::done(
        target.json,
        &sentence,
        &json!({ "node": node, "draining": !undo }),
    );
    Ok(())
}

async fn remove(node: u64, target: &Target) -> Result<(), AdminError> {
    ask!(&target.endpoint()?, remove, RemoveRequest { node });
    let sentence = format!("node {node} is removed; its process can be stopped");
    output::done(target.json, &sentence, &json!({ "node": node }));
    Ok(())
}

/// Not repeated: a second one would be refused because of the first.
async fn move_replica(request: MoveReplicaRequest, target: &Target) -> Result<(), AdminError> {
    let mut client = placement(&target.endpoint()?)?;
    let answer = client.move_replica(request).await?.into_inner();
    let MoveReplicaRequest { shard, from, to } = request;
    let sentence = format!("shard {shard} moves; cluster status shows how far it is");
    let result = json!({ "move": answer.r#move, "shard": shard, "from": from, "to": to });
    output::done(target.json, &sentence, &result);
    Ok(())
}

async fn rebalance(wait: bool, target: &Target) -> Result<(), AdminError> {
    let endpoint = target.endpoint()?;
    let mut left: RebalanceResponse = ask!(&endpoint, rebalance, RebalanceRequest {});
    let mut since = Instant::now();
    while wait && left.moves + left.steps > 0 {
        tokio::time::sleep(LOOK).await;
        let now = ask!(&endpoint, rebalance, RebalanceRequest {});
        if now != left {
            (left, since) = (now, Instant::now());
        }
        if since.elapsed() > STANDSTILL {
            return Err(AdminError::Stuck(format!(
                "{} moves and {} steps are left, and nothing has changed for {} minutes: see \
                 postino cluster status",
                left.moves,
                left.steps,
                STANDSTILL.as_secs() / 60
            )));
        }
    }
    let sentence = match left.moves + left.steps {
        0 => "replicas and leads are even".to_owned(),
        _ => format!(
            "{} moves are under way, {} steps come next",
            left.moves, left.steps
        ),
    };
    let result = json!({ "moves": left.moves, "steps": left.steps });
    output::done(target.json, &sentence, &result);
    Ok(())
}

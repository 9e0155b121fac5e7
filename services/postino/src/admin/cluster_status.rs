//! `postino cluster status`: what one node says of itself, and what the leader of the control group
//! says of all.

use std::time::Duration;

use postino_proto::cluster::v1::{
    GetOverviewRequest, Group, MoveOverview, Node, NodeOverview, Overview, ReplicaOverview,
    ShardOverview, StatusRequest,
};
use postino_proto::store::v1::{MoveCause, NodeState};
use serde::Serialize;
use serde_json::json;
use tonic::Request;

use super::queue::HELD;
use super::target::{patiently, placement};
use super::{AdminError, output};
use crate::cli::Target;

/// How long to ask for the overview; without one, the node's own view is shown.
const OVERVIEW: Duration = Duration::from_secs(2);

/// A node.
#[derive(Serialize)]
struct NodeRow {
    node: u64,
    endpoint: String,
    zone: String,
    state: &'static str,
    /// "up", "down", "stopping", or "full": its disk has no room for anything new.
    health: &'static str,
    leads: u32,
    replicas: u32,
    /// The feature levels that its build supports, "1-2".
    levels: String,
}

/// A shard.
#[derive(Serialize)]
struct ShardRow {
    shard: u32,
    term: u64,
    /// 0: not known.
    leader: u64,
    last_index: u64,
    changing: bool,
    /// The feature level.
    level: u32,
    replicas: Vec<ReplicaRow>,
}

/// A replica of a shard.
#[derive(Serialize)]
struct ReplicaRow {
    node: u64,
    voter: bool,
    applied_index: u64,
    lag: u64,
    halted: String,
}

/// A replica that moves.
#[derive(Serialize)]
struct MoveRow {
    r#move: u64,
    shard: u32,
    from: Option<u64>,
    to: Option<u64>,
    cause: &'static str,
    started_ms: u64,
    matched: u64,
    last_index: u64,
    /// Of a snapshot that is on its way to the replica.
    snapshot_bytes: u64,
}

/// A shard as the node that was asked sees it.
#[derive(Serialize)]
struct GroupRow {
    shard: u32,
    term: u64,
    /// The leader's endpoint, if the node knows one.
    leader: Option<String>,
    voters: Vec<u64>,
    learners: Vec<u64>,
    last_index: u64,
    applied_index: u64,
    halted: String,
    /// Restored, and sends nothing to other servers yet.
    remote_held: bool,
}

pub(crate) async fn show(target: &Target) -> Result<(), AdminError> {
    let mut cluster = target.cluster()?;
    let answer = cluster.status(StatusRequest {}).await?.into_inner();
    let Some(identity) = answer.identity else {
        let sentence = "this node belongs to no cluster: postino cluster init, or cluster join";
        let nothing = json!({ "identity": null, "groups": [] });
        output::done(target.json, sentence, &nothing);
        return Ok(());
    };
    let id = hexadecimal(&identity.cluster_id);
    let groups: Vec<GroupRow> = answer.groups.into_iter().map(group_row).collect();
    // Without a leader of the control group there is still what this node knows.
    let overview = overview(target).await;
    if target.json {
        let mut all = json!({
            "identity": {
                "cluster": id,
                "node": identity.node_id,
                "mail_shards": identity.shard_count,
            },
            "groups": groups,
        });
        if let Ok(overview) = overview {
            all["nodes"] = json!(rows(overview.nodes, node_row));
            all["shards"] = json!(rows(overview.shards, shard_row));
            all["moves"] = json!(rows(overview.moves, move_row));
        }
        output::done(true, "", &all);
        return Ok(());
    }
    output::line(&format_args!("node {} of cluster {id}", identity.node_id));
    if groups.iter().any(|group| group.remote_held) {
        output::line(&HELD);
    }
    match overview {
        Ok(overview) => tables(overview),
        Err(error) => {
            output::line(&format_args!(
                "the leader of shard 0 cannot be asked ({error}); this node alone says:"
            ));
            let columns = [
                "shard",
                "term",
                "leader",
                "voters",
                "learners",
                "applied_index",
            ];
            output::rows(false, &columns, &groups);
        }
    }
    Ok(())
}

async fn overview(target: &Target) -> Result<Overview, AdminError> {
    let client = placement(&target.endpoint()?)?;
    patiently(OVERVIEW, async |limit| {
        let mut request = Request::new(GetOverviewRequest {});
        request.set_timeout(limit);
        let answer = client.clone().get_overview(request).await;
        answer.map(tonic::Response::into_inner)
    })
    .await
}

fn tables(overview: Overview) {
    let columns = [
        "node", "endpoint", "zone", "state", "health", "leads", "replicas", "levels",
    ];
    output::rows(false, &columns, &rows(overview.nodes, node_row));
    output::line(&"");
    let lines: Vec<_> = overview.shards.into_iter().map(shard_line).collect();
    output::rows(
        false,
        &["shard", "term", "leader", "index", "level", "replicas"],
        &lines,
    );
    if !overview.moves.is_empty() {
        output::line(&"");
        let columns = [
            "shard",
            "from",
            "to",
            "cause",
            "matched",
            "last_index",
            "snapshot_bytes",
        ];
        output::rows(false, &columns, &rows(overview.moves, move_row));
    }
}

/// A shard on one line: each replica with its lag, if it has any.
fn shard_line(shard: ShardOverview) -> serde_json::Value {
    let replica = |replica: &ReplicaOverview| {
        let learns = if replica.voter { "" } else { " learns" };
        let halted = if replica.halted.is_empty() {
            ""
        } else {
            " halted"
        };
        match replica.lag {
            0 => format!("{}{learns}{halted}", replica.node),
            lag => format!("{}{learns}{halted} (-{lag})", replica.node),
        }
    };
    let replicas: Vec<String> = shard.replicas.iter().map(replica).collect();
    json!({
        "shard": shard.shard,
        "term": shard.term,
        "leader": Some(shard.leader).filter(|leader| *leader != 0),
        "index": shard.last_index,
        "level": shard.level,
        "replicas": replicas.join(", "),
    })
}

fn rows<T, R>(all: Vec<T>, row: impl Fn(T) -> R) -> Vec<R> {
    all.into_iter().map(row).collect()
}

fn node_row(node: NodeOverview) -> NodeRow {
    NodeRow {
        state: match node.state() {
            NodeState::Unspecified => "",
            NodeState::Joining => "joining",
            NodeState::Active => "active",
            NodeState::Draining => "draining",
            NodeState::Removed => "removed",
        },
        health: match (node.alive, node.stopping, node.full) {
            (false, ..) => "down",
            (true, true, _) => "stopping",
            (true, false, true) => "full",
            (true, false, false) => "up",
        },
        levels: match node.highest_level {
            0 => String::new(),
            highest => format!("{}-{highest}", node.lowest_level),
        },
        node: node.node,
        endpoint: node.endpoint,
        zone: node.zone,
        leads: node.leads,
        replicas: node.replicas,
    }
}

fn shard_row(shard: ShardOverview) -> ShardRow {
    let replica = |replica: ReplicaOverview| ReplicaRow {
        node: replica.node,
        voter: replica.voter,
        applied_index: replica.applied_index,
        lag: replica.lag,
        halted: replica.halted,
    };
    ShardRow {
        shard: shard.shard,
        term: shard.term,
        leader: shard.leader,
        last_index: shard.last_index,
        changing: shard.changing,
        level: shard.level,
        replicas: shard.replicas.into_iter().map(replica).collect(),
    }
}

fn move_row(moving: MoveOverview) -> MoveRow {
    let node = |node: u64| Some(node).filter(|node| *node != 0);
    MoveRow {
        cause: match moving.cause() {
            MoveCause::Unspecified => "",
            MoveCause::Command => "command",
            MoveCause::Replication => "replication",
            MoveCause::Drain => "drain",
            MoveCause::Balance => "balance",
        },
        r#move: moving.r#move,
        shard: moving.shard,
        from: node(moving.from),
        to: node(moving.to),
        started_ms: moving.started_ms,
        matched: moving.matched,
        last_index: moving.last_index,
        snapshot_bytes: moving.snapshot_bytes,
    }
}

fn group_row(group: Group) -> GroupRow {
    let ids = |nodes: Vec<Node>| nodes.into_iter().map(|node| node.id).collect();
    GroupRow {
        shard: group.shard,
        term: group.term,
        leader: group.leader.map(|node| node.endpoint),
        voters: ids(group.voters),
        learners: ids(group.learners),
        last_index: group.last_index,
        applied_index: group.applied_index,
        halted: group.halted,
        remote_held: group.remote_held,
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

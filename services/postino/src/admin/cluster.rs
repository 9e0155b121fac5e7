//! `postino cluster`.

use postino_proto::cluster::v1::{Group, Node, StatusRequest};
use serde::Serialize;
use serde_json::json;

use super::{AdminError, output};
use crate::cli::{ClusterAction, Target};

#[derive(Serialize)]
struct Row {
    shard: u32,
    term: u64,
    /// The leader's endpoint, if the node knows one.
    leader: Option<String>,
    voters: Vec<u64>,
    learners: Vec<u64>,
    last_index: u64,
    applied_index: u64,
    halted: String,
}

pub(crate) async fn run(action: ClusterAction, target: Target) -> Result<(), AdminError> {
    match action {
        ClusterAction::Status => {
            let answer = target
                .cluster()?
                .status(StatusRequest {})
                .await?
                .into_inner();
            let identity = answer.identity.map(|identity| {
                json!({
                    "cluster": hexadecimal(&identity.cluster_id),
                    "node": identity.node_id,
                    "mail_shards": identity.shard_count,
                })
            });
            let groups: Vec<Row> = answer.groups.into_iter().map(row).collect();
            show(target.json, identity, groups);
        }
        ClusterAction::Init { nodes, shards } => {
            let mut members = vec![target.endpoint()?];
            members.extend(nodes);
            let identity = postino_store::cluster::form(&members, shards).await?;
            let id = hexadecimal(&identity.cluster_id);
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
        }
    }
    Ok(())
}

fn show(json: bool, identity: Option<serde_json::Value>, groups: Vec<Row>) {
    if json {
        return output::done(true, "", &json!({ "identity": identity, "groups": groups }));
    }
    match identity {
        Some(identity) => println!(
            "node {} of cluster {}",
            identity["node"], identity["cluster"]
        ),
        None => println!("this node belongs to no cluster: postino cluster init"),
    }
    let columns = [
        "shard",
        "term",
        "leader",
        "voters",
        "learners",
        "applied_index",
        "halted",
    ];
    output::rows(false, &columns, &groups);
}

fn row(group: Group) -> Row {
    let ids = |nodes: Vec<Node>| nodes.into_iter().map(|node| node.id).collect();
    Row {
        shard: group.shard,
        term: group.term,
        leader: group.leader.map(|node| node.endpoint),
        voters: ids(group.voters),
        learners: ids(group.learners),
        last_index: group.last_index,
        applied_index: group.applied_index,
        halted: group.halted,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

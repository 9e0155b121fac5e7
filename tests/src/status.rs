//! What `postino cluster status` says of the stores.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::Cluster;
use crate::wait::{seconds, until};

/// A list that a status holds.
pub fn list<'a>(status: &'a Value, name: &str) -> &'a [Value] {
    status[name].as_array().map_or(&[], Vec::as_slice)
}

/// Waits until `cluster status` at a node looks as it should.
pub async fn until_status(
    cluster: &Cluster,
    at: &str,
    what: &str,
    holds: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let mut last = Value::Null;
    let looked = until(what, seconds(90), async || {
        let status = cluster.status_at(at).await.ok()?;
        last = status.clone();
        holds(&status).then_some(status)
    })
    .await;
    looked.with_context(|| format!("last seen: {last:#}"))
}

/// Whether every shard is on so many nodes, with nothing under way, and the leads are even.
pub fn is_settled(status: &Value, shards: usize, replicas: usize) -> bool {
    let all = list(status, "shards");
    let settled = |shard: &Value| {
        let members = list(shard, "replicas");
        let fine = |replica: &Value| {
            replica["voter"] == true && replica["lag"].as_u64().is_some_and(|lag| lag < 100)
        };
        shard["leader"] != 0 && members.len() == replicas && members.iter().all(fine)
    };
    let active = list(status, "nodes").iter();
    let active = active.filter(|node| node["state"] == "active");
    let leads: Vec<u64> = active.filter_map(|node| node["leads"].as_u64()).collect();
    let even = match (leads.iter().min(), leads.iter().max()) {
        (Some(least), Some(most)) => most - least <= 1,
        _ => false,
    };
    all.len() == shards && all.iter().all(settled) && list(status, "moves").is_empty() && even
}

/// What a status says of the node with this number.
pub fn node<'a>(status: &'a Value, number: &str) -> Option<&'a Value> {
    let has_number = |id: u64| id.to_string() == number;
    let mut nodes = list(status, "nodes").iter();
    nodes.find(|node| node["node"].as_u64().is_some_and(has_number))
}

/// The number of the store node that a process is.
pub fn number(cluster: &Cluster, status: &Value, name: &str) -> Result<String> {
    let admin = cluster.address(name, "admin")?.to_string();
    let mut nodes = list(status, "nodes").iter();
    let node = nodes.find(|node| {
        let endpoint = node["endpoint"].as_str();
        endpoint.is_some_and(|endpoint| endpoint.ends_with(&admin))
    });
    let node = node.with_context(|| format!("no {name} in {status:#}"))?;
    Ok(node["node"].to_string())
}

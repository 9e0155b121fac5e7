//! Stores that come, go, and stop for a moment, while letters come in.

use anyhow::{Result, ensure};
use postino_tests::Cluster;
use postino_tests::load::letters::Letters;
use postino_tests::load::reader::Reader;
use postino_tests::status::{is_settled, list, node, number, until_status};
use postino_tests::wait::{seconds, until};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_stops_and_starts_again_is_not_noticed() -> Result<()> {
    let cluster = Cluster::builder().start().await?;
    let even = |status: &Value| is_settled(status, 17, 3);
    until_status(&cluster, "store-1", "the leads are even", even).await?;
    let letters = Letters::start(&cluster).await?;
    letters.grow(30).await?;
    let reader = Reader::start(&cluster).await?;
    for name in ["store-1", "store-2"] {
        letters.grow(30).await?;
        cluster.stop(name).await?;
        let log = cluster.log(name);
        ensure!(!log.contains("kept the lead until the end"), "{log}");
        letters.grow(30).await?;
        cluster.start(name).await?;
        // The next one must not stop before this one holds what it missed.
        let settled = |status: &Value| is_settled(status, 17, 3);
        until_status(&cluster, name, "it is back", settled).await?;
    }
    reader.end().await?;
    letters.end(&cluster, "store-1").await?;
    cluster.down().await
}

/// Waits until a node has let go of what was left of the replicas that moved away.
async fn let_go(cluster: &Cluster, name: &str) -> Result<()> {
    let nothing = |group: &Value| group["applied_index"] == 0;
    let let_go = async || {
        let status = cluster.status_at(name).await.ok()?;
        list(&status, "groups").iter().all(nothing).then_some(())
    };
    until("its replicas are let go", seconds(60), let_go).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_from_one_to_five_and_shrinks_again() -> Result<()> {
    let cluster = Cluster::builder()
        .stores(1)
        .set("store.shards", 6)
        .start()
        .await?;
    let letters = Letters::start(&cluster).await?;
    letters.grow(30).await?;
    for n in [2, 3] {
        cluster.add("store", n).await?;
    }
    let three = |status: &Value| is_settled(status, 7, 3);
    let status = until_status(&cluster, "store-3", "three replicas of each shard", three).await?;
    letters.grow(30).await?;
    let first = number(&cluster, &status, "store-1")?;
    // A node that holds replicas is not removed.
    let remove = ["cluster", "remove", &first];
    let refused = cluster.command_at("store-2", &remove).await?;
    assert_eq!(refused.code, 1);
    // Nor emptied, while the others are too few for all replicas.
    let drain = ["cluster", "drain", &first];
    let refused = cluster.command_at("store-2", &drain).await?;
    assert_eq!(refused.code, 1);

    for n in [4, 5] {
        cluster.add("store", n).await?;
    }
    let spread = |status: &Value| {
        let nodes = list(status, "nodes");
        let replicas = nodes.iter().filter_map(|node| node["replicas"].as_u64());
        // 21 replicas on five nodes.
        is_settled(status, 7, 3) && nodes.len() == 5 && replicas.clone().all(|count| count >= 4)
    };
    let status = until_status(&cluster, "store-5", "replicas on five nodes", spread).await?;
    letters.grow(30).await?;

    // The one that made the cluster goes, and another.
    for name in ["store-1", "store-2"] {
        let id = number(&cluster, &status, name)?;
        let drain = ["cluster", "drain", &id];
        cluster.command_at("store-5", &drain).await?.success()?;
        let empty = |status: &Value| {
            let drained = node(status, &id);
            is_settled(status, 7, 3) && drained.is_some_and(|row| row["replicas"] == 0)
        };
        until_status(&cluster, "store-5", "a node is empty", empty).await?;
        let_go(&cluster, name).await?;
        let remove = ["cluster", "remove", &id];
        cluster.command_at("store-5", &remove).await?.success()?;
        letters.grow(30).await?;
        cluster.stop(name).await?;
    }
    letters.grow(30).await?;

    // Down to one, which takes force.
    for (name, left) in [("store-3", 2), ("store-4", 1)] {
        let id = number(&cluster, &status, name)?;
        let drain = ["cluster", "drain", &id, "--force"];
        cluster.command_at("store-5", &drain).await?.success()?;
        let fewer = |status: &Value| is_settled(status, 7, left);
        until_status(&cluster, "store-5", "fewer replicas", fewer).await?;
        letters.grow(30).await?;
    }
    let last = number(&cluster, &status, "store-5")?;
    let drain = ["cluster", "drain", &last, "--force"];
    let refused = cluster.command_at("store-5", &drain).await?;
    assert_eq!(refused.code, 1, "nobody is left to take its replicas");
    letters.end(&cluster, "store-5").await?;
    cluster.down().await
}
